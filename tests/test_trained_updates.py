"""The measurements of trained updates: the script's own pieces, and the record that is kept of a full run."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch

from surm_lite.comparison import Comparison
from surm_lite.matrices import Circulant, LowRank

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
LAYERS = [f"{block}.{letter}" for block in range(6) for letter in "qkv"]
NUMBERS = {"circulant": 384, "toeplitz": 767, "hankel": 767, "low_rank": 768, "ldr": 768, "diagonal": 384}


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import trained_updates

    yield trained_updates
    sys.modules.pop("trained_updates")


@pytest.fixture(scope="module")
def kept():
    return json.loads((BENCHMARKS / "results" / "trained_updates.json").read_text())


def test_measure_knows_rank_size_and_angle(script, rng):
    before = torch.randn(384, 384, dtype=torch.float64, generator=rng)
    update = LowRank.random(384, rank=3, dtype=torch.float64, generator=rng).to_dense()
    one = script.measure(update, before)
    assert one["rank"] == 3
    assert one["k90"] <= one["k99"] <= 3
    turned = 1 - torch.nn.functional.cosine_similarity((before + update).flatten(), before.flatten(), dim=0)
    assert one["turned"] == pytest.approx(float(turned), rel=1e-3)
    assert script.measure(Circulant.random(384, generator=rng).to_dense().double(), before)["rank"] == 384


def test_shuffling_keeps_the_singular_values_and_nothing_else(script, rng):
    W = Circulant.random(12, dtype=torch.float64, generator=rng).to_dense()
    mixed = script.shuffled({"0.q": W})["0.q"]
    assert torch.allclose(torch.linalg.svdvals(mixed), torch.linalg.svdvals(W))
    assert script.errors({"0.q": W})["0.q"]["circulant"] < 1e-9
    assert script.errors({"0.q": mixed})["0.q"]["circulant"] > 0.5


def test_the_runs_are_those_of_the_comparison(kept, script):
    assert [(run["arm"], run["seed"]) for run in kept["runs"]] == list(script.RUNS)
    summary = Comparison.from_json(BENCHMARKS / "results" / f"{kept['about']['plan']}.json").summary()
    rates = {arm.arm: arm.lr for arm in summary}
    for run in kept["runs"]:
        assert run["lr"] == rates[run["arm"]]
        assert len(run["loss"]) == 32 * kept["about"]["epochs"]
        assert list(run["layers"]) == LAYERS
        assert 0.5 < run["test"] < 1


def test_every_layer_agrees_with_itself(kept):
    at = {index: place for place, index in enumerate(kept["about"]["indices"])}
    for run in kept["runs"]:
        for layer in run["layers"].values():
            s = layer["spectrum"]
            assert s[0] == 1
            assert s == sorted(s, reverse=True)
            assert 1 <= layer["k50"] <= layer["k90"] <= layer["k99"] <= layer["rank"] <= 384
            assert all((s[place] > 384 * 2**-23) == (index <= layer["rank"]) for index, place in at.items())
            r, a = layer["ratio"], layer["aligned"]
            assert -1 <= a <= 1
            exact = 1 - (1 + r * a) / math.sqrt(1 + 2 * r * a + r * r)
            assert layer["turned"] == pytest.approx(exact, rel=0.02, abs=1e-6)


def test_errors_obey_the_inclusions(kept):
    laws = [
        ("c · identity", "circulant"), ("c · identity", "diagonal"), ("circulant", "toeplitz"),
        ("skew_circulant", "toeplitz"), ("symmetric_toeplitz", "toeplitz"), ("kronecker", "kronecker_sum"),
    ]  # fmt: skip
    whole = [run for run in kept["runs"] if run["arm"] == "full"]
    tables = [run["errors"] for run in whole] + [run["errors_shuffled"] for run in whole if "errors_shuffled" in run]
    assert len(tables) == len(whole) + 1
    for table in tables:
        assert list(table) == LAYERS
        for error in table.values():
            assert set(NUMBERS) <= set(error)
            assert all(0 < value <= 1 for value in error.values())
            for small, large in laws:
                if {small, large} <= set(error):
                    assert error[large] <= error[small] + 1e-4, (small, large)


def test_best_rank_one_is_the_first_singular_value(kept):
    for run in kept["runs"]:
        for name, error in run.get("errors", {}).items():
            layer = run["layers"][name]
            assert 1 - error["low_rank"] ** 2 == pytest.approx((layer["largest"] / layer["norm"]) ** 2, abs=2e-3)
