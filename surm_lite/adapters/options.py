"""Checks of the options of a method, and what to say of a name that nobody knows."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import torch

LARGEST_COUNT = 2**31
LARGEST_INT, LARGEST_FLOAT = torch.iinfo(torch.int64).max, torch.finfo(torch.float32).max


def divisors(k: int) -> list[int]:
    """The divisors of k, ascending."""
    return [d for d in range(1, k + 1) if k % d == 0]


def check_count(owner: str, name: str, value: object, least: int = 1) -> None:
    """An option that must be an integer of at least one, or another least one."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} of method {owner!r} is {value!r}; it must be an integer of at least {least}")
    if value >= LARGEST_COUNT:
        raise ValueError(f"{name} of method {owner!r} is too large; it must be below 2^31")


def check_number(owner: str, name: str, value: object) -> None:
    """An option that must be a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise ValueError(f"{name} of method {owner!r} is {value!r}; it must be a finite number")
    if abs(value) > (LARGEST_INT if isinstance(value, int) else LARGEST_FLOAT):
        raise ValueError(f"{name} of method {owner!r} is {value!r}; it must be a number that float32 and int64 hold")


def check_not_negative(owner: str, name: str, value: object) -> None:
    """An option that must be a finite number of at least zero."""
    check_number(owner, name, value)
    if not (isinstance(value, int | float) and value >= 0):
        raise ValueError(f"{name} of method {owner!r} is {value!r}; it must be 0 or more")


def check_share(owner: str, name: str, value: object) -> None:
    """An option that must be a number from 0 to below 1."""
    check_number(owner, name, value)
    if not (isinstance(value, int | float) and 0 <= value < 1):
        raise ValueError(f"{name} of method {owner!r} is {value!r}; it must be at least 0 and below 1")


def check_flag(owner: str, name: str, value: object) -> None:
    """An option that must be True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} of method {owner!r} is {value!r}; it must be True or False")


def check_seed(owner: str, name: str, value: object) -> None:
    """An option that seeds a generator."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_INT:
        raise ValueError(f"{name} of method {owner!r} is {value!r}; it must be an integer from 0 to 2^63 - 1")


def check_ranks(owner: str, name: str, value: object) -> None:
    """An option that must be a rank for each layer, by its name, or None."""
    if value is not None and not (isinstance(value, dict) and all(type(k) is int and k >= 0 for k in value.values())):
        raise ValueError(f"{name} of method {owner!r} is {value!r}; it must be a rank for each layer's name, or None")


def check_choice(owner: str, name: str, value: object, choices: Iterable[str]) -> None:
    """An option that must be one of a few words."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(near(f"{name} of method {owner!r}", str(value), choices))


def near(what: str, value: str, choices: Iterable[str]) -> str:
    """The words of an error about an unknown name: the close ones, or else all of them."""
    choices = list(dict.fromkeys(choices))
    close = get_close_matches(value, choices, n=5, cutoff=0.5)
    hint = f"did you mean {', '.join(map(repr, close))}?" if close else f"known: {', '.join(map(repr, choices[:20]))}"
    return f"unknown {what} {value!r}; {hint}"
