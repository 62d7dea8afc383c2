"""What an argument must be, said in one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real
from typing import Any

SEEDS = 2**42  # a run multiplies its seed by about a million, and torch takes 63 bits


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """One of a few words."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: got {value!r}, need one of {', '.join(choices)}")


def check_number(name: str, value: Any, need: str = "a number") -> None:
    """A real number; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}: got {value!r}, need {need}")


def check_positive(name: str, value: Any) -> None:
    """A finite number above 0."""
    check_number(name, value, "a positive number")
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}: got {value!r}, need a positive number")


def check_count(name: str, value: Any) -> None:
    """A whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: got {value!r}, need a whole number of at least 1")
    if value < 1:
        raise ValueError(f"{name}: got {value!r}, need a whole number of at least 1")


def check_seed(name: str, value: Any) -> None:
    """A whole number that torch's generators take, times a million."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: got {value!r}, need a whole number")
    if not -SEEDS < value < SEEDS:
        raise ValueError(f"{name}: got {value!r}, need a whole number below 2**42 in size")
