"""What a run will hold in memory: parts that are known exactly, and the peak against the bytes that were counted."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from resumable import pictures
from torch import nn

import surm_lite as sl
from surm_lite.commands import main as cli
from surm_lite.comparison.measure import tensor_bytes
from surm_lite.data import load
from surm_lite.models import minilm, split_qkv, tiny_vit, vit_s14


def net() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Dropout(0.5), nn.Linear(32, 5))


def test_parts_that_are_known():
    model = sl.adapt(net(), "lora", targets="1", rank=2, keep=("4",))
    found = sl.memory(model, pictures(), batch_size=10)
    trained = 2 * (64 + 32) + 32 * 5 + 5
    assert found.gradients == 4 * trained
    assert found.optimizer == 2 * found.gradients
    assert found.weights == 4 * (64 * 32 + 32 + 2 * 32 + 2 * 32 + trained) + 8  # a batch norm counts its batches
    assert found.peak >= found.weights + found.optimizer + found.activations
    assert str(found).startswith(f"{found.peak / 1e6:.1f} MB at once: weights {found.weights / 1e6:.1f}, activations")


@pytest.mark.parametrize(
    ("optimizer", "times"),
    [(torch.optim.SGD, 0), (partial(torch.optim.SGD, momentum=0.9), 1), (None, 2), (torch.optim.Adam, 2),
     (torch.optim.RMSprop, 1), (partial(torch.optim.Adam, amsgrad=True), 3)],
)  # fmt: skip
def test_what_an_optimizer_remembers(optimizer, times):
    found = sl.memory(net(), pictures(), optimizer=optimizer)
    assert found.optimizer == times * found.gradients


def test_activations_grow_with_the_batch_and_shrink_with_its_pieces():
    digits, model = load("digits", train=64), tiny_vit(num_classes=10)
    one, two, pieces = (
        sl.memory(model, digits, batch_size=size, accumulate=cuts) for size, cuts in ((16, 1), (32, 1), (32, 2))
    )
    assert pieces == one
    assert 1.8 < two.activations / one.activations < 2.2
    assert (two.weights, two.gradients) == (one.weights, one.gradients)
    assert sl.memory(model, digits, batch_size=10**6) == sl.memory(model, digits, batch_size=64)
    assert sl.memory(model, digits, precision="bfloat16").activations < two.activations


def test_the_model_and_all_chance_are_left_as_they_were():
    model = net()
    model[2].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    chance = torch.get_rng_state()
    sl.memory(model, pictures())
    assert torch.equal(torch.get_rng_state(), chance)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [module.training for module in model] == [True, True, False, True, True]
    assert all(p.grad is None for p in model.parameters())


def test_where_gradients_outweigh_activations_they_are_the_peak():
    with torch.random.fork_rng(devices=[]):
        wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 4000), nn.Linear(4000, 5))
    found = sl.memory(wide, pictures(), batch_size=2)
    assert found.activations < found.gradients / 2
    assert found.peak == found.weights + found.optimizer + found.gradients == 4 * found.weights


def holds(build, data, batch_size, within):
    told = sl.memory(build(), data, batch_size=batch_size).peak
    counted = tensor_bytes(build(), data, batch_size=batch_size, device="cpu", progress=False, lr=1e-4)
    assert told == pytest.approx(counted, rel=within), f"{told / counted:.3f} of what was counted"


@pytest.mark.parametrize("method", ["lora", "circulant", "full"])
def test_the_peak_of_a_tiny_vit(method):
    digits = load("digits", train=64, validation=20, test=20)
    holds(lambda: sl.adapt(split_qkv(tiny_vit(num_classes=10)), method), digits, 32, 0.15)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [8, 32])
@pytest.mark.parametrize("method", ["lora", "circulant", "full", "toeplitz"])
def test_the_peak_of_vit_s(method, batch_size):
    digits = load("digits", train=64, validation=20, test=20)
    holds(lambda: sl.adapt(split_qkv(vit_s14()), method), digits, batch_size, 0.15)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "circulant", "full"])
def test_the_peak_of_minilm(method):
    snippets = load("movie_snippets", train=64, validation=10, test=10)
    holds(lambda: sl.adapt(minilm(), method), snippets, 32, 0.15)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": None}, "model: got a NoneType"),
        ({"data": (1, 2)}, r"data: got a tuple, need a LabelledSet: sl\.data\.from_arrays"),
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"accumulate": 1.5}, "accumulate: got 1.5"),
        ({"precision": "half"}, "precision: got 'half'"),
        ({"optimizer": 3}, "optimizer: got 3"),
        ({"batch_size": 1}, "batch_size: .* a batch norm"),
        ({"model": net().requires_grad_(False)}, "model: no parameter requires a gradient"),
    ],
)
def test_wrong_arguments(arguments, words, own_errors):
    with pytest.raises((TypeError, ValueError), match=words):
        sl.memory(**{"model": net(), "data": pictures()} | arguments)


def test_the_command_line_tells_it_before_it_trains(capsys):
    words = ["train", "--model", "tiny_vit", "--data", "digits", "--device", "cpu", "--quick", "--method", "head"]
    assert cli.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    found = sl.memory(sl.adapt(split_qkv(tiny_vit(num_classes=10)), "head"), load("digits", train=100))
    assert str(found) in lines[3]
