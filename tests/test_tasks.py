"""Tasks: what they compute, what they refuse, and the batches that a method may look at beforehand."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from resumable import SETTINGS, network, pictures
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import surm_lite
from surm_lite.data import LabelledSet, Split, load
from surm_lite.evaluate import accuracy
from surm_lite.models import ViT, ViTConfig
from surm_lite.tasks import Classification, Reconstruction, evaluating, fit
from surm_lite.training.run import Run
from surm_lite.training.train import train

QUIET = {"progress": False, "device": "cpu"}


def as_reconstruction(data: LabelledSet) -> LabelledSet:
    return dataclasses.replace(data, task=Reconstruction())


def autoencoder() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 64))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    return model


def test_no_loop_knows_what_it_trains():
    root = Path(surm_lite.__file__).parent
    files = [path for room in ("training", "comparison", "commands") for path in (root / room).glob("*.py")]
    assert len(files) > 15
    words = re.compile(r"cross.?entropy|\bimages?\b|\bclasses\b", re.IGNORECASE)
    assert words.search("F.cross_entropy")
    assert not [path.name for path in files if words.search(path.read_text())]


def test_a_data_set_is_for_classification_unless_it_says_otherwise():
    assert isinstance(pictures().task, Classification)
    assert isinstance(as_reconstruction(pictures()).task, Reconstruction)
    record = train(network(), pictures(), **SETTINGS)
    assert record.data["task"] == "Classification"


def test_reconstruction_learns_and_its_score_is_minus_the_mean_squared_error():
    data = as_reconstruction(load("digits", train=200, validation=20, test=30))
    model = autoencoder()
    record = train(model, data, epochs=6, lr=1e-2, **QUIET)
    assert record.loss[-1] < 0.7 * record.loss[0]
    x = data.test.inputs.float() / 255
    with torch.inference_mode():
        error = (model(x) - x.flatten(1)).square().mean().item()
    assert record.test_score == pytest.approx(-error, rel=1e-5)
    pieces = train(autoencoder(), data, epochs=6, lr=1e-2, accumulate=3, **QUIET)
    assert pieces.loss == pytest.approx(record.loss, rel=1e-4)
    assert pieces.train_score == pytest.approx(record.train_score, rel=1e-4)


def test_reconstruction_is_of_the_prepared_input():
    model = ViT(ViTConfig(image_size=28, width=16, depth=1))
    ready = Reconstruction().prepare(pictures().train[:3], model, torch.device("cpu"))
    assert ready.inputs is ready.targets
    assert ready.inputs.shape == (3, 1, 28, 28)


def test_what_reconstruction_refuses():
    data = as_reconstruction(pictures())
    with pytest.raises(ValueError, match=r"gives \(2, 5\) for \(2, 1, 8, 8\); need as many numbers as went in"):
        train(nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), data, **QUIET)
    words = Split(torch.ones(4, 3, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))
    sentences = LabelledSet("words", words, words, words, ("a",), "", task=Reconstruction())
    with pytest.raises(ValueError, match=r"holds torch\.int64; only pictures"):
        train(autoencoder(), sentences, **QUIET)


def test_a_single_class_is_nothing_to_tell_apart():
    with pytest.raises(ValueError, match=r"data: pictures has the classes \('a',\), need two or more"):
        train(network(), pictures(classes=1), **QUIET)
    train(autoencoder(), as_reconstruction(pictures(classes=1)), max_steps=1, **QUIET)


def test_a_part_of_another_shape_is_refused_before_training(monkeypatch):
    monkeypatch.setattr(Run, "step", lambda *_: pytest.fail("it was trained"))
    data = dataclasses.replace(pictures(), validation=pictures(side=9).validation)
    with pytest.raises(ValueError, match=r"model: does not take .* of shape \(1, 9, 9\) each: .* the validation part"):
        train(nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), data, **QUIET)


def test_token_ids_are_never_divided():
    ids = torch.tensor([[3, 5, 0], [255, 1, 1]])
    on = torch.device("cpu")
    assert torch.equal(fit(ids, nn.Embedding(300, 2), on), ids)
    with pytest.raises(ValueError, match=r"inputs: got torch\.int64, the model takes uint8 pictures"):
        fit(ids, ViT(ViTConfig(width=16, depth=1)), on)
    with pytest.raises(ValueError, match=r"got torch\.float32, the model takes uint8 pictures or int64 token ids"):
        fit(ids.float(), nn.Embedding(300, 2), on)


def test_a_model_of_token_ids_learns():
    chance = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 20, (60, 5), generator=chance)
    part = Split(ids, (ids[:, 0] > 9).long())
    data = LabelledSet("words", part, part, part, ("low", "high"), "made up")

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(20, 8), nn.Linear(40, 2)

        def forward(self, ids):
            return self.head(self.embed(ids).flatten(1))

    record = train(Bag(), data, epochs=20, lr=3e-2, **QUIET)
    assert record.test_score > 0.9


def test_losses_are_repeatable_differentiable_and_of_the_training_part():
    data, model = pictures(), network()
    model.norm.eval()
    model.drop.train()
    modes = [module.training for module in model.modules()]
    blind = dataclasses.replace(data, validation=data.validation[:1], test=data.test[:1])
    losses, again = (data.task.losses(model, each, count=3, batch_size=20) for each in (data, blind))
    values = [loss().item() for loss in losses]
    assert values == [loss().item() for loss in losses] == [loss().item() for loss in again]
    assert len(set(values)) == 3
    assert modes == [module.training for module in model.modules()]
    other = data.task.losses(model, data, count=3, batch_size=20, seed=1)
    assert other[0]().item() != values[0]
    with torch.no_grad():
        value = losses[0]()
    value.backward()
    assert model.head.weight.grad is not None
    model.head = nn.Linear(16, 5)  # the model as it is then
    assert losses[0]().item() != values[0]


def test_losses_see_every_example_before_any_twice():
    data, seen = pictures(), []
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    model.register_forward_pre_hook(lambda module, inputs: seen.extend(x.numpy().tobytes() for x in inputs[0]))
    for loss in data.task.losses(model, data, count=5, batch_size=10):
        loss()
    assert len(set(seen)) == len(seen) == 50
    assert len(data.task.losses(model, data, count=2, batch_size=1000)) == 2


def test_losses_are_in_float32_inside_autocast():
    data, model = pictures(), network()
    (loss,) = data.task.losses(model, data, count=1)
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss().item()
    assert inside == loss().item()


@pytest.mark.parametrize("options", [{"count": 0}, {"batch_size": 0}, {"seed": 2**70}])
def test_losses_refuse_what_is_no_number_of_batches(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        pictures().task.losses(network(), pictures(), **options)


def test_evaluating_puts_every_mode_back():
    model = network().train()
    model.norm.eval()
    with contextlib.suppress(KeyError), evaluating(model):
        assert not model.drop.training
        raise KeyError
    assert (model.training, model.norm.training, model.drop.training) == (True, False, True)
    accuracy(model, pictures().test)
    assert (model.training, model.norm.training, model.drop.training) == (True, False, True)


@pytest.mark.parametrize(
    ("data", "kind", "call"),
    [
        ((torch.zeros(3, 1, 8, 8), torch.zeros(3)), "tuple", r"sl\.data\.from_arrays\(X, y\) makes one"),
        (torch.zeros(3, 1, 8, 8), "Tensor", r"sl\.data\.from_arrays\(X, y\) makes one"),
        (np.zeros((3, 8, 8)), "ndarray", r"sl\.data\.from_arrays\(X, y\) makes one"),
        (DataLoader(TensorDataset(torch.zeros(3, 1))), "DataLoader", r"sl\.data\.from_dataset\(loader\.dataset\)"),
        (TensorDataset(torch.zeros(3, 1)), "TensorDataset", r"sl\.data\.from_dataset\(dataset\) makes one"),
        ("mnist5k", "str", r"sl\.data\.load\(name\) gives that of a name, sl\.data\.from_folder\(path\)"),
        (None, "NoneType", r"what sl\.data\.load\(name\) returns"),
    ],
)
def test_everybodys_first_attempt_is_told_what_to_call(data, kind, call, own_errors):
    with pytest.raises(TypeError, match=rf"^data: got a {kind}, need a LabelledSet: {call}"):
        train(network(), data, **QUIET)
    with pytest.raises(TypeError, match="model: got a NoneType"):
        train(None, pictures(), **QUIET)


def test_numpy_arrays_are_told_apart_from_tensors(own_errors):
    images, labels = torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(TypeError, match=r"inputs: got a numpy\.ndarray, need a torch\.Tensor"):
        Split(images.numpy(), labels)
    with pytest.raises(TypeError, match=r"labels: got a builtins\.list, need a torch\.Tensor"):
        Split(images, [0, 0])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"lr": "a"}, TypeError), ({"lr": None}, TypeError), ({"lr": True}, TypeError), ({"lr": math.inf}, ValueError),
        ({"head_lr": "a"}, TypeError), ({"epochs": 1.5}, TypeError), ({"epochs": None}, TypeError),
        ({"epochs": -1}, ValueError), ({"batch_size": "a"}, TypeError), ({"accumulate": 2.0}, TypeError),
        ({"weight_decay": "a"}, TypeError), ({"weight_decay": math.nan}, ValueError), ({"warmup": "a"}, TypeError),
        ({"clip": "a"}, TypeError), ({"max_steps": 0.5}, TypeError), ({"evaluate_every": "a"}, TypeError),
        ({"seed": 10**23}, ValueError), ({"seed": 2**70}, ValueError), ({"seed": -(2**70)}, ValueError),
        ({"seed": 1.0}, TypeError), ({"augment": 3}, TypeError), ({"schedule": None}, ValueError),
        ({"precision": 3}, ValueError), ({"optimizer": "adam"}, TypeError),
    ],
)  # fmt: skip
def test_an_argument_of_the_wrong_kind_is_named(options, error, own_errors):
    ((name, value),) = options.items()
    with pytest.raises(error, match=rf"^{name}: got {re.escape(repr(value))}"):
        train(network(), pictures(), **(QUIET | options))
