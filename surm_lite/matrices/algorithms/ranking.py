"""What `which_structure` found, in words and in pictures: one ranking of families a matrix, or one for every layer."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from surm_lite.viz import COLOURS, Fragment, family_style, mpl, subplots

BASELINES = ("c · identity", "diagonal", "low_rank")
"""What explains a matrix without any structure in the sense of this library: a structure has to beat these."""

_SOLID = f"background:var(--surm-error, {COLOURS['error']})"
_SLATE = f"var(--surm-slate, {COLOURS['slate']})"
_HATCHED = f"background:repeating-linear-gradient(135deg,{_SLATE} 0 1px,transparent 1px 5px);border:1px solid {_SLATE}"


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
        return _bars(self)

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
        return _dots(self)

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


def _bars(ranking: Ranking) -> Fragment:
    """Relative errors as bars, best on top; baselines are hatched. HTML, so that it is small and its text real."""
    rows = "".join(
        f"<span>{_words(fit.family)}, {fit.n_params:,}</span>"
        f'<span style="height:1em;width:{100 * min(fit.error, 1):.1f}%;'
        f'{_HATCHED if fit.is_baseline else _SOLID}"></span><span>{fit.error:.3f}</span>'
        for fit in ranking
    )
    grid = "display:grid;grid-template-columns:max-content 1fr max-content;gap:.15em .7em;align-items:center"
    text = "Relative error, best first: " + _said(ranking)
    return Fragment(
        f'<figure class="surm-figure" style="flex:1 1 320px;max-width:560px">'
        f'<div role="img" aria-label="{html.escape(text)}" style="{grid};font-size:.85em;text-align:left">{rows}</div>'
        f"<figcaption>relative error of each family with its numbers; hatched: baselines</figcaption></figure>",
        text,
    )


def _dots(rankings: LayerRankings) -> Fragment:
    """One line a layer, one mark a family at its relative error."""
    layers = list(rankings)
    figure, axes = subplots(size=(6.4, 1.3 + 0.34 * len(layers)))
    for family in dict.fromkeys(fit.family for ranking in rankings.values() for fit in ranking):
        places = [(fit.error, y) for y, name in enumerate(layers) for fit in rankings[name] if fit.family == family]
        axes.plot(*zip(*places), **family_style(family) | {"linestyle": "none", "markersize": 7}, label=_words(family))
    axes.set(xlim=(-0.02, 1.02), yticks=range(len(layers)), yticklabels=layers, xlabel="relative error")
    axes.set_ylim(len(layers) - 0.5, -0.5)
    figure.legend(loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    said = (f"{name}: {_said(ranking)}" for name, ranking in rankings.items())
    return mpl(figure, "Relative error by layer. " + ". ".join(said))


def _said(ranking: Ranking) -> str:
    return ", ".join(f"{_words(fit.family)} {fit.error:.3f}" for fit in ranking)


def _words(family: str) -> str:
    return family.replace("_", " ")
