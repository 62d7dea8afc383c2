"""The explorables of a notebook, made again from its ``setup`` and ``explorable`` cells, to compare a page with."""

import ast
import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import torch

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
