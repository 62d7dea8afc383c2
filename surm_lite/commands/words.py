"""What the commands do with words: lists, choices, folders, and those that nobody knows."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from surm_lite.adapters.options import near

T = TypeVar("T")


def pick(what: str, value: str, choices: Mapping[str, T]) -> T:
    """The choice of that name; ValueError with the near ones."""
    if value not in choices:
        raise ValueError(near(what, value, choices))
    return choices[value]


def listed(name: str, text: str, kind: Callable[[str], T]) -> list[T]:
    """Comma-separated values."""
    try:
        return [kind(word.strip()) for word in text.split(",")]
    except ValueError:
        raise ValueError(f"--{name}: got {text!r}, need comma-separated {kind.__name__} values") from None


def folder(text: str) -> Path:
    """The type of an option that names a folder to read from."""
    if not text or not os.path.isdir(text):  # which is False for what can be no path
        raise argparse.ArgumentTypeError(f"got {text[:80]!r}, need a folder that exists")
    return Path(text)


def path_of(text: str) -> Path:
    """The type of an option that names a file or folder: not an empty text, which pathlib takes for the current one."""
    if not text:
        raise argparse.ArgumentTypeError("got '', need a path; the current folder is '.'")
    return Path(text)


def refuse_rest(args: argparse.Namespace, rest: Sequence[str], others: Sequence[str] = ()) -> None:
    """Words that are no option of the command, nor one of the others: a ValueError that names the near ones."""
    if rest:
        flag = rest[0].partition("=")[0]
        known = [f"--{name.replace('_', '-')}" for name in (*vars(args), *others) if name not in ("command", "run")]
        raise ValueError(f"{near('argument', flag, known)} (`surm-lite {args.command} --help` lists all)")
