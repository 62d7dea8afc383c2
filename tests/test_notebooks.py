"""The chapters as files: pairs in step, seeded, with alt text, without errors. Running them is nbval's part."""

import ast
import configparser
import os
import re
import shutil
import symtable
import sys
from pathlib import Path

import nbformat
import pytest
import torch
import yaml
from jupytext.cli import jupytext as jupytext_command

import surm_lite
from surm_lite.viz import heat, readout

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import nb  # noqa: E402  (tools/ is a folder of scripts, not a package)
import notebooks  # noqa: E402

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


def test_new_words_keep_the_outputs_and_new_code_does_not(tmp_path):
    """What an edited sentence costs: no run. The outputs under it are those of the same code."""
    source = PAGES[0].read_text(encoding="utf-8")
    page, run = tmp_path / "page.md", stored(PAGES[0])
    nbformat.write(run, page.with_suffix(".ipynb"))
    page.write_text(source + "\nOne more sentence.\n", encoding="utf-8")
    assert nb.words_only(page)
    nb.reword(page)
    assert nb.in_step(page)
    assert [cell.outputs for cell in code(page)] == [cell.outputs for cell in run.cells if cell.cell_type == "code"]
    page.write_text(source.replace("seed = 0", "seed = 1"), encoding="utf-8")
    assert not nb.words_only(page)


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


def missing_pieces(notebook: nbformat.NotebookNode) -> list[str]:
    """What a chapter lacks of: folded imports, a guess before the first section, a check, five lines and a picture."""
    cells, missing = notebook.cells, []

    def shown(cell: nbformat.NotebookNode) -> str:
        return "".join(output.get("data", {}).get("text/html", "") for output in cell.get("outputs", []))

    prose = {k: cell.source for k, cell in enumerate(cells) if cell.cell_type == "markdown"}
    section = min(k for k, text in prose.items() if re.search("^## ", text, re.M))
    asked = {
        kind: [k for k, cell in enumerate(cells) if f'class="surm-quiz" data-kind="{kind}"' in shown(cell)]
        for kind in ("guess", "quiz")
    }
    remember = [k for k, cell in enumerate(cells) if "\n:class: remember\n" in cell.source]
    first = next(cell for cell in cells if cell.cell_type == "code")
    if not {"setup", "hide-input"} <= tags(first):
        missing.append("the first code cell, the imports, is tagged `setup` and `hide-input`")
    if not any(k < section for k in asked["guess"]):
        missing.append("an `sl.guess` before the first section")
    if len(asked["quiz"]) != 1:
        missing.append("one `sl.quiz`")
    if any("remove-input" not in tags(cells[k]) for k in asked["guess"] + asked["quiz"]):
        missing.append("the tag `remove-input` on every question: its code tells the answer")
    lines = [len(re.findall(r"^\d\. ", cells[k].source, re.M)) for k in remember]
    if lines != [5] or not re.search("<(svg|img)", shown(cells[remember[0] + 1])):
        missing.append("one box of the class `remember` with five numbered lines, and a cell with a picture after it")
    titles = [line for cell in cells for line in re.findall(r"\{exercise\} (.*)", cell.source)]
    missing += [
        f"exercise {title!r} ends in ' · easy, 5 min' (or medium, hard)"
        for title in titles
        if not re.search(r" · (easy|medium|hard), \d+ min$", title)
    ]
    return missing


@pytest.mark.parametrize("page", CHAPTERS, ids=name)
def test_a_chapter_asks_checks_and_sums_up(page):
    missing = missing_pieces(stored(page))
    assert not missing, "\n".join(missing)


# `right="this" if what_the_cells_found else "that"` says the intended answer first. Here it is the second on purpose.
SECOND = {
    ("03_product_rules", "A ∘ B"),
    ("16_all_structures", "most"),
    ("20_pinwheel", "in part"),
    ("22_what_moves_accuracy", "by less than a point"),
    ("27_scale_out", "far off"),
    ("29_magnitude_direction", "detached"),
    ("30_one_matrix", "gradient descent"),
}


def turned(cells) -> list[tuple[str, str]]:
    """Questions whose condition has failed, as (first answer, the one that is marked right). A name that another cell
    has used again, or a number that has moved, makes a refuted answer the right one, and nothing else says so."""
    found = []
    for cell in cells:
        if "sl.guess" not in cell.source:
            continue
        text = "\n".join(out.get("data", {}).get("text/plain", "") for out in cell.outputs)
        marked = [line[3:] for line in text.split("\n") if line.startswith("-> ")]
        calls = (node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call))
        asked = sorted((c for c in calls if ast.unparse(c.func) == "sl.guess"), key=lambda c: c.lineno)
        assert len(asked) == len(marked), "a question and its answer, one for one"
        for call, line in zip(asked, marked):
            right = next(keyword.value for keyword in call.keywords if keyword.arg == "right")
            first = right.body.value if isinstance(right, ast.IfExp) and isinstance(right.body, ast.Constant) else None
            if first is not None and not line.startswith(f"{first}: "):
                found.append((str(first), line.split(": ")[0]))
    return found


@pytest.mark.parametrize("page", CHAPTERS, ids=name)
def test_no_question_marks_the_answer_that_it_refutes(page):
    assert [pair for pair in turned(code(page)) if (page.stem, pair[1]) not in SECOND] == []


def test_a_turned_question_is_noticed():
    source = """sl.guess("?", {"yes": "so", "no": "not so"}, right="yes" if k == 1 else "no")"""
    for text, pairs in (("-> yes: so\n   no: not so", []), ("   yes: so\n-> no: not so", [("yes", "no")])):
        shown = nbformat.v4.new_output("display_data", {"text/plain": text})
        assert turned([nbformat.v4.new_code_cell(source, outputs=[shown])]) == pairs


def test_a_missing_piece_is_noticed():
    """The model chapter, spoiled in every way that the test above looks for."""
    model = next(page for page in CHAPTERS if page.stem == "01_low_rank")
    for spoil, says in (
        (lambda c: c.metadata.tags.remove("hide-input") if "import torch" in c.source else None, "first code cell"),
        (lambda c: c.outputs.clear() if "A layer has width" in c.source else None, "before the first section"),
        (lambda c: c.outputs.clear() if "sl.quiz(" in c.source else None, "one `sl.quiz`"),
        (lambda c: c.metadata.tags.clear() if "sl.quiz(" in c.source else None, "`remove-input`"),
        (lambda c: c.update(source=c.source.replace("\n5. ", "\n")), "five numbered lines"),
        (lambda c: c.outputs.clear() if "pair = []" in c.source else None, "a picture"),
        (lambda c: c.update(source=c.source.replace(" · hard, 15 min", "")), "ends in"),
    ):
        notebook = stored(model)
        for cell in notebook.cells:
            spoil(cell)
        assert [said for said in missing_pieces(notebook) if says in said], says


def global_names(source: str) -> tuple[set[str], set[str]]:
    """The names that a cell binds for the cells after it, and those that it reads, in its functions too."""
    bound, used = set(), set()

    def walk(table: symtable.SymbolTable) -> None:
        for symbol in table.get_symbols():
            if table.get_type() != "module" and not symbol.is_global():
                continue
            if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
                bound.add(symbol.get_name())
            if symbol.is_referenced():
                used.add(symbol.get_name())
        for inner in table.get_children():
            walk(inner)

    walk(symtable.symtable(source, "cell", "exec"))
    return bound, used


@pytest.mark.parametrize("page", CHAPTERS, ids=name)
def test_a_solution_leaves_the_reader_s_names_alone_and_is_folded_with_its_text(page):
    notebook = stored(page)
    answers = notebooks.solutions(notebook)
    reader, solved = set(), {}
    for number, cell in enumerate(notebook.cells):
        folded = cell.metadata.get("jupyter", {}).get("source_hidden", False)
        assert folded == (number in answers or bool({"hide-input", "remove-input"} & tags(cell))), cell.source[:80]
        silent = cell.metadata.get("jupyter", {}).get("outputs_hidden", False)
        assert silent == (number in answers and cell.cell_type == "code"), cell.source[:80]
        if cell.cell_type == "code":
            bound, used = global_names(cell.source)
            if number in answers:
                solved |= dict.fromkeys(bound, cell.id)
                defined = {node.name for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef)}
                assert any(each.startswith("solution_") for each in defined), f"{cell.id} defines {defined}"
            else:
                reader |= bound | used
    assert solved, "no solution was found"
    assert not {each: cell for each, cell in solved.items() if each in reader}, "Run All would undo the reader's work"


def round_trip(pages: list[Path], tmp_path: Path) -> None:
    """What `jupytext --test` and `--sync` do, on a copy: every byte stays."""
    folder = tmp_path / "book"
    folder.mkdir()
    shutil.copy(nb.BOOK / "jupytext.toml", folder)
    files = [folder / page.with_suffix(kind).name for page in pages for kind in (".md", ".ipynb")]
    for page in pages:
        for kind in (".md", ".ipynb"):
            shutil.copy(page.with_suffix(kind), folder)
    before = {file: file.read_bytes() for file in files}
    texts, notebooks = [str(file) for file in files[::2]], [str(file) for file in files[1::2]]
    assert jupytext_command(["--quiet", "--test", "--to", "ipynb", *texts]) == 0
    assert jupytext_command(["--quiet", "--test", "--update", "--to", "md:myst", *notebooks]) == 0
    for last_edited, paired in ((texts, notebooks), (notebooks, texts)):
        for file in paired:
            os.utime(file, (1, 1))
        assert jupytext_command(["--quiet", "--sync", *last_edited]) == 0
    assert [file.name for file in files if file.read_bytes() != before[file]] == []


def test_jupytext_leaves_a_chapter_as_it_is(tmp_path):
    round_trip([CHAPTERS[0], nb.BOOK / "index.md"], tmp_path)


@pytest.mark.slow
def test_jupytext_leaves_every_page_as_it_is(tmp_path):
    round_trip(PAGES, tmp_path)


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
