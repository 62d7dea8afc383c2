"""Score against trained numbers, from a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surm_lite.comparison.result import Comparison, Summary
from surm_lite.viz import COLOURS, family_style, subplots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def score_figure(comparison: Comparison) -> Figure:
    """One panel a size of the training part: every seed small, the mean large, frozen baselines as lines."""
    summary = comparison.summary()
    sizes = sorted({one.examples for one in summary})
    figure, panels = subplots(1, len(sizes), size=(4.2 * len(sizes) + 1.6, 3.8), squeeze=False, sharey=True)
    for axes, examples in zip(panels[0], sizes):
        cases = [one for one in summary if one.examples == examples]
        for method in dict.fromkeys(one.method for one in cases):
            own = sorted((one for one in cases if one.method == method), key=lambda one: one.trained)
            look = _look(own[0])
            label = own[0].label if len(own) == 1 else method
            if not own[0].trained:  # only the head: no place on a logarithmic axis
                axes.axhline(own[0].test_mean, color=look["color"], linestyle="--", label=label)
                continue
            for one in own:
                axes.plot([one.trained] * len(one.test), one.test, "o", color=look["color"], markersize=3, alpha=0.5)
            at, mean = [one.trained for one in own], [one.test_mean for one in own]
            axes.plot(at, mean, look["marker"], linestyle="-", color=look["color"], markersize=8, label=label)
        for found in (case for case in comparison.frozen if case["examples"] == examples):
            axes.axhline(found["linear_probe"], color=COLOURS["slate"], linestyle=":", label="frozen: linear probe")
        axes.set(xscale="log", xlabel="trained numbers, head not counted", title=f"{examples:,} training examples")
    panels[0][0].set_ylabel("test score")
    panels[0][-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _look(one: Summary) -> dict[str, str]:
    try:
        style = family_style(one.method)
    except ValueError:  # a method that has no look of its own
        return {"color": COLOURS["slate"], "marker": "o"}
    return {key: style[key] for key in ("color", "marker")}
