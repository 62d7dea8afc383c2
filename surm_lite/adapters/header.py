"""Which of our safetensors files one is, by the header: an adapter, a merged model, or a LoRA for peft."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from surm_lite.files import json_object, metadata, read_sealed

FORMAT = 1
KEY = "surm_lite"  # the one entry of the safetensors header
OTHERS = {
    "merged": "a merged model already, whose weights hold the update",
    "LoRA": "a LoRA in the format of peft, for peft to read",
}
"""What `export` writes of an adapter."""


def read_header(path: Path) -> tuple[str, dict[str, Any]]:
    """The kind of a file and what its header says; the kind is "adapter", one of `OTHERS`, or "" for none of ours.

    Raises:
        ValueError: no safetensors file, or a header that is damaged; the message does not name the file.
    """
    said = json_object(metadata(path).get(KEY, "{}"))
    if not isinstance(said.get("model", {}), dict):
        raise ValueError(f"malformed header (its model is {str(said['model'])[:80]}, need an object)")
    if "format" in said or "methods" in said:
        return "adapter", said
    if "model" not in said:
        return "", said
    return "LoRA" if "relative_error" in said else "merged", said


def read_adapter(path: Path) -> tuple[dict[str, Any], dict[str, Tensor], bool]:
    """Header and tensors of an adapter file, and whether it has a digest.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, of another kind, or of another format; the message does not name the file.
    """
    kind = read_header(path)[0] if path.is_file() else ""
    if kind in OTHERS:
        raise ValueError(f"{OTHERS[kind]}; give the adapter file that it was exported from")
    return read_sealed(path, KEY, "adapter file", FORMAT)
