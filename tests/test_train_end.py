"""What a run does between its epochs and at its end: swapped layers, `finish`, penalties, and state of every kind."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict

import pytest
import torch
from resumable import SETTINGS, Counting, network, pictures, small
from test_optimizer import assert_same, stopped_and_resumed, undisturbed
from torch import nn

from surm_lite.adapters import LoRA, adapt, methods_of
from surm_lite.data import Split
from surm_lite.data.labelled import LabelledSet
from surm_lite.evaluate import accuracy, knn_accuracy, linear_probe
from surm_lite.models import ViT, ViTConfig, resize_positions, split_qkv
from surm_lite.training import checkpoint as files
from surm_lite.training.optimizer import build_optimizer
from surm_lite.training.processes import Processes
from surm_lite.training.record import Record
from surm_lite.training.run import Run, State
from surm_lite.training.settings import Settings
from surm_lite.training.train import train

QUIET = {"progress": False, "device": "cpu"}


@dataclasses.dataclass
class Growing(LoRA):
    """LoRA whose rank is doubled after the first epoch, by new tensors in the layer."""

    name = "growing"

    def __post_init__(self):
        super().__post_init__()
        self.grown = False

    def grow(self):
        self.grown = True
        for a in self.layers.values():
            a.A = nn.Parameter(torch.cat([a.A.detach(), 0.1 * torch.ones_like(a.A)], dim=0))
            a.B = nn.Parameter(torch.cat([a.B.detach(), torch.zeros_like(a.B)], dim=1))

    def after_epoch(self, state):
        if self.grown:
            return False
        self.grow()
        return True

    def state_dict(self):
        return {"grown": self.grown}

    def load_state_dict(self, state):
        if state["grown"]:
            self.grow()


def growing() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = OrderedDict(flat=nn.Flatten(), hidden=nn.Linear(64, 16), act=nn.GELU(), head=nn.Linear(16, 5))
        return adapt(nn.Sequential(layers), Growing(rank=2), "hidden", keep="head")


@pytest.mark.parametrize("stop", [4, 8])
def test_a_run_resumes_on_both_sides_of_a_change_of_layers(stop, tmp_path):
    whole = undisturbed(growing)
    assert whole[0]["hidden.A"].shape[0] == 4
    assert whole[1].parameters["trained"] > Record.from_json(whole[1].to_json()).parameters["kept"] + 2 * 80
    assert_same(stopped_and_resumed(growing, tmp_path / "x", stop), whole)


@dataclasses.dataclass
class Emptied(LoRA):
    """Its end is visible in every number: the head says the last class, and a tensor goes."""

    name = "emptied"

    def finish(self, model):
        with torch.no_grad():
            model.head.weight.zero_()
            model.head.bias.copy_(torch.arange(5.0))
        for adapter in self.layers.values():
            adapter.A.requires_grad_(False)


def emptied() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = OrderedDict(flat=nn.Flatten(), hidden=nn.Linear(64, 16), head=nn.Linear(16, 5))
        return adapt(nn.Sequential(layers), Emptied(rank=2), "hidden", keep="head")


def test_finish_comes_before_the_last_look_and_the_counts_and_after_the_last_checkpoint(tmp_path):
    model, data, file = emptied(), pictures(), tmp_path / "x"
    record = train(model, data, epochs=2, lr=1e-2, checkpoint=file, **QUIET)
    share = (data.validation.labels == 4).float().mean().item()
    assert record.validation_score[2] == record.test_score == pytest.approx(share) == accuracy(model, data.test)
    assert sorted(record.validation_score) == [1, 2]
    assert record.parameters["trained"] == 16 * 2 + 16 * 5 + 5  # B and the head
    header, tensors = files.read(file)
    assert tensors["model/head.weight"].abs().max() > 0  # from before
    assert list(header["record"]["validation_score"]) == ["1"]
    again = emptied()
    resumed = train(again, data, epochs=2, lr=1e-2, checkpoint=file, resume=True, **QUIET)
    assert_same((again.state_dict(), dataclasses.replace(resumed, seconds=0.0, peak_memory=None)),
                (model.state_dict(), dataclasses.replace(record, seconds=0.0, peak_memory=None)))  # fmt: skip


def test_a_run_without_penalties_records_none():
    assert train(small("lora"), pictures(), epochs=1, **QUIET).penalty == []


@pytest.mark.parametrize("size", [1, 2])
def test_a_penalty_belongs_to_the_step_whatever_the_number_of_processes(size, monkeypatch):
    """Each of two processes adds half of it; here both halves are the same process's."""
    monkeypatch.setattr(Processes, "sum_gradients", lambda self, parameters: None)
    monkeypatch.setattr(Processes, "total", lambda self, values: values)

    class Pulled(LoRA):
        name = "pulled"

        def penalty(self, state):
            return sum(a.A.sum() for a in self.layers.values())

        def after_backward(self, state):
            (a,) = self.layers.values()
            self.seen = a.A.grad.clone()

    model = adapt(nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), Pulled(rank=1), "1", keep=())
    whole = {name: None for name in Settings.__dataclass_fields__}
    settings = Settings(**whole | {
        "epochs": 1, "lr": 1e-3, "batch_size": 8, "accumulate": 3, "weight_decay": 0.0, "schedule": "constant",
        "seed": 0, "precision": "float32",
    })  # fmt: skip
    optimizer = build_optimizer(model, methods_of(model), lr=1e-3, head_lr=1e-3, weight_decay=0.0)
    group, data = Processes(torch.device("cpu"), 0, size), pictures()
    run = Run(State(model, optimizer, 4), methods_of(model), Record({}, [], {}, "cpu"), group, data.task)
    run.step(data.train[:8], settings)
    (method,) = methods_of(model)
    torch.testing.assert_close(method.seen, torch.full_like(method.seen, 1 / size))  # B = 0: the loss adds nothing


def test_running_averages_of_norms_are_those_of_the_first_process(monkeypatch):
    given = []
    monkeypatch.setattr(Processes, "copy_from_first", lambda self, tensors: given.append([id(t) for t in tensors]))
    model = network()
    train(model, pictures(), **SETTINGS)
    assert [id(model.norm.running_mean) in tensors for tensors in given[1:-1]] == [True] * SETTINGS["epochs"]


def test_the_order_differs_from_epoch_to_epoch():
    seen = []

    def note(inputs, chance):
        seen.extend(x.numpy().tobytes() for x in inputs)
        return inputs

    train(small("lora"), pictures(), epochs=3, augment=note, **QUIET)
    epochs = [seen[k : k + 50] for k in (0, 50, 100)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def counting() -> nn.Module:
    model = small("lora")
    model.append(Counting())
    return model


def test_extra_state_of_a_module_is_restored(tmp_path):
    weights, record = undisturbed(counting)
    again, resumed = stopped_and_resumed(counting, tmp_path / "x", 8)
    assert resumed == record
    extra = {key for key in weights if key.endswith("_extra_state")}
    assert {key: weights[key] for key in extra} == {key: again[key] for key in extra} != {}


def test_a_last_batch_of_one_is_refused_before_it_meets_a_batch_norm():
    model, data = network(), pictures(train=50)
    options = SETTINGS | {"batch_size": 7, "accumulate": 1}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"batch_size: 50 training examples leave a batch.*batch norm \(norm\) needs two"
    ):
        train(model, data, **options)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(ValueError, match="piece of one"):
        train(model, data, **(options | {"batch_size": 10, "accumulate": 6}))
    train(model, data, **(options | {"max_steps": 7}))  # the batch of one never comes
    maps = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 5))
    train(maps, data, **(options | {"epochs": 1}))  # many pixels a channel: one picture is enough


class Echo(nn.Module):
    """Features are the pixels."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def features(self, x):
        return x.flatten(1)


def disagreeing(test_follows: int) -> LabelledSet:
    """Near neighbours say one thing, a vote of twenty another; validation follows the one, test the other."""
    chance = torch.Generator().manual_seed(0)
    centre = torch.randint(60, 190, (1, 1, 4, 4), generator=chance, dtype=torch.uint8)
    near = centre.repeat(4, 1, 1, 1)
    far = centre.repeat(36, 1, 1, 1).float() + torch.randint(-40, 40, (36, 1, 4, 4), generator=chance)
    train_part = Split(torch.cat([near, far.to(torch.uint8)]), torch.tensor([0] * 4 + [1] * 36))
    query = centre.repeat(10, 1, 1, 1)
    ones = torch.ones(10, dtype=torch.int64)
    return LabelledSet("made", train_part, Split(query, 0 * ones), Split(query, test_follows * ones), ("a", "b"), "")


def test_k_is_chosen_on_validation_and_too_large_ones_are_left_out():
    assert knn_accuracy(Echo(), disagreeing(1), neighbours=(1, 20)) == (0.0, 1)
    assert knn_accuracy(Echo(), disagreeing(0), neighbours=(20, 1, 500)) == (1.0, 1)
    with pytest.raises(ValueError, match=r"neighbours: got \(500,\), need a number from 1 to the 40 of train"):
        knn_accuracy(Echo(), disagreeing(0), neighbours=(500,))


def test_the_decay_of_the_linear_probe_is_chosen_on_validation():
    shade = torch.tensor([200] * 4 + [50] * 36, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    noise = torch.randint(0, 20, (40, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    part = Split(shade + noise, torch.tensor([0] * 4 + [1] * 36))
    rare = part[:4]
    data = LabelledSet("made", part, rare, Split(rare.inputs, rare.labels + 1), ("a", "b"), "")
    decays = (1e-6, 1e3)  # all weight on the bias: the majority, which is what test says and validation does not
    score, decay, _ = linear_probe(Echo(), data, decays=decays)
    swapped = dataclasses.replace(data, validation=data.test, test=data.validation)
    other, chosen, _ = linear_probe(Echo(), swapped, decays=(1e3, 1e-6))
    assert (decay, score) == (1e-6, 0.0)
    assert (chosen, other) == (1e3, 0.0)
    assert linear_probe(Echo(), data, decays=(0.0, 1e3))[1] == 0.0  # no decay at all is one to choose


def test_split_layers_keep_order_values_and_what_is_trained():
    model = ViT(ViTConfig(width=8, depth=1, heads=2), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.blocks[0].attn.qkv.bias.copy_(torch.arange(24.0))
    weight = model.blocks[0].attn.qkv.weight.detach().clone()
    parts = split_qkv(model).blocks[0].attn.qkv
    for k, name in enumerate(("q_proj", "k_proj", "v_proj")):
        part = parts.get_submodule(name)
        assert torch.equal(part.weight, weight[8 * k : 8 * k + 8])
        assert part.bias.tolist() == list(range(8 * k, 8 * k + 8))
        assert (part.weight.requires_grad, part.bias.requires_grad) == (True, True)


def test_positions_are_interpolated_in_their_own_place():
    ramp = torch.arange(4.0)
    grid = torch.stack([ramp[:, None].expand(4, 4), ramp.expand(4, 4)], dim=-1).reshape(1, 16, 2)
    positions = torch.cat([torch.full((1, 1, 2), 9.0), grid], dim=1)
    larger = resize_positions(positions, 8)[0, 1:].reshape(8, 8, 2)
    middle = larger[2:6, 2:6]
    assert torch.allclose(middle[..., 0], ((torch.arange(2.0, 6.0) + 0.5) / 2 - 0.5)[:, None].expand(4, 4), atol=0.1)
    assert torch.allclose(larger[..., 0], larger[..., 1].mT)


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_pooling_takes_what_it_says(pool):
    model = ViT(ViTConfig(width=8, depth=1, heads=2, pool=pool), generator=torch.Generator().manual_seed(0))
    images = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    z = model.tokens(images)
    wanted = z[:, 0] if pool == "token" else torch.stack([z[:, k] for k in range(1, z.shape[1])]).mean(0)
    torch.testing.assert_close(model.features(images), wanted)
    assert not torch.allclose(z[:, 0], z[:, 1:].mean(1), atol=1e-3)
