"""Every explorable of every page, moved through all its positions, says what the library says."""

import functools
import itertools
import json
import math

import pytest
from book_pages import ROOT, notebooks
from explorables import Expected, of_notebook
from playwright.sync_api import expect

# Reads all positions in one go: sets the controls, tells the page as a user's hand does, waits for the frame.
READ_ALL = """async (form) => {
  const controls = [...form.querySelectorAll("[data-size]")];
  const sizes = controls.map((c) => Number(c.dataset.size));
  const frames = [];
  for (let at = 0; at < sizes.reduce((a, b) => a * b, 1); at++) {
    let rest = at;
    for (let i = controls.length - 1; i >= 0; i--) {
      const inputs = controls[i].querySelectorAll("input"), k = rest % sizes[i];
      rest = (rest - k) / sizes[i];
      if (inputs[0].type === "radio") inputs[k].checked = true; else inputs[0].value = k;
    }
    controls[0].querySelector("input").dispatchEvent(new Event("input", { bubbles: true }));
    while (form.dataset.position !== String(at)) await new Promise((r) => setTimeout(r, 2));
    frames.push(READ(form));
  }
  return frames;
}"""
READ = """((form) => {
  const all = (selector, read) => [...form.querySelectorAll(selector)].map(read), picture = "img, svg[role=img]";
  return {
    numbers: all(".surm-view dl > div", (pair) => [...pair.children].map((part) => part.innerText)),
    pictures: all(picture, (p) => p.outerHTML),
    names: all(picture, (p) => p.alt ?? p.ariaLabel),
  };
})"""


def shown_as(value: object, text: str) -> bool:
    """Whether a read-out shows this number, to the three digits that it prints."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool | str):
        return text == {True: "yes", False: "no"}.get(value, value)
    if text == "below 1e-12":
        return abs(value) < 1e-12
    if isinstance(value, float) and not math.isfinite(value):
        return text == str(value)
    number = float(text.replace(",", ""))
    return number == value if isinstance(value, int) else math.isclose(number, value, rel_tol=6e-3, abs_tol=1e-12)


def compare(frames: list[dict], expected: Expected, where: str) -> None:
    assert len(frames) == len(expected.numbers)
    for frame, point, numbers in zip(frames, expected.explorable.points, expected.numbers):
        shown = dict(frame["numbers"])
        assert list(shown) == list(numbers), f"{where} at {point}"
        wrong = {name: (shown[name], numbers[name]) for name in shown if not shown_as(numbers[name], shown[name])}
        assert not wrong, f"{where} at {point}: shown, computed = {wrong}"
        assert all(frame["names"]), f"{where} at {point}: a picture without words"


@functools.cache
def expected(name: str) -> list[Expected]:
    return of_notebook(ROOT / "book" / f"{name}.ipynb")


@pytest.mark.parametrize("name", notebooks())
def test_the_book_is_live(name):
    """The landing page and every chapter have something to move."""
    assert expected(name)


@pytest.mark.parametrize("scheme", ["http", "file"])
@pytest.mark.parametrize("name", notebooks())
def test_every_position_shows_the_librarys_numbers(name, scheme, site, server, visit):
    own = server if scheme == "http" else site.as_uri() + "/"
    tab = visit(own)
    tab.page.goto(f"{own}{name}.html")
    forms = tab.page.locator("form.surm-explore")
    assert forms.count() == len(expected(name))
    for number, wanted in enumerate(expected(name)):
        frames = forms.nth(number).evaluate(READ_ALL.replace("READ(form)", f"{READ}(form)"))
        compare(frames, wanted, f"{name}, explorable {number}")
        if any(frame["pictures"] for frame in frames):
            assert len({str(frame["pictures"]) for frame in frames}) > 1, f"{name}: the picture never changes"
    tab.assert_clean()


def test_landing_page_against_closed_forms(server, visit):
    """What a visitor reads first, against formulas: no view of the book is involved."""
    formulas = {  # family -> numbers, rank, displacement rank
        "dense": lambda n: (n * n, n, n),
        "rank one": lambda n: (2 * n, 1, 2),
        "circulant": lambda n: (n, n, 1),
        "skew-circulant": lambda n: (n, n, 1),
        "Toeplitz": lambda n: (2 * n - 1, n, 2),
    }
    tab = visit(server)
    tab.page.goto(f"{server}index.html")
    form = tab.page.locator("form.surm-explore").first
    sizes = [int(text) for text in json.loads(form.locator("input[type=range]").get_attribute("data-shown"))]
    families = form.locator("fieldset span").all_inner_texts()
    frames = iter(form.evaluate(READ_ALL.replace("READ(form)", f"{READ}(form)")))
    for family, n in itertools.product(families, sizes):
        shown = tuple(int(text.replace(",", "")) for _, text in next(frames)["numbers"])
        assert family not in formulas or shown == formulas[family](n), f"{family}, n = {n}"
    assert set(formulas) < set(families)


@pytest.mark.parametrize("name", notebooks())
def test_arrow_keys_reach_every_choice(name, server, visit):
    tab = visit(server)
    tab.page.goto(f"{server}{name}.html")
    for number, wanted in enumerate(expected(name)):
        form = tab.page.locator("form.surm-explore").nth(number)
        for control, choices in zip(form.locator("[data-size]").all(), wanted.explorable.grid.values()):
            current = control.locator("input:checked, input[type=range]")
            if (slider := control.locator("input[type=range]")).count():
                slider.press("Home")
            reached = set()
            for _ in choices:
                reached.add(control.locator("output, input:checked + span").inner_text())
                current.press("ArrowRight")
            assert reached == {f"{choice:g}" if isinstance(choice, float) else str(choice) for choice in choices}
        expect(form.locator(".surm-status"), "the new numbers are announced").not_to_be_empty()
    tab.assert_clean()
