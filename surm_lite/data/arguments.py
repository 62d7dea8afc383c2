"""What an argument must be, said in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

from torch import Tensor

SEEDS = 2**42  # a run multiplies its seed by about a million, and torch takes 63 bits
COUNTS = 2**63


def check_kind(name: str, value: Any, kind: type | tuple[type, ...], need: str) -> None:
    """An object of a kind, and not the class itself."""
    if not isinstance(value, kind):
        got = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
        raise TypeError(f"{name}: got {got}, need {need}")


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """One of a few words."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: got {value!r}, need one of {', '.join(choices)}")


def check_flag(name: str, value: Any) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: got {value!r}, need True or False")


def check_number(name: str, value: Any, need: str = "a number") -> None:
    """A real number that a float holds; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}: got {value!r}, need {need}")
    try:
        float(value)
    except OverflowError:
        raise ValueError(f"{name}: got {value!r}, need {need} that a float holds") from None


def check_positive(name: str, value: Any) -> None:
    """A finite number above 0."""
    check_number(name, value, "a positive number")
    if not 0 < float(value) < float("inf"):
        raise ValueError(f"{name}: got {value!r}, need a positive number")


def check_numbers(name: str, values: Any, least: int = 0) -> None:
    """Several finite numbers, at least so many."""
    if not isinstance(values, Sequence) or isinstance(values, str | bytes) or len(values) < least:
        raise TypeError(f"{name}: got {values!r}, need a tuple of {least or 'some'} or more numbers")
    for value in values:
        check_number(name, value, "finite numbers")
        if not abs(float(value)) < float("inf"):
            raise ValueError(f"{name}: got {values!r}, need finite numbers")


def check_count(name: str, value: Any, least: int = 1, most: int = COUNTS) -> None:
    """A whole number of at least 1, or another least one, that torch can count to."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: got {value!r}, need a whole number of at least {least}")
    if not least <= value < most:
        also = "" if value < most else f" and below {most:,}"
        raise ValueError(f"{name}: got {value!r}, need a whole number of at least {least}{also}")


def check_seed(name: str, value: Any) -> None:
    """A whole number that torch's generators take, times a million."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: got {value!r}, need a whole number")
    if not -SEEDS < value < SEEDS:
        raise ValueError(f"{name}: got {value!r}, need a whole number below 2**42 in size")


def check_pictures(name: str, value: Any) -> None:
    """Pictures as a tensor with numbers: (count, channels, height, width), none of the last three 0."""
    check_kind(name, value, Tensor, "a torch.Tensor")
    if value.is_meta or value.is_sparse:
        raise ValueError(
            f"{name}: got a tensor {'without numbers' if value.is_meta else 'that is sparse'}, need a dense one"
        )
    if value.ndim != 4 or not all(value.shape[1:]):
        raise ValueError(f"{name}: got shape {tuple(value.shape)}, need (count, channels, height, width)")
