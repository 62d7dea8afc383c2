"""Checkpoint files: one sealed file a run; read back only if it is what was written, and of the same run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from surm_lite.files import read_sealed, write_sealed

FORMAT = 2
KEY = "surm_lite_checkpoint"


def write(path: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Writes a checkpoint, completely or not at all."""
    write_sealed(path, KEY, {"format": FORMAT, **header}, tensors)


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a checkpoint.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, is no checkpoint, or is one of another format.
    """
    try:
        header, tensors, sealed = read_sealed(path, KEY, "checkpoint", FORMAT)
    except ValueError as error:
        raise ValueError(f"checkpoint: {path}: {error}") from error
    if not sealed:
        raise ValueError(f"checkpoint: {path}: damaged: it has no digest")
    return header, tensors


def refuse_other(path: Path, found: Any, wanted: Any, where: str = "") -> None:
    """Raises ValueError, naming the first difference between what a checkpoint is of and what this run is."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for name in {**wanted, **found}:
            place = f"{where}.{name}" if where else name
            refuse_other(path, found.get(name), wanted.get(name), place)
    elif found != wanted:
        raise ValueError(
            f"checkpoint: {path} is of another run: {where} is {found!r} in the checkpoint and {wanted!r} now"
        )
