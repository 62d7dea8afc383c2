"""What a comparison measures beside scores, how far it looks for a rate, and what it says beforehand."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from surm_lite.adapters import adapt, load_adapter
from surm_lite.adapters.targets import select
from surm_lite.comparison import Arm, Plan, compare
from surm_lite.comparison import run as running
from surm_lite.comparison.leaderboard import LEADERBOARD
from surm_lite.comparison.measure import MEASURES, TensorBytes, effective_rank, typical_step, update_ranks
from surm_lite.comparison.outlook import outlook
from surm_lite.data import load
from surm_lite.evaluate import Probe
from surm_lite.files import seal, unseal

ROOT = Path(__file__).resolve().parents[1]
ARMS = {
    "head": Arm("linear head", (1e-3, 1e-2), "head", seeds=(0, 1)),
    "circulant": Arm("circulant", (1e-3, 3e-3), "circulant", {"block": 8}, seeds=(0, 1, 2)),
}
PLAN = Plan("digits", ARMS, model="tiny_vit", examples=(40,), epochs=1, frozen=False)


@pytest.fixture(scope="module", autouse=True)
def small_parts():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running.data_sets, "load", partial(running.data_sets.load, validation=70, test=50))
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return folder, compare(PLAN, folder, progress=False)


def test_what_a_run_costs_and_changes_is_measured(done):
    folder, comparison = done
    for one in comparison.rows:
        assert 0 < one["step_seconds"] < one["seconds"]
        stem = f"{one['arm']}-{one['examples']}-lr{one['lr']:g}-seed{one['seed']}"
        assert one["file_bytes"] == (folder / f"{stem}.safetensors").stat().st_size > 4 * one["stored"]
        assert one["tensor_bytes"] > 4 * 805_130  # the model's own
        assert one["forgetting"] is None  # of a plan that names no other set
    (head,) = {(one["rank"], one["effective_rank"]) for one in comparison.rows if one["arm"] == "head"}
    assert head == (0, 0)
    assert all(50 < one["effective_rank"] < one["rank"] <= 128 for one in comparison.rows if one["arm"] == "circulant")
    model = load_adapter(
        PLAN.base("circulant", load("digits", train=40)), folder / "circulant-40-lr0.003-seed0.safetensors"
    )
    (kept,) = (
        one
        for one in comparison.rows
        if (one["arm"], one["examples"], one["lr"], one["seed"]) == ("circulant", 40, 3e-3, 0)
    )
    before = select(PLAN.base("circulant", load("digits", train=40)), PLAN.layers("circulant"), ())
    assert len(before) == 18
    assert update_ranks(before, model) == (kept["rank"], kept["effective_rank"])


def test_a_run_of_an_older_version_says_none_where_it_did_not_look(done, tmp_path):
    folder, comparison = done
    for path in folder.glob("*.json"):
        made = unseal(path.read_text())
        made.pop("measures", None)
        (tmp_path / path.name).write_text(seal(json.dumps(made)))
    old = compare(PLAN, tmp_path, progress=False)
    assert [one | dict.fromkeys(MEASURES) for one in comparison.rows] == old.rows
    assert {getattr(one, key) for one in old.summary() for key in MEASURES} == {None}
    for one in old.rows:
        for key in MEASURES:
            del one[key]
    assert {getattr(one, key) for one in old.summary() for key in MEASURES} == {None}


def test_bytes_of_tensors_are_counted_once_each_while_they_live():
    there = torch.zeros(10)
    with TensorBytes([there, there[:5]]) as memory:
        x = torch.ones(100, requires_grad=True)
        view = x[:50].reshape(5, 10)
        y = torch.exp(view).sum()  # exp is kept for the backward pass
        assert memory.now == 40 + 400 + 200 + 4
        y.backward()
        assert memory.now == 40 + 400 + 4 + 400
        assert memory.peak >= 40 + 400 + 200 + 4 + 400
        x.grad = None
        del y, view
        assert memory.now == 40 + 400
        del x, there
        assert memory.now == 0


def test_a_step_takes_what_lies_between_two_steps():
    assert typical_step([0.0, 1.0, 2.0, 9.0]) == 1.0
    assert typical_step([5.0]) is None


def test_effective_rank_counts_directions_by_their_share():
    assert effective_rank(torch.tensor([3.0, 3.0, 0.0])) == pytest.approx(2)
    assert effective_rank(torch.tensor([1.0, 0.0])) == pytest.approx(1)
    assert effective_rank(torch.zeros(3)) == 0
    shares = [0.75, 0.25]
    assert effective_rank(torch.tensor([6.0, 2.0])) == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)))


def test_ranks_are_those_of_the_update_and_not_of_the_weight():
    before = nn.Sequential(nn.Linear(6, 5))
    after = adapt(deepcopy(before), "lora", targets="0", rank=2)
    with torch.no_grad():
        after[0].B.copy_(torch.eye(5, 2))
        after[0].A.copy_(torch.eye(2, 6))
    assert update_ranks({"0": before[0]}, after) == (2, pytest.approx(2, abs=1e-3))
    bottleneck = adapt(nn.Sequential(nn.Linear(8, 8)), "bottleneck", targets="0")
    assert update_ranks({"0": nn.Linear(8, 8)}, bottleneck) == (None, None)


def test_forgetting_is_what_a_probe_of_another_set_loses():
    data = load("digits", train=300)
    model = PLAN.base("head", data)
    probe = Probe.of(deepcopy(model), data)
    assert probe.forgotten(model) == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        for parameter in model.blocks.parameters():
            parameter.zero_()
    assert probe.forgotten(model) > 0.3


@pytest.mark.parametrize(
    ("scores", "tried", "best"),
    [
        ({1e-3: 0.5, 3e-3: 0.7, 1e-2: 0.6}, [1e-3, 3e-3, 1e-2], 3e-3),
        ({1e-3: 0.5, 3e-3: 0.6, 1e-2: 0.7, 3e-2: 0.6}, [1e-3, 3e-3, 1e-2, 3e-2], 1e-2),
        ({1e-3: 0.5, 3e-3: 0.6, 1e-2: 0.7, 3e-2: 0.8, 1e-1: 0.9}, [1e-3, 3e-3, 1e-2, 3e-2, 1e-1], 1e-1),
        ({1e-3: 0.7, 3e-3: 0.6, 1e-2: 0.5, 3e-4: 0.7, 1e-4: 0.1}, [1e-3, 3e-3, 1e-2, 3e-4, 1e-4], 3e-4),
        ({3e-4: 0.1}, [1e-3, 3e-3, 1e-2, 3e-4, 1e-4], 3e-4),
    ],
)
def test_a_plan_that_widens_tries_rates_beyond_the_best_one_at_an_edge(scores, tried, best, tmp_path, monkeypatch):
    asked = []

    def told(cells, name, examples, data, lr, seed):
        asked.append((lr, seed))
        return {"lr": lr, "seed": seed, "validation": scores.get(lr), "arm": name}

    monkeypatch.setattr(running._Cells, "row", told)
    arms = {"a": Arm("a", (1e-3, 3e-3, 1e-2), "head", seeds=(0, 1))}
    plan = replace(PLAN, arms=arms, widen=2)
    rows = compare(plan, tmp_path, progress=False).rows
    assert asked == [*((lr, 0) for lr in tried), (best, 1)]
    assert [row["lr"] for row in rows] == [*sorted(tried), best]
    assert [row["lr"] for row in rows if row["chosen"]] == [best] * 2


def test_every_sweep_comes_before_the_other_seeds(tmp_path, monkeypatch):
    order = []

    def told(cells, name, examples, data, lr, seed):
        order.append((name, seed))
        return {"lr": lr, "seed": seed, "validation": 0.5, "arm": name}

    monkeypatch.setattr(running._Cells, "row", told)
    rows = compare(PLAN, tmp_path, progress=False).rows
    sweeps = [("head", 0)] * 2 + [("circulant", 0)] * 2
    assert order == [*sweeps, ("head", 1), ("circulant", 1), ("circulant", 2)]
    assert [row["arm"] for row in rows] == ["head"] * 3 + ["circulant"] * 4


def test_runs_and_hours_are_told_beforehand(done, tmp_path):
    sets = {size: load("digits", train=size, validation=70, test=50) for size in PLAN.examples}
    told = outlook(PLAN, done[0], sets, torch.device("cpu"))
    assert (told.kept, told.missing) == (PLAN.n_runs, 0)
    assert str(told) == "7 runs, 7 of them kept"
    (tmp_path / "head-40-lr0.001-seed0.json").write_text(seal(json.dumps({"record": {"seconds": 90.0}})))
    (tmp_path / "head_2-40-lr0.001-seed0.json").write_text("of another arm")
    assert str(outlook(PLAN, tmp_path, sets, torch.device("cpu"))) == (
        "7 runs, 1 of them kept: about 0.1 hours of training for the others, 90 s each"
    )
    empty = outlook(PLAN, tmp_path / "none", sets, torch.device("cpu"))
    assert (empty.kept, empty.missing) == (0, 7)
    assert empty.seconds > 0


def test_every_method_has_a_step_beside_loras():
    kept = json.loads((ROOT / "benchmarks" / "results" / "method_steps.json").read_text(encoding="utf-8"))
    assert list(kept["rows"]) == list(LEADERBOARD.arms)
    assert {name: row["label"] for name, row in kept["rows"].items()} == {
        name: arm.label for name, arm in LEADERBOARD.arms.items()
    }
    assert abs(kept["rows"]["lora"]["ratio"] - 1) < 0.2, "LoRA beside itself"
    for row in kept["rows"].values():
        assert 0 < row["least"] <= row["ratio"] <= row["most"]
