"""What `which_structure` found: one ranking of families a matrix, or one for every layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..viz import Fragment

BASELINES = ("c · identity", "diagonal", "low_rank")
"""What explains a matrix without any structure in the sense of this library: a structure has to beat these."""


@dataclass(frozen=True)
class Fit:
    """How well one family explains a matrix.

    Args:
        family: name of the family or baseline.
        n_params: free numbers of the member used.
        error: relative Frobenius error, 0 .. 1.
        budget: the family's own size option, such as ``{"rank": 2}``.
    """

    family: str
    n_params: int
    error: float
    budget: Mapping[str, int | tuple[int, int]]

    @property
    def explained(self) -> float:
        """Share of the squared norm that the member explains, ``1 - error^2``."""
        return 1.0 - self.error**2

    @property
    def is_baseline(self) -> bool:
        """Whether it is one of the three baselines."""
        return self.family in BASELINES


@dataclass(frozen=True)
class Ranking:
    """Every family that the budget allows, best first; exact fits are ordered by their number of parameters.

    Args:
        fits: the families, best first.
        budget: the largest number of parameters that was allowed.
        too_large: families of which no member fits the budget and the shape.
        shape: of the matrix.
        norm: the Frobenius norm of the matrix, to which the errors are relative.
    """

    fits: tuple[Fit, ...]
    budget: int
    too_large: tuple[str, ...]
    shape: tuple[int, int]
    norm: float

    def __iter__(self) -> Iterator[Fit]:
        return iter(self.fits)

    def __getitem__(self, family: str) -> Fit:
        return {fit.family: fit for fit in self.fits}[family]

    @property
    def best(self) -> Fit:
        """The first."""
        return self.fits[0]

    @property
    def structured(self) -> Fit | None:
        """The best that is no baseline; None where the budget allows none."""
        return next((fit for fit in self.fits if not fit.is_baseline), None)

    @property
    def baseline(self) -> Fit:
        """The best of the scaled identity, the diagonal and low rank."""
        return next(fit for fit in self.fits if fit.is_baseline)

    def plot(self) -> Fragment:
        """The errors as bars, best on top, baselines hatched."""
        from ..viz.rankings import bars

        return bars(self)

    def __str__(self) -> str:
        lines = [f"{'structure':<20}{'parameters':>11}{'error':>9}{'explained':>11}"]
        lines += [f"{f.family:<20}{f.n_params:>11,}{f.error:>9.4f}{f.explained:>11.1%}" for f in self.fits]
        if self.too_large:
            lines.append(f"not within {self.budget:,} numbers: {', '.join(self.too_large)}")
        return "\n".join(lines)

    __repr__ = __str__


class LayerRankings(Mapping[str, Ranking]):
    """One ranking a layer, by name: prints as a table with the best structure beside the best baseline of each layer.

    Args:
        rankings: layer name -> its ranking.
    """

    def __init__(self, rankings: Mapping[str, Ranking]) -> None:
        self._rankings = dict(rankings)

    def __getitem__(self, layer: str) -> Ranking:
        return self._rankings[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rankings)

    def __len__(self) -> int:
        return len(self._rankings)

    def plot(self) -> Fragment:
        """One line a layer, one mark a family, at its error."""
        from ..viz.rankings import dots

        return dots(self)

    def __str__(self) -> str:
        name = max(5, *(len(layer) for layer in self))
        heads = f"{'norm':>9}  {'structure':<20}{'numbers':>8}{'error':>8}  {'baseline':<13}{'numbers':>8}{'error':>8}"
        lines = [f"{'layer':<{name}}{'shape':>12}{heads}"]
        for layer, ranking in self.items():
            shape = "{} x {}".format(*ranking.shape)
            lines.append(
                f"{layer:<{name}}{shape:>12}{ranking.norm:>9.3g}"
                f"  {_cells(ranking.structured, 20)}  {_cells(ranking.baseline, 13)}"
            )
        return "\n".join(lines)

    __repr__ = __str__


def _cells(fit: Fit | None, width: int) -> str:
    if fit is None:
        return f"{'none fits':<{width}}{'':>16}"
    return f"{fit.family:<{width}}{fit.n_params:>8,}{fit.error:>8.4f}"
