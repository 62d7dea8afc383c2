"""A chapter in a real JupyterLab: run all cells, move a slider, see picture and numbers change."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from book_pages import ROOT
from playwright.sync_api import expect

CHAPTER = ROOT / "book" / "part2" / "07_circulant_skew.ipynb"
SLOW = 300_000  # ms: a whole chapter runs
RAN = """() => {
    const prompts = [...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")].map((prompt) => prompt.textContent)
    return prompts.length > 0 && !prompts.some((prompt) => prompt.includes("*"))
        && document.body.textContent.includes("| Idle")
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab over a copy of the chapter, as a reader starts it: no SURM_BOOK, so explorables are live."""
    folder: Path = tmp_path_factory.mktemp("lab")
    shutil.copy(CHAPTER, folder / "chapter.ipynb")
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


def test_a_slider_moves_picture_and_numbers(lab, visit):
    tab = visit(lab, viewport={"width": 1400, "height": 1100})
    page = tab.page
    page.goto(f"{lab}/lab/tree/chapter.ipynb?reset")
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for(timeout=60_000)
    page.get_by_text("| Idle").wait_for(timeout=60_000)  # the kernel is up
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("^Run All Cells")).click()

    # A key pressed while cells still run can be lost: Lab moves the focus from cell to cell. So the run ends first.
    page.get_by_text("| Busy").wait_for(timeout=60_000)
    page.wait_for_function(RAN, timeout=SLOW)
    page.wait_for_timeout(1_000)  # between two cells the kernel is idle too
    page.wait_for_function(RAN, timeout=SLOW)

    widget = page.locator(".jp-OutputArea .widget-vbox").first
    slider = widget.locator(".widget-slider [role=slider]").first
    slider.wait_for(timeout=SLOW)
    numbers = widget.locator(".surm-readout")

    def pictures() -> list[str]:
        return widget.locator("figure").evaluate_all("(all) => all.map((figure) => figure.innerHTML)")

    before, said = pictures(), numbers.text_content()
    slider.press("ArrowRight")
    expect(numbers).not_to_have_text(said, timeout=60_000)
    assert pictures() != before
    assert not tab.foreign, tab.foreign
