"""Keep the two forms of a chapter in step: NN_name.md (MyST, what people edit), NN_name.ipynb (executed, on the site).

    python tools/nb.py refresh [PATH ...]   run chapters, write their .ipynb with outputs; without PATH those that
                                            changed, and where only words did, the outputs are kept
    python tools/nb.py check                fail if an .ipynb was not made from today's .md

The written notebook is normalised, so that running it again gives the same bytes.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import jupytext
import nbformat
from jupytext.config import load_jupytext_config
from nbclient import NotebookClient
from notebooks import solutions

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"


def chapters() -> list[Path]:
    """Every MyST file of the book that is a notebook."""
    pages = (page for page in BOOK.rglob("*.md") if "_build" not in page.parts)
    return sorted(page for page in pages if page.read_text(encoding="utf-8").startswith("---\njupytext:"))


def source(notebook: nbformat.NotebookNode) -> list[tuple]:
    """What the two forms must agree on."""
    return [(cell.cell_type, cell.source, dict(cell.metadata)) for cell in notebook.cells]


def read_source(page: Path) -> nbformat.NotebookNode:
    """The .md as a notebook, with cell ids that do not change from one run to the next and the folds of JupyterLab."""
    notebook = jupytext.read(page)
    answers = solutions(notebook)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:03d}"
        # The .md does not say this (book/jupytext.toml): it follows from tags and from where a solution begins.
        if number in answers or {"hide-input", "remove-input"} & set(cell.metadata.get("tags", [])):
            cell.metadata["jupyter"] = {"source_hidden": True}
        if number in answers and cell.cell_type == "code":  # "... is right" would seem to be said of the reader's
            cell.metadata["jupyter"]["outputs_hidden"] = True
    return notebook


def as_jupytext_writes(page: Path) -> str:
    """The .md in the form that `jupytext --sync` and JupyterLab give it, which is the form we keep."""
    return jupytext.writes(jupytext.read(page), "md:myst", config=load_jupytext_config(str(BOOK / "index.md")))


def in_step(page: Path) -> bool:
    stored = page.with_suffix(".ipynb")
    return stored.exists() and source(nbformat.read(stored, 4)) == source(read_source(page))


def words_only(page: Path) -> bool:
    """Whether the two forms differ in text alone: then the outputs still hold, and the chapter need not run."""
    if not page.with_suffix(".ipynb").exists():
        return False
    old, new = nbformat.read(page.with_suffix(".ipynb"), 4), read_source(page)
    return [cell for cell in source(old) if cell[0] == "code"] == [cell for cell in source(new) if cell[0] == "code"]


def reword(page: Path) -> None:
    """Put the new text around the outputs that are there, and tidy the .md."""
    page.write_text(as_jupytext_writes(page), encoding="utf-8")
    old, new = nbformat.read(page.with_suffix(".ipynb"), 4), read_source(page)
    kept = iter([cell for cell in old.cells if cell.cell_type == "code"])
    for cell in new.cells:
        if cell.cell_type == "code":
            ran = next(kept)
            cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
    new.metadata["jupytext"].pop("text_representation", None)
    nbformat.write(new, page.with_suffix(".ipynb"))


def refresh(page: Path) -> float:
    """Execute the chapter, write the notebook and tidy the .md; the wall time in seconds."""
    page.write_text(as_jupytext_writes(page), encoding="utf-8")
    notebook, start = read_source(page), time.perf_counter()
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(page.parent)}},
    )
    client.execute()
    seconds = time.perf_counter() - start
    notebook.metadata.pop("widgets", None)
    notebook.metadata.pop("language_info", None)
    notebook.metadata["jupytext"].pop("text_representation", None)  # as jupytext itself writes a paired notebook
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if output.output_type == "error":  # the reader needs the message; the rest names this machine's folders
                output.traceback = [f"{output.ename}: {output.evalue}"]
    nbformat.validate(notebook)
    nbformat.write(notebook, page.with_suffix(".ipynb"))
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check")
    commands.add_parser("refresh").add_argument("pages", nargs="*", type=Path, metavar="PATH")
    arguments = parser.parse_args()
    os.environ["SURM_BOOK"] = "1"  # kernels inherit it: explorables store their frames
    if arguments.command == "check":
        stale = [page.relative_to(ROOT).as_posix() for page in chapters() if not in_step(page)]
        if stale:
            print("not in step with their .ipynb:", *stale, "run: make refresh", sep="\n  ")
        return bool(stale)
    pages = [page.resolve().with_suffix(".md") for page in arguments.pages]
    for page in pages or [page for page in chapters() if not in_step(page)]:
        if not pages and words_only(page):
            reword(page)
            print(f"{page.relative_to(ROOT)}: new words, the outputs are kept")
            continue
        print(f"{page.relative_to(ROOT)}: {refresh(page):.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
