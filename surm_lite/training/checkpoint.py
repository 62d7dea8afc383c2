"""Checkpoint files: one safetensors file a run, with a JSON header; read back only if it is what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surm_lite.files import write_whole

FORMAT = 1
KEY = "surm_lite_checkpoint"  # the entry of the safetensors header that holds the JSON
SEAL = "sha256"  # and the one that holds the digest of JSON and tensors: safetensors itself has none


def write(path: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Writes a checkpoint, completely or not at all."""
    from safetensors.torch import save

    text = json.dumps({"format": FORMAT, **header})
    own = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    write_whole(path, save(own, {KEY: text, SEAL: digest(own, text)}))


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a checkpoint.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, is no checkpoint, or is one of another format.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"checkpoint: there is no file {path}")
    try:
        with safe_open(path, "pt") as file:
            entries = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError as error:
        raise ValueError(f"checkpoint: {path} is damaged, or no safetensors file ({error})") from error
    if KEY not in entries:
        raise ValueError(f"checkpoint: {path} is a safetensors file, but no checkpoint: its header has no {KEY!r}")
    try:
        header = json.loads(entries[KEY])
    except json.JSONDecodeError as error:
        raise ValueError(f"checkpoint: {path} is damaged (its header: {error})") from error
    version = header.get("format") if isinstance(header, dict) else None
    if version != FORMAT:
        raise ValueError(f"checkpoint: {path} has format {version}; this version reads format {FORMAT}")
    if entries.get(SEAL) != digest(tensors, entries[KEY]):
        raise ValueError(f"checkpoint: {path} is damaged: its contents are not those that were written")
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


def digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """One fingerprint of named tensors, and of a text."""
    total = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
