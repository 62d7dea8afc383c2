"""The explorables of a notebook, made again from its ``setup`` and ``explorable`` cells, to compare a page with."""

import ast
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import torch

from surm_lite.explore import Explorable

NEEDED = {"setup", "explorable"}


def of_notebook(path: Path) -> list[Explorable]:
    """Runs the tagged cells in order and returns what the ``explorable`` ones display."""
    found: list[Explorable] = []
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
                shown.numbers()  # drawn here and kept, while the default dtype is the one that the notebook set
                found.append(shown)
    return found


def run(source: str, name: str, namespace: dict[str, Any]) -> Any:
    """Executes a cell as a notebook does: the value of its last expression, if it ends in one."""
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), namespace)
    return eval(compile(ast.Expression(last.value), name, "eval"), namespace) if last else None


@contextlib.contextmanager
def as_in_a_kernel(folder: Path) -> Iterator[None]:
    """The notebook's own folder; torch's default dtype is put back afterwards."""
    before, dtype = Path.cwd(), torch.get_default_dtype()
    os.chdir(folder)
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        os.chdir(before)
        torch.set_default_dtype(dtype)
