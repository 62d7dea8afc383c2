"""The kept record of the pinwheel is whole, and a short slice of it comes out again."""

import json
import sys
from pathlib import Path
from statistics import mean

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RECORD = json.loads((BENCHMARKS / "results" / "pinwheel.json").read_text())


@pytest.fixture
def pinwheel(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import pinwheel

    yield pinwheel
    sys.modules.pop("pinwheel")


def filed(kind, name, embedding):
    (arm,) = (a for a in RECORD["arms"] if (a["kind"], a["name"], a["embedding"]) == (kind, name, embedding))
    return arm


def test_the_record_is_whole(pinwheel):
    assert {(a["kind"], a["name"], a["embedding"]) for a in RECORD["arms"]} == {
        (*arm, embedding) for arm in pinwheel.ARMS for embedding in pinwheel.EMBEDDINGS
    }
    assert RECORD["settings"]["epochs"] == pinwheel.EPOCHS
    for arm in RECORD["arms"]:
        runs = arm["runs"]
        assert {(r["rate"], r["seed"]) for r in runs} == {(p, s) for p in pinwheel.RATES for s in pinwheel.SEEDS}
        means = {
            key: {rate: mean(r[key] for r in runs if r["rate"] == rate) for rate in pinwheel.RATES}
            for key in ("loss", "validation")
        }
        assert means["loss"][arm["fit_rate"]] == min(means["loss"].values())
        assert means["validation"][arm["rate"]] == max(means["validation"].values())
        ends = [r["loss"] for r in runs if r["rate"] == arm["fit_rate"]]
        assert [curve[-1] for curve in arm["curves"]] == pytest.approx(ends, abs=1e-4)
        assert len(arm["map"]) == pinwheel.SIDE


@pytest.mark.parametrize(
    ("kind", "name", "embedding"),
    [("weight", "low_rank", "frozen"), ("update", "frozen", "trained"), ("update", "circulant", "frozen")],
)
def test_a_slice_comes_out_again(pinwheel, kind, name, embedding):
    arm = filed(kind, name, embedding)
    model = pinwheel.network(kind, name, embedding, seed=0)
    assert pinwheel.numbers(model) == arm["numbers"]
    steps = 4 * pinwheel.EVERY
    curve = pinwheel.fit(model, arm["fit_rate"], epochs=steps)
    assert curve == pytest.approx(arm["curves"][0][: len(curve)], rel=0.02, abs=2e-3)
    assert curve[-1] < curve[0]


def test_the_arms_of_a_seed_start_from_one_network(pinwheel):
    plain = pinwheel.network("update", "frozen", "frozen", seed=1)
    for name in pinwheel.UPDATES:
        model = pinwheel.network("update", name, "frozen", seed=1)
        with torch.no_grad():
            assert torch.equal(model(pinwheel.TEST[0][:9]), plain(pinwheel.TEST[0][:9]))
        trained = {n for n, p in model.named_parameters() if p.requires_grad}
        assert any(n.startswith("middle") for n in trained)
        assert "embedding.weight" not in trained
    other = pinwheel.network("weight", "ldr", "frozen", seed=1)
    assert torch.equal(other.embedding.weight, plain.embedding.weight)
    assert torch.equal(other.head.weight, plain.head.weight)
