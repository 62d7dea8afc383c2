"""What an exhibit of the museum is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from surm_lite.matrices import StructuredMatrix

SURM = "SURM official code, commit a28432f (2024-11)"


@dataclass(frozen=True)
class Exhibit:
    """A wrong family: where it was found, what must flag it, and what cannot."""

    family: type[StructuredMatrix]
    found: str
    caught_by: tuple[str, ...]
    unseen_by: tuple[str, ...] = ()
    dense: Callable[[StructuredMatrix], Tensor] | None = None


EXHIBITS: list[Exhibit] = []


def exhibit(found: str, caught_by: str, unseen_by: str = "", dense=None):
    """Puts a class into the museum; checks are separated by commas."""

    def show(family: type[StructuredMatrix]) -> type[StructuredMatrix]:
        caught, unseen = (tuple(name.strip() for name in text.split(",") if name) for text in (caught_by, unseen_by))
        EXHIBITS.append(Exhibit(family, found, caught, unseen, dense))
        return family

    return show
