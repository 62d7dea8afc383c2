"""A chapter in a real JupyterLab, in its dark theme: as it opens, trusted or not, and after all cells ran."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest
from book_pages import ROOT
from nbformat.sign import NotebookNotary
from playwright.sync_api import Page, expect

CHAPTER = ROOT / "book" / "part2" / "07_circulant_skew.ipynb"
SLOW = 300_000  # ms: a whole chapter runs
RAN = """() => {
    const prompts = [...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")].map((prompt) => prompt.textContent)
    return prompts.length > 0 && !prompts.some((prompt) => prompt.includes("*"))
        && document.body.textContent.includes("| Idle")
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab over two copies of the chapter, as a reader starts it: no SURM_BOOK, so explorables are live."""
    folder: Path = tmp_path_factory.mktemp("lab")
    for name in ("chapter.ipynb", "downloaded.ipynb"):
        shutil.copy(CHAPTER, folder / name)
    notebook = nbformat.read(folder / "downloaded.ipynb", 4)
    notebook.cells[0].source += "\n"  # signatures go by content
    nbformat.write(notebook, folder / "downloaded.ipynb")
    settings = folder / "CONFIG" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "themes.jupyterlab-settings").write_text('{"theme": "JupyterLab Dark"}')
    (folder / "DATA").mkdir()
    notary = NotebookNotary(data_dir=str(folder / "DATA"))
    notary.sign(nbformat.read(folder / "chapter.ipynb", 4))  # as `make lab` does
    notary.store.close()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {f"JUPYTER_{kind}_DIR": str(folder / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    environment = {key: value for key, value in os.environ.items() if key != "SURM_BOOK"} | own
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.port={port}", "--IdentityProvider.token=", f"--ServerApp.root_dir={folder}"]
    with (folder / "log").open("w") as log:
        started = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api", timeout=5)
                break
            except OSError:
                assert started.poll() is None, (folder / "log").read_text()
                time.sleep(0.5)
        yield address
    finally:
        started.terminate()
        started.wait(timeout=20)


def opened(lab: str, page: Page, name: str) -> None:
    page.goto(f"{lab}/lab/tree/{name}?reset")
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for(timeout=60_000)


def test_an_untrusted_chapter_says_what_makes_its_sliders_move(lab, visit):
    page = visit(lab, viewport={"width": 1400, "height": 1100}).page
    opened(lab, page, "downloaded.ipynb")
    expect(page.locator(".surm-press").first).to_contain_text("Run > Run All Cells", timeout=60_000)
    expect(page.locator(".surm-press").first).to_be_visible()


def test_a_trusted_chapter_before_and_after_all_cells_ran(lab, visit):
    tab = visit(lab, viewport={"width": 1400, "height": 1100})
    opened(lab, tab.page, "chapter.ipynb")
    stored_sliders_move(tab.page)
    plumbing_and_solutions_are_folded(tab.page)
    tab.page.get_by_text("| Idle").wait_for(timeout=60_000)  # the kernel is up
    run_all(tab.page)
    live_sliders_move(tab.page)
    assert not tab.foreign, tab.foreign


def stored_sliders_move(page: Page) -> None:
    form = page.locator("form.surm-explore").first
    form.wait_for(timeout=60_000)
    expect(page.locator(".surm-press").first).to_be_hidden()
    pictures, positions = set(), set()
    for key in ("Home", "ArrowRight", "ArrowRight"):  # Lab takes arrow keys for itself where nobody stops it
        form.locator("input[type=range]").first.press(key)
        page.wait_for_timeout(500)
        positions.add(form.get_attribute("data-position"))
        pictures.add(form.locator(".surm-view").inner_html())
    assert len(pictures) == 3, f"the slider stood at {positions}"

    def luminance(colour: str) -> float:
        return sum(float(part) for part in re.findall(r"[\d.]+", colour)[:3]) / 3

    looks = "(it) => [getComputedStyle(it).backgroundColor, getComputedStyle(it).color]"
    panel, _ = form.evaluate(looks)
    _, ink = form.locator(".surm-title").evaluate(looks)
    assert luminance(panel) < 60
    assert luminance(ink) > 180


def plumbing_and_solutions_are_folded(page: Page) -> None:
    cells = nbformat.read(CHAPTER, 4).cells
    folds = [cell.source.split("\n")[0] for cell in cells if cell.metadata.get("jupyter", {}).get("source_hidden")]
    solution = next(line for line in folds if line.startswith("def solution_"))
    plot = next(cell.source.split("\n")[0] for cell in cells if 'name="fig-' in cell.source)
    for line in (plot, solution):
        placeholder = page.locator(".jp-InputPlaceholder, .jp-Placeholder", has_text=line).first
        scroll_to(page, placeholder)
        cell = page.locator(".jp-CodeCell", has=placeholder)
        expect(cell.locator(".jp-Editor")).to_be_hidden()
        if line == plot:
            expect(cell.locator("figure > figcaption")).to_be_visible()
        else:
            expect(cell.locator(".jp-OutputArea-output")).to_be_hidden()


def scroll_to(page: Page, wanted) -> None:
    """Lab makes the cells of a long notebook when they come near the screen."""
    for _ in range(200):
        if wanted.count() and wanted.is_visible():
            wanted.scroll_into_view_if_needed()
            return
        page.locator(".jp-WindowedPanel-outer").first.evaluate("(panel) => panel.scrollBy(0, 700)")
        page.wait_for_timeout(100)
    raise AssertionError("not in the notebook")


def run_all(page: Page) -> None:
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("^Run All Cells")).click()

    # A key pressed while cells still run can be lost: Lab moves the focus from cell to cell. So the run ends first;
    # of cells far from the screen Lab shows nothing, so this can be early.
    page.get_by_text("| Busy").wait_for(timeout=60_000)
    page.wait_for_function(RAN, timeout=SLOW)
    page.wait_for_timeout(1_000)  # between two cells the kernel is idle too
    page.wait_for_function(RAN, timeout=SLOW)


def live_sliders_move(page: Page) -> None:
    widget = page.locator(".jp-OutputArea .widget-vbox").first
    slider = widget.locator(".widget-slider [role=slider]").first
    slider.wait_for(timeout=SLOW)
    numbers = widget.locator(".surm-readout")

    def pictures() -> list[str]:
        return widget.locator("figure").evaluate_all("(all) => all.map((figure) => figure.innerHTML)")

    before, said = pictures(), numbers.text_content()
    for _ in range(12):
        slider.press("ArrowRight")
        with suppress(AssertionError):
            expect(numbers).not_to_have_text(said, timeout=10_000)
            break
    assert numbers.text_content() != said
    assert pictures() != before
    expect(page.locator(".surm-press")).to_have_count(0)
