"""Pictures of what `which_structure` found."""

from typing import TYPE_CHECKING

from .figures import mpl, subplots
from .fragments import Fragment
from .palette import COLOURS, family_style

if TYPE_CHECKING:
    from ..matrices.ranking import LayerRankings, Ranking


def bars(ranking: "Ranking") -> Fragment:
    """Relative errors as bars, best on top; baselines are hatched."""
    fits = list(ranking)
    figure, axes = subplots(size=(5.6, 0.5 + 0.27 * len(fits)))
    drawn = axes.barh(
        [f"{_words(fit.family)}, {fit.n_params:,}" for fit in fits],
        [fit.error for fit in fits],
        color=[COLOURS["slate" if fit.is_baseline else "error"] for fit in fits],
        height=0.7,
    )
    for bar, fit in zip(drawn, fits):
        if fit.is_baseline:
            bar.set(fill=False, hatch="////", edgecolor=COLOURS["slate"])
    axes.bar_label(drawn, [f"{fit.error:.3f}" for fit in fits], padding=3, fontsize=9)
    axes.set(xlim=(0, 1.12), xticks=(0, 0.25, 0.5, 0.75, 1), xlabel="relative error (hatched: baseline)")
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    return mpl(figure, "Relative error, best first: " + _said(ranking))


def dots(rankings: "LayerRankings") -> Fragment:
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


def _said(ranking: "Ranking") -> str:
    return ", ".join(f"{_words(fit.family)} {fit.error:.3f}" for fit in ranking)


def _words(family: str) -> str:
    return family.replace("_", " ")
