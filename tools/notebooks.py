"""Notebooks for readers, derived from the executed chapters by reading alone: nothing is run again.

A downloaded one begins with a cell that says and checks what it needs; a set without solutions leaves their cells out.
The zip holds both sets and, laid out as in the repository, the committed results that chapters read.
"""

import ast
import copy
import json
import re
import sys
import tomllib
import zipfile
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).resolve().parents[1]
ZIP = "surm-lite-book.zip"
_END = re.compile(r"\A.*?```\{solution-end\}\s*```\s*", re.S)

NEEDS = """\
# Needs {wanted}; this cell checks.
def _check():
    from importlib.metadata import version
    from importlib.util import find_spec
    from pathlib import Path

    missing = [name for name in {modules!r} if find_spec(name) is None]
    if missing:
        install = "pip install 'surm-lite[{extras}]', or pip install '.[{extras}]' in a copy of the repository"
        raise ModuleNotFoundError(f"{{', '.join(missing)}}: not installed here. {{install}}; then restart the kernel.")
    if version("surm-lite").split(".")[:2] != {version!r}.split(".")[:2]:
        print(f"Made with surm-lite {version}; this is {{version('surm-lite')}}: names and numbers may differ.")
    lost = [name for name in {files!r} if not Path(name).exists()]
    if lost:
        raise FileNotFoundError(f"{{', '.join(lost)}}: not beside this notebook. The zip of all notebooks has them.")


_check()"""


def solutions(notebook: nbformat.NotebookNode) -> set[int]:
    """The numbers of the cells that hold nothing but a solution, its text included."""
    found, inside = set(), False
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown" and (begin := cell.source.find("```{solution-start}")) >= 0:
            inside = True
            if begin > 0:
                raise ValueError(f"a solution must begin a cell of its own, here it follows: {cell.source[:begin]!r}")
        if inside and "```{solution-end}" in cell.source:  # what follows the end is the next exercise: not folded
            inside = False
        elif inside:
            found.add(number)
    return found


def without_solutions(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with its exercises and without their solutions."""
    left, answers = copy.deepcopy(notebook), solutions(notebook)
    left.cells = [cell for number, cell in enumerate(left.cells) if number not in answers]
    for cell in left.cells:
        if cell.cell_type == "markdown" and "```{solution-end}" in cell.source:
            cell.source = _END.sub("", cell.source)
    left.cells = [cell for cell in left.cells if cell.source]
    return left


def needs(notebook: nbformat.NotebookNode) -> str:
    """The code of the first cell of a downloaded notebook."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    modules = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            modules |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module.split(".")[0])
    ours = {path.stem for path in ROOT.glob("benchmarks/*.py")}
    given = ours | set(sys.stdlib_module_names) | {"IPython"}
    installed = sorted(modules - given | {"surm_lite", "ipywidgets", "matplotlib"})
    files = sorted({"../../benchmarks/results"} & set(re.findall(r'"(\.\./\.\./benchmarks/results)\b', code)))
    files += sorted(f"../../benchmarks/{name}.py" for name in modules & ours)
    wanted = ", ".join([f"surm-lite {project['version']}", *(name for name in installed if name != "surm_lite")])
    wanted += f", and where it lies {' and '.join(files)}" if files else ""
    extras = "book,hf" if {"peft", "transformers"} & modules else "book"
    return NEEDS.format(
        wanted=wanted, modules=tuple(installed), files=tuple(files), extras=extras, version=project["version"]
    )


def standing_alone(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook as it is downloaded: a first cell that checks what it needs; jupytext writes no twin of it."""
    alone = copy.deepcopy(notebook)
    folded = {"tags": ["needs"], "jupyter": {"source_hidden": True}}  # JupyterLab shows the first line
    first = nbformat.v4.new_code_cell(needs(notebook), id="needs", metadata=folded)
    alone.cells.insert(0, first)
    alone.metadata.pop("jupytext", None)
    return alone


def read(page: Path) -> nbformat.NotebookNode:
    """A stored notebook; not validated again, which would take as long as all the rest."""
    notebook = nbformat.from_dict(json.loads(page.read_bytes()))
    for cell in notebook.cells:
        cell.source = "".join(cell.source)
    return notebook


def as_bytes(notebook: nbformat.NotebookNode) -> bytes:
    return (json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def title(page: Path) -> str:
    """The first heading of a notebook."""
    return next(found[1] for cell in read(page).cells if (found := re.search(r"^# (.+)", cell.source, re.M)))


def welcome(*folders: str) -> nbformat.NotebookNode:
    """A page that says what to press and links every chapter in the first folder, and by the name of each other one."""
    contents = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
    lines = [
        "# Structured Matrices, Live",
        "",
        "Click a chapter. It opens as it was run: pictures, tables and numbers are there, plumbing and solutions are",
        "folded (click a folded line to open it). **Run > Run All Cells** runs it here, in about a minute; then the",
        "sliders compute what they show. Write into the cells that say *your turn*: Run All leaves them as they are.",
    ]
    for part in contents["parts"]:
        entries = [one for chapter in part["chapters"] for one in (chapter, *chapter.get("sections", ()))]
        pages = [entry["file"] for entry in entries]
        pages = [page for page in pages if (ROOT / "book" / f"{page}.ipynb").exists()]
        lines += ["", f"## {part['caption']}", ""] if pages else []
        for page in pages:
            number = Path(page).name.split("_")[0].lstrip("0")  # 7b stands after 7
            more = "".join(f" ([{at.replace('_', ' ')}]({at}/{page}.ipynb))" for at in folders[1:])
            lines.append(f"- **{number}** [{title(ROOT / 'book' / f'{page}.ipynb')}]({folders[0]}/{page}.ipynb){more}")
    cell = nbformat.v4.new_markdown_cell("\n".join(lines), id="welcome")
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})


def contents() -> dict[str, bytes]:
    """Every file of the zip by its name there."""
    found = {"welcome.ipynb": as_bytes(welcome("book", "without_solutions"))}
    for page in sorted(ROOT.glob("book/part*/*.ipynb")):
        name, notebook = page.relative_to(ROOT / "book").as_posix(), standing_alone(read(page))
        found[f"book/{name}"] = as_bytes(notebook)
        found[f"without_solutions/{name}"] = as_bytes(without_solutions(notebook))
    kept = [*ROOT.glob("benchmarks/*.py"), *ROOT.glob("benchmarks/results/*.json"), ROOT / "LICENSE"]
    return found | {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in sorted(kept)}


def write(site: Path) -> None:
    """Put the zip on the site, and behind every download button the notebook that stands alone."""
    files = contents()
    with zipfile.ZipFile(site / ZIP, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            entry = zipfile.ZipInfo(f"surm-lite-book/{name}")  # of 1980: the same bytes every time
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            packed.writestr(entry, data)
    for name, data in files.items():
        offered = site / "_sources" / name.removeprefix("book/")
        if name.startswith("book/") and offered.exists():
            offered.write_bytes(data)
