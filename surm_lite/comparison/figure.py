"""Pictures of a comparison: score against trained numbers, deployed ones and time, and the curve of learning rates."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from surm_lite.comparison.result import Comparison, Summary
from surm_lite.viz import COLOURS, family_style, subplots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def score_figure(comparison: Comparison) -> Figure:
    """One panel a size of the training part: every seed small, the mean large, frozen baselines as lines.

    Bars are the standard error of the mean over the seeds; the grey staircase is the Pareto front.
    """
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
            axes.errorbar(at, mean, [standard_error(one) for one in own], fmt="none", ecolor=look["color"])
        for found in (case for case in comparison.frozen if case["examples"] == examples):
            axes.axhline(found["linear_probe"], color=COLOURS["slate"], linestyle=":", label="frozen: linear probe")
        _front(axes, [(float(one.trained), one.test_mean) for one in cases if one.trained])
        axes.set(xscale="log", xlabel="trained numbers, head not counted", title=f"{examples:,} training examples")
    _finish(panels[0], "test score")
    return figure


def time_figure(comparison: Comparison) -> Figure:
    """Score against the seconds of a step, a mark an arm; the whole run's seconds where no step was timed."""
    summary = comparison.summary()
    timed = all(one.step_seconds is not None for one in summary)
    figure, axes = subplots(size=(5.8, 3.8))
    points = []
    for one in summary:
        look, at = _look(one), (one.step_seconds if timed else None) or one.seconds
        points.append((at, one.test_mean))
        axes.errorbar(at, one.test_mean, standard_error(one), fmt="none", ecolor=look["color"])
        axes.plot([at], [one.test_mean], look["marker"], color=look["color"], markersize=8, label=one.label)
    _front(axes, points)
    axes.set(xscale="log", xlabel="seconds a step" if timed else "seconds of the run")
    _finish([axes], "test score")
    return figure


def deployed_figure(comparison: Comparison) -> Figure:
    """Score against the numbers that the finished model has more, or fewer, than the base model.

    What merges into its layers adds none, and is one grey crowd at zero.
    """
    figure, axes = subplots(size=(5.8, 3.8))
    crowd = "merges: no number more"
    for one in comparison.summary():
        if one.deployed is None:
            continue
        style = _look(one) | {"label": one.label} if one.deployed else {"color": COLOURS["rule"], "marker": "o"}
        if not one.deployed and crowd:
            style["label"], crowd = crowd, ""
        at = one.deployed / 1000
        axes.errorbar(at, one.test_mean, standard_error(one), fmt="none", ecolor=style["color"])
        axes.plot([at], [one.test_mean], linestyle="", markersize=8, **style)
    axes.set(xlabel="thousands of numbers more than the base model, deployed")
    _finish([axes], "test score")
    return figure


def rate_figure(comparison: Comparison) -> Figure:
    """The validation score at every learning rate, a line an arm; the chosen rate is filled, a diverged one missing."""
    summary = comparison.summary()
    figure, axes = subplots(size=(5.8, 3.8))
    for one in summary:
        look = _look(one)
        rates = sorted(lr for lr, score in one.curve.items() if score is not None)
        scores: list[Any] = [one.curve[lr] for lr in rates]
        axes.plot(rates, scores, look["marker"], linestyle="-", color=look["color"], fillstyle="none", label=one.label)
        axes.plot([one.lr], [one.curve[one.lr]], look["marker"], color=look["color"], markersize=8)
    axes.set(xscale="log", xlabel="peak learning rate")
    _finish([axes], "validation score")
    return figure


def standard_error(one: Summary) -> float:
    """Of the mean test score over the seeds; 0 for a single one, which says nothing of its spread."""
    return 0.0 if one.test_std is None else one.test_std / math.sqrt(len(one.test))


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, score) that no other one beats at the same cost or less, cheapest first.

    Example:
        >>> pareto_front([(3.0, 0.9), (1.0, 0.5), (2.0, 0.4), (4.0, 0.9)])
        [(1.0, 0.5), (3.0, 0.9)]
    """
    front: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or score > front[-1][1]:
            front.append((cost, score))
    return front


def _front(axes: Any, points: list[tuple[float, float]]) -> None:
    if len(points) > 1:
        costs, scores = zip(*pareto_front(points))
        axes.step(costs, scores, where="post", color=COLOURS["rule"], linewidth=4, zorder=0, label="Pareto front")


def _finish(panels: Any, ylabel: str) -> None:
    panels[0].set_ylabel(ylabel)
    entries = len(panels[-1].get_legend_handles_labels()[0])
    if entries:
        panels[-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), ncols=1 + entries // 20)


def _look(one: Summary) -> dict[str, str]:
    try:
        style = family_style(one.method)
    except ValueError:  # a method that has no look of its own
        return {"color": COLOURS["slate"], "marker": "o"}
    return {key: style[key] for key in ("color", "marker")}
