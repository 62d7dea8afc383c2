"""The pictures of a comparison say its numbers: data are read back from what is drawn."""

from __future__ import annotations

import pytest

from surm_lite.comparison import Comparison
from surm_lite.comparison.figure import (
    deployed_figure,
    pareto_front,
    rate_figure,
    score_figure,
    standard_error,
    time_figure,
)
from surm_lite.viz import COLOURS, family_style

BASE = {"examples": 10, "equal": True, "kept": 5, "peak_memory": None, "loss": [], "diverged": None}


def arm(method, trained, scores, step):
    """Rows of a sweep of three rates, of which the middle one is chosen and the last one diverged."""
    about = BASE | {"arm": method, "label": method.upper(), "method": method, "trained": trained + 5}
    sweep = [(1e-3, 0.4, False), (1e-2, 0.6, True), (1e-1, None, False)]
    rows = [
        about
        | {"lr": lr, "seed": 0, "chosen": chosen, "validation": score, "test": score and scores[0], "seconds": 9.0}
        | {"step_seconds": step}
        for lr, score, chosen in sweep
    ]
    more = [rows[1] | {"seed": seed, "test": score} for seed, score in enumerate(scores[1:], start=1)]
    return rows + more


ROWS = [
    *arm("lora", 200, [0.7, 0.8, 0.9], 0.5), *arm("toeplitz", 100, [0.6, 0.6, 0.6], 0.25),
    *arm("dora", 300, [0.5, 0.7, 0.6], 2.0),
]  # fmt: skip
COMPARISON = Comparison({}, ROWS)
MEANS = {"LORA": 0.8, "TOEPLITZ": 0.6, "DORA": 0.6}


def lines(figure):
    (axes,) = figure.axes
    return {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}


def bars(figure):
    """(x, low, high) of every error bar, by its colour."""
    (axes,) = figure.axes
    return [(*(round(float(v), 6) for v in (path[0][0], path[0][1], path[1][1])),) for c in axes.collections
            for path in c.get_segments()]  # fmt: skip


@pytest.mark.parametrize(
    ("draw", "at", "front"),
    [
        (score_figure, {"LORA": 200, "TOEPLITZ": 100, "DORA": 300}, [(100, 0.6), (200, 0.8)]),
        (time_figure, {"LORA": 0.5, "TOEPLITZ": 0.25, "DORA": 2.0}, [(0.25, 0.6), (0.5, 0.8)]),
    ],
)
def test_means_errors_and_the_front_are_drawn(draw, at, front):
    figure = draw(COMPARISON)
    drawn = lines(figure)
    assert set(drawn) == {*MEANS, "Pareto front"}
    for label, mean in MEANS.items():
        (x,), (y,) = drawn[label].get_data()
        assert (x, y) == (at[label], pytest.approx(mean))
        style = family_style(label.lower())
        assert (drawn[label].get_color(), drawn[label].get_marker()) == (style["color"], style["marker"])
    for got, want in zip(drawn["Pareto front"].get_xydata(), front, strict=True):
        assert tuple(got) == pytest.approx(want)
    assert drawn["Pareto front"].get_drawstyle() == "steps-post"
    error = 0.1 / 3**0.5
    want = [(at["LORA"], 0.8 - error, 0.8 + error), (at["TOEPLITZ"], 0.6, 0.6), (at["DORA"], 0.6 - error, 0.6 + error)]
    assert sorted(bars(figure)) == [pytest.approx(one, abs=1e-5) for one in sorted(want)]


def test_without_timed_steps_the_seconds_of_the_run_are_drawn():
    old = Comparison({}, [{key: value for key, value in row.items() if key != "step_seconds"} for row in ROWS])
    figure = time_figure(old)
    assert {float(line.get_xdata()[0]) for line in lines(figure).values()} == {9.0}
    assert figure.axes[0].get_xlabel() == "seconds of the run"
    assert time_figure(COMPARISON).axes[0].get_xlabel() == "seconds a step"


def test_what_is_deployed_less_stands_left_and_what_merges_at_zero():
    rows = [row | {"deployed": {"lora": 0, "toeplitz": 0, "dora": -500 + 30 * row["seed"]}[row["arm"]]} for row in ROWS]
    drawn = {label: line.get_xydata().tolist() for label, line in lines(deployed_figure(Comparison({}, rows))).items()}
    assert drawn == {"merges: no number more": [pytest.approx([0, 0.8])], "DORA": [pytest.approx([-0.47, 0.6])]}
    assert not lines(deployed_figure(COMPARISON)), "a run of an older version did not count them"


def test_the_curve_of_rates_leaves_out_what_diverged_and_marks_the_choice():
    figure = rate_figure(COMPARISON)
    for label in MEANS:
        line = lines(figure)[label]
        assert line.get_xydata().tolist() == [[1e-3, 0.4], [1e-2, 0.6]]
        assert line.get_color() == family_style(label.lower())["color"]
    chosen = [line for line in figure.axes[0].get_lines() if line.get_label().startswith("_")]
    assert [line.get_xydata().tolist() for line in chosen] == [[[1e-2, 0.6]]] * 3


def test_a_front_is_what_nothing_cheaper_beats():
    assert pareto_front([(1.0, 0.5), (1.0, 0.6), (2.0, 0.6), (3.0, 0.4), (4.0, 0.7)]) == [(1.0, 0.6), (4.0, 0.7)]
    assert pareto_front([]) == []


def test_a_single_seed_has_no_error_and_an_unknown_method_a_plain_mark():
    rows = [row for row in ROWS if row["seed"] == 0 and row["arm"] == "lora"]
    comparison = Comparison({}, [row | {"method": "nobody's", "label": "X"} for row in rows])
    (one,) = comparison.summary()
    assert standard_error(one) == 0
    assert lines(time_figure(comparison))["X"].get_color() == COLOURS["slate"]
