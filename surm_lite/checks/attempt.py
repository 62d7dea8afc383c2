"""A reader's function: calling it, and saying what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from surm_lite.checks.diagnose import compare
from surm_lite.checks.report import CheckFailed
from surm_lite.checks.subject import SIZES, Sizes
from surm_lite.data.arguments import check_kind
from surm_lite.matrices import StructuredMatrix
from surm_lite.matrices.arguments import check_whole


@dataclass(frozen=True)
class Attempt:
    """What a reader wrote, and the hint for when it is wrong."""

    yours: Callable[..., Any]
    hint: str

    def __post_init__(self) -> None:
        if not callable(self.yours):
            raise TypeError(f"yours: got {self.yours!r}, need your function")
        check_kind("hint", self.hint, str, "a sentence")

    @property
    def name(self) -> str:
        """What the reader called it: the book's own answers are ``solution_NAME``, which leaves the reader's alone."""
        name = getattr(self.yours, "__name__", type(self.yours).__name__).removeprefix("solution_")
        return "your function" if name == "<lambda>" else name

    def call(self, inputs: Sequence[Tensor], where: str) -> Any:
        """The result, on copies of the inputs; operators as dense matrices."""
        try:
            return densify(self.yours(*(t.clone() for t in inputs)))
        except Exception as error:
            raise self.failed(where, f"{type(error).__name__}: {error}") from error

    def compare(self, inputs: Sequence[Tensor], want: Any, where: str, tol: int | float | None = None) -> None:
        said = compare(self.call(inputs, where), want, tol)
        if said:
            raise self.failed(where, said)

    def failed(self, where: str, said: str) -> CheckFailed:
        return CheckFailed(with_hint(f"{self.name} {where}: {said}", self.hint))

    def passed(self, what: str) -> None:
        print(f"{self.name} {what}.")


def with_hint(said: str, hint: str) -> str:
    return f"{said}. Hint: {hint}" if hint else said


def densify(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return tuple(densify(v) for v in value)
    return value.to_dense() if isinstance(value, StructuredMatrix) else value


def chosen(sizes: Sizes | None, *, square: bool) -> Sizes:
    """The sizes to try: the given or the usual ones, the rectangles left out where only squares exist."""
    sizes = SIZES if sizes is None else sizes
    if not isinstance(sizes, Sequence) or not all(isinstance(size, tuple) and len(size) == 2 for size in sizes):
        raise TypeError(f"sizes: got {sizes!r}, need pairs (m, n)")
    for size in sizes:
        for k in size:
            check_whole(k, "sizes: one of them", most=4096)
    return tuple((m, n) for m, n in sizes if m == n) if square else tuple(sizes)


def at(*sizes: tuple[int, int], square: bool) -> str:
    """ "at n = 3, 8" or "at 3x4, 8x2"."""
    return (
        f"at n = {', '.join(str(n) for _, n in sizes)}" if square else f"at {', '.join(f'{m}x{n}' for m, n in sizes)}"
    )
