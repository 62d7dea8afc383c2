"""What readers take away: notebooks that stand alone, a set without solutions, one zip, a welcome page."""

import re
import shutil
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.sign import NotebookNotary

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import lab  # noqa: E402  (tools/ is a folder of scripts, not a package)
import notebooks  # noqa: E402

PAGES = sorted(ROOT.glob("book/part*/*.ipynb"))
READS_RESULTS = "part3/26_choose_a_structure.ipynb"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_set_without_solutions_keeps_all_else(page):
    """The text of the chapter is that of what is left and of what was left out, in order."""
    whole = notebooks.read(page)
    left = notebooks.without_solutions(whole)
    text = "\n".join(cell.source for cell in left.cells)
    assert "{solution-" not in text
    assert "solution_" not in text
    exercises = re.findall(r"^:label: ex-", "\n".join(cell.source for cell in whole.cells), re.M)
    assert len(re.findall(r"^:label: ex-", text, re.M)) == len(exercises) >= 2
    kept = [cell.id for cell in left.cells if cell.cell_type == "code"]
    answers = notebooks.solutions(whole)
    assert kept == [cell.id for n, cell in enumerate(whole.cells) if cell.cell_type == "code" and n not in answers]
    prose = re.sub(
        r"```\{solution-start\}.*?```\{solution-end\}\n```", "", "\n".join(c.source for c in whole.cells), flags=re.S
    )
    assert text.split() == prose.split()


def first_cell(page: str) -> str:
    return notebooks.needs(notebooks.read(ROOT / "book" / page))


def test_the_first_cell_is_content_where_all_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT / "book" / "part3")
    scope = {}
    exec(first_cell(READS_RESULTS), scope)
    assert capsys.readouterr().out == ""
    assert [name for name in scope if not name.startswith("__")] == ["_check"]  # no name of the reader's


def test_the_first_cell_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = first_cell(READS_RESULTS)
    with pytest.raises(FileNotFoundError, match=r"^\.\./\.\./benchmarks/results: not beside this notebook\. The zip"):
        exec(code, {})
    with pytest.raises(
        ModuleNotFoundError, match=r"^nothing_of_the_kind: not installed .* pip install 'surm-lite\[book\]'"
    ):
        exec(code.replace("'surm_lite'", "'nothing_of_the_kind'"), {})
    exec(first_cell("part1/01_low_rank.ipynb").replace("'0.1.0'.split", "'9.8.0'.split"), {})
    assert "this is 0.1.0: names and numbers may differ" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("part1/01_low_rank.ipynb", "# Needs surm-lite 0.1.0, ipywidgets, matplotlib, torch; this cell checks."),
        ("part3/20_pinwheel.ipynb", "and where it lies ../../benchmarks/results and ../../benchmarks/pinwheel.py;"),
        ("part3/25_your_own_model.ipynb", "torch, transformers, and where it lies ../../benchmarks/results;"),
    ],
)
def test_the_first_cell_names_what_the_chapter_imports_and_reads(page, says):
    code = first_cell(page)
    assert says in code.split("\n")[0]
    assert ("surm-lite[book,hf]" in code) == ("transformers" in says)


def test_a_downloaded_notebook_is_whole_and_valid():
    page = notebooks.read(PAGES[0])
    alone = notebooks.standing_alone(page)
    assert [cell.source for cell in alone.cells[1:]] == [cell.source for cell in page.cells]
    assert "jupytext" not in alone.metadata  # saving it would write a .md beside it
    nbformat.validate(nbformat.reads(notebooks.as_bytes(alone).decode(), 4))


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    site = tmp_path_factory.mktemp("site")
    offered = site / "_sources" / "part1"
    offered.mkdir(parents=True)
    (offered / "01_low_rank.ipynb").write_text("as Sphinx copied it")
    notebooks.write(site)
    assert '"id": "needs"' in (offered / "01_low_rank.ipynb").read_text(encoding="utf-8")  # behind the download button
    return site / notebooks.ZIP


@pytest.mark.slow
def test_the_zip_is_the_same_bytes_every_time(packed, tmp_path):
    notebooks.write(tmp_path)
    assert (tmp_path / notebooks.ZIP).read_bytes() == packed.read_bytes()


@pytest.mark.slow
def test_the_welcome_page_of_the_zip_links_every_notebook_in_it(packed):
    with zipfile.ZipFile(packed) as files:
        inside = {name.removeprefix("surm-lite-book/") for name in files.namelist()}
        welcome = nbformat.reads(files.read("surm-lite-book/welcome.ipynb").decode(), 4)
    linked = re.findall(r"\]\((.*?)\)", welcome.cells[0].source)
    assert sorted(linked) == sorted(name for name in inside if name.endswith(".ipynb") and "/" in name)
    assert len(linked) == 2 * len(PAGES)
    assert {f"benchmarks/results/{path.name}" for path in ROOT.glob("benchmarks/results/*.json")} < inside


def test_opening_the_lab_makes_a_welcome_page_and_trusts_the_chapters(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    page = tmp_path / "part1" / PAGES[0].name
    page.parent.mkdir()
    shutil.copy(PAGES[0], page)
    assert not NotebookNotary().check_signature(nbformat.read(page, 4))
    lab.prepare(tmp_path)
    assert NotebookNotary().check_signature(nbformat.read(page, 4))
    links = re.findall(r"\]\((\./.*?)\)", (tmp_path / lab.WELCOME).read_text(encoding="utf-8"))
    assert sorted((ROOT / "book" / link).resolve() for link in links) == PAGES


@pytest.mark.slow
def test_an_unpacked_chapter_that_reads_results_runs(packed, tmp_path, monkeypatch):
    """The set without solutions, so that it is seen to need none of them."""
    with zipfile.ZipFile(packed) as files:
        files.extractall(tmp_path)
    monkeypatch.setenv("SURM_BOOK", "1")
    page = tmp_path / "surm-lite-book" / "without_solutions" / READS_RESULTS
    notebook = nbformat.read(page, 4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(page.parent)}}).execute()
