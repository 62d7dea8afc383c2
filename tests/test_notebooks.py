"""The chapters as files: pairs in step, seeded, with alt text, without errors. Running them is nbval's part."""

import configparser
import re
import sys
from pathlib import Path

import nbformat
import pytest
import torch
import yaml

import surm_lite
from surm_lite.viz import heat, readout

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import nb  # noqa: E402  (tools/ is a folder of scripts, not a package)

PAGES = nb.chapters()
CHAPTERS = [page for page in PAGES if page.parent.name.startswith("part")]


def name(page: Path) -> str:
    return page.relative_to(nb.BOOK).as_posix()


def stored(page: Path) -> nbformat.NotebookNode:
    return nbformat.read(page.with_suffix(".ipynb"), 4)


def code(page: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in stored(page).cells if cell.cell_type == "code"]


def tags(cell: nbformat.NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_pairs_are_in_step(page):
    assert nb.in_step(page), "run: make refresh"


def test_a_pair_out_of_step_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGES[0].read_text(encoding="utf-8"), encoding="utf-8")
    notebook = nb.read_source(page)
    nbformat.write(notebook, page.with_suffix(".ipynb"))
    assert nb.in_step(page)
    page.write_text(page.read_text(encoding="utf-8") + "\nOne more sentence.\n", encoding="utf-8")
    assert not nb.in_step(page)


def test_every_page_is_in_the_table_of_contents():
    from sphinx_external_toc.parsing import parse_toc_yaml

    listed = set(parse_toc_yaml(nb.BOOK / "_toc.yml"))
    pages = {page.relative_to(nb.BOOK).with_suffix("").as_posix() for page in nb.BOOK.rglob("*.md")}
    assert {page for page in pages if "_build" not in page} == listed


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_cell_ran_and_only_announced_errors_are_stored(page):
    for cell in code(page):
        assert cell.execution_count, f"{cell.id} was not run"
        failed = any(output.output_type == "error" for output in cell.outputs)
        assert failed == ("raises-exception" in tags(cell)), f"{cell.id}: {cell.source[:80]}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_chance_is_seeded(page):
    """A setup cell with a seed, a generator for everything drawn, no global generator."""
    setup = [cell.source for cell in code(page) if "setup" in tags(cell)]
    assert setup, "no cell is tagged `setup`"
    assert "seed = 0" in setup[0]
    source = "\n".join(cell.source for cell in code(page))
    draws = r"\b(?:torch\.(?:randn?|randint|randperm|normal|bernoulli|multinomial)|\w+\.random)\("
    for draw in re.finditer(draws, source):
        call = source[draw.start() : balanced(source, draw.end())]
        assert re.search(r"generator=|seed=", call), f"not seeded: {call}"
    assert not re.search(r"\bnp\.random\.(?!default_rng)|\brandn?_like\(|^import random", source, re.M)


def balanced(text: str, at: int) -> int:
    """Where the parenthesis that was opened just before ``at`` is closed."""
    depth = 1
    while depth and at < len(text):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    return at


@pytest.mark.parametrize("page", CHAPTERS, ids=name)
def test_anatomy(page):
    """Exercises with hidden solutions that are executed and assert something, one title, references, {taught}."""
    text = page.read_text(encoding="utf-8")
    asked = set(re.findall(r"^:label: (ex-[\w-]+)", text, re.M))
    solved = set(re.findall(r"\{solution-start\} (ex-[\w-]+)", text))
    assert len(asked) >= 2
    assert asked == solved
    for solution in re.findall(r"\{solution-start\}(.*?)\{solution-end\}", text, re.S):
        assert ":class: dropdown" in solution
        assert re.search(r"\{code-cell\}.*\b(assert|check_\w+|judge_\w+)\b", solution, re.S), solution[:120]
    cells = [cell for cell in stored(page).cells if cell.cell_type == "markdown"]
    assert sum(len(re.findall(r"^# ", cell.source, re.M)) for cell in cells) == 1
    assert re.search(r"\{cite:[pt]\}", text)
    assert "explorable" in {tag for cell in code(page) for tag in tags(cell)}


@pytest.mark.parametrize("page", CHAPTERS, ids=name)
def test_nothing_is_installed_or_downloaded(page):
    source = "\n".join(cell.source for cell in code(page))
    assert not re.search(r"^\s*[!%]|pip install|urllib|requests\.|pooch|download=True", source, re.M)


def test_sanitising_hides_pictures_and_no_number():
    """What nbval forgives is the bytes of pictures; a changed number in any of an explorable's positions is not."""
    rules = configparser.ConfigParser(interpolation=None)
    rules.read(ROOT / "tools" / "nbval_sanitize.cfg")

    def sanitised(text: str) -> str:
        for name in rules.sections():
            text = re.sub(rules[name]["regex"], rules[name]["replace"], text)
        return text

    shown = surm_lite.explore(lambda n: [heat(torch.eye(n), "eye"), readout(parameters=n * n)], n=(2, 3))
    assert sanitised(shown.as_text()) == shown.as_text()
    assert sanitised(shown.as_html()) == "EXPLORABLE"
    assert "base64" not in sanitised(heat(torch.eye(2), "eye").html)
    numbers = "tensor([[ 1.0000, -2.5000e-03]]) rank 17, error 0.0123, 12,288"
    assert sanitised(numbers) == numbers


def test_the_build_configuration_is_read_by_jupyter_book():
    configuration = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert configuration["execute"]["execute_notebooks"] == "off", "the site shows exactly what nbval validated"
