"""The explorables of a notebook, made again from its ``setup`` and ``explorable`` cells, to compare a page with."""

import ast
import contextlib
import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import torch
from playwright.sync_api import Locator

from surm_lite.explore import Explorable

NEEDED = {"setup", "explorable"}


@dataclass
class Expected:
    """An explorable and what it reads out at each of its points, computed here and now."""

    explorable: Explorable
    numbers: list[dict[str, object]]


def of_notebook(path: Path) -> list[Expected]:
    """Runs the tagged cells in order and returns what the ``explorable`` ones display."""
    found: list[Expected] = []
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with as_in_a_kernel(path.parent):
        for cell in nbformat.read(path, 4).cells:
            tags = set(cell.metadata.get("tags", []))
            if cell.cell_type != "code" or not tags & NEEDED:
                continue
            try:
                shown = run(cell.source, f"{path.name}:{cell.id}", namespace)
            except NameError as error:
                raise NameError(f"{path.name}: {error}. Tag the cell that defines it with `setup`.") from error
            if "explorable" in tags:
                assert isinstance(shown, Explorable), f"{path.name}: an `explorable` cell must end in sl.explore(...)"
                found.append(Expected(shown, shown.numbers()))
    return found


def run(source: str, name: str, namespace: dict[str, Any]) -> Any:
    """Executes a cell as a notebook does: the value of its last expression, if it ends in one."""
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), namespace)
    return eval(compile(ast.Expression(last.value), name, "eval"), namespace) if last else None


@contextlib.contextmanager
def as_in_a_kernel(folder: Path) -> Iterator[None]:
    """The notebook's own folder, no warnings of libraries to each other; torch's defaults are put back afterwards."""
    before, dtype, threads = Path.cwd(), torch.get_default_dtype(), torch.get_num_threads()
    os.chdir(folder)
    torch.set_default_dtype(torch.float32)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        torch.set_num_threads(threads)
        os.chdir(before)
        torch.set_default_dtype(dtype)


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


def read_all(form: Locator) -> list[dict]:
    """What an explorable of a page shows at each of its positions, in order."""
    return form.evaluate(READ_ALL.replace("READ(form)", f"{READ}(form)"))


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
