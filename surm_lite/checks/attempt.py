"""Calling a reader's function, and saying what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..matrices import StructuredMatrix
from .diagnose import compare
from .report import CheckFailed
from .subject import SIZES, Sizes


def attempt(
    yours: Callable[..., Any], inputs: list[Any], want: Any, where: str, tol: int | float | None, hint: str
) -> None:
    said = compare(densify(call(yours, inputs, where, hint)), want, tol)
    if said:
        raise CheckFailed(message(f"{name_of(yours)} at {where}: {said}", hint))


def call(yours: Callable[..., Any], inputs: list[Any], where: str, hint: str) -> Any:
    try:
        return yours(*(t.clone() for t in inputs))
    except Exception as error:
        raise CheckFailed(message(f"{name_of(yours)} at {where}: {type(error).__name__}: {error}", hint)) from error


def densify(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return tuple(densify(v) for v in value)
    return value.to_dense() if isinstance(value, StructuredMatrix) else value


def chosen(sizes: Sizes | None, *, square: bool) -> Sizes:
    sizes = SIZES if sizes is None else sizes
    return tuple((m, n) for m, n in sizes if m == n) if square else tuple(sizes)


def size_name(m: int, n: int, rectangular: bool) -> str:
    return f"{m} x {n}" if rectangular else f"n = {n}"


def sizes_name(sizes: Sizes, rectangular: bool) -> str:
    return ", ".join(f"{m}x{n}" for m, n in sizes) if rectangular else f"n = {', '.join(str(n) for _, n in sizes)}"


def name_of(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    return "your function" if name == "<lambda>" else name


def message(said: str, hint: str) -> str:
    return f"{said}. Hint: {hint}" if hint else said


def passed(yours: Callable[..., Any], what: str) -> None:
    print(f"{name_of(yours)} {what}.")
