"""The leaderboard's plan: every method, one form each, within the budget or marked."""

from __future__ import annotations

from pathlib import Path

import pytest

from surm_lite.adapters import count
from surm_lite.adapters.methods.registry import METHODS, make_method
from surm_lite.comparison import Comparison, options_for_budget
from surm_lite.comparison.leaderboard import BUDGET, LEADERBOARD, WIDE_BUDGET
from surm_lite.comparison.plans import ARMS, PLANS
from surm_lite.data import load

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
COMPRESS = ("trp", "cuttlefish", "lord", "lorae")
"""Their form is the smallest that is worth having, or all there is."""


def test_every_method_has_one_arm():
    assert PLANS["leaderboard"] is LEADERBOARD
    assert sorted(LEADERBOARD.arms) == sorted(METHODS)
    assert all(name == arm.method for name, arm in LEADERBOARD.arms.items())
    assert len({arm.label for arm in LEADERBOARD.arms.values()}) == len(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_form_keeps_the_budget_or_is_not_ranked(name):
    arm = LEADERBOARD.arms[name]
    method = make_method(name, dict(arm.options))
    if not method.wraps:
        assert arm.equal is (name != "full")
        return
    size = method.n_params(384, 384)
    assert arm.equal is (size <= BUDGET)
    if not arm.equal and name not in COMPRESS:
        with pytest.raises(ValueError, match=f"the smallest {name} update of 384 x 384 has {size}"):
            options_for_budget(name, 384, 384, BUDGET)


def test_bias_alone_keeps_the_budget_of_the_whole_model():
    width, blocks = 384, 6
    biases = 3 + 1 + 4 + 1 + 2  # q, k and v; the output of attention; two of the MLP; two norms
    assert (blocks * biases + 1) * width <= 3 * blocks * BUDGET


def test_ten_arms_at_four_times_the_budget():
    arms = PLANS["leaderboard_6144"].arms
    assert len(arms) == 10
    for name, arm in arms.items():
        assert 0.9 * WIDE_BUDGET <= make_method(name, dict(arm.options)).n_params(384, 384) <= WIDE_BUDGET, name


def test_five_arms_need_no_file_of_the_reader():
    plan = PLANS["leaderboard_mnist5k"]
    assert len(plan.arms) == 5
    for name, arm in plan.arms.items():
        assert arm == LEADERBOARD.arms[name]


@pytest.mark.parametrize("name", METHODS)
def test_three_rates_to_begin_with(name):
    low, middle, high = LEADERBOARD.arms[name].lrs
    assert 2.4 < middle / low < 3.4
    assert 2.9 < high / middle < 4.1
    assert LEADERBOARD.arms[name].seeds == (0, 1, 2)


def test_a_methods_own_rate_is_the_boards():
    chosen = {one.arm: one.lr for one in Comparison.from_json(RESULTS / "leaderboard.json").summary()}
    assert {name: method.lr for name, method in METHODS.items()} == chosen


def test_runs_of_an_earlier_comparison_can_be_taken_over():
    """Same settings under the same name of a file: copying it into the folder is enough."""
    earlier = PLANS["finetune_sign_digits"]
    for name in ("toeplitz", "symmetric_toeplitz", "bottleneck", "full"):
        for lr in set(ARMS[name].lrs) & set(LEADERBOARD.arms[name].lrs):
            assert LEADERBOARD.settings(name, None, lr, 0) == earlier.settings(name, None, lr, 0)


def test_the_smoke_test_of_the_zoo_has_the_numbers_of_the_prototypes():
    data = load("mnist5k", train=300)
    trained = {"lora": 4608, "circulant": 4608, "toeplitz": 2295, "dora": 3456, "loldu": 1152, "bora": 4608,
               "miss": 4608, "gralora": 4608, "singlora": 4608, "elalora": 9252, "head": 0}  # fmt: skip
    for name, size in trained.items():
        counted = count(PLANS["zoo_smoke"].build(name, data))
        assert counted.trained - counted.kept == size, name


BOARDS = ("leaderboard", "leaderboard_6144", "leaderboard_mnist5k")


@pytest.mark.parametrize("name", BOARDS)
def test_a_committed_board_is_whole(name):
    """Every arm at a rate of its own that is no edge, with three seeds, and every measure taken."""
    board = Comparison.from_json(RESULTS / f"{name}.json")
    found = {one.arm: one for one in board.summary()}
    assert list(found) == list(PLANS[name].arms)
    for one in found.values():
        assert one.seeds == [0, 1, 2], one.arm
        assert not one.at_grid_edge, one.arm
        assert one.test_std is not None
        assert None not in (one.step_seconds, one.file_bytes, one.tensor_bytes), one.arm
        assert (one.forgetting is None) is (PLANS[name].elsewhere is None), one.arm
    for row in board.rows:
        assert row["test"] is None or {"surm_lite", "torch"} <= set(row["versions"]), row["arm"]
        assert row["test"] is None or row["device"], row["arm"]
