"""Pictures of what `which_structure` found."""

import html
from typing import TYPE_CHECKING

from .figures import mpl, subplots
from .fragments import Fragment
from .palette import COLOURS, family_style

if TYPE_CHECKING:
    from ..matrices.ranking import LayerRankings, Ranking

SOLID = f"background:var(--surm-error, {COLOURS['error']})"
_SLATE = f"var(--surm-slate, {COLOURS['slate']})"
HATCHED = f"background:repeating-linear-gradient(135deg,{_SLATE} 0 1px,transparent 1px 5px);border:1px solid {_SLATE}"


def bars(ranking: "Ranking") -> Fragment:
    """Relative errors as bars, best on top; baselines are hatched. HTML, so that it is small and its text real."""
    rows = "".join(
        f"<span>{_words(fit.family)}, {fit.n_params:,}</span>"
        f'<span style="height:1em;width:{100 * min(fit.error, 1):.1f}%;{HATCHED if fit.is_baseline else SOLID}"></span>'
        f"<span>{fit.error:.3f}</span>"
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
