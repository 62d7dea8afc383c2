"""Any optimiser: its groups, its decay, and a run that was stopped and gone on with."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import torch
from resumable import SETTINGS, network, pictures, still
from torch import nn

from surm_lite.adapters import METHODS, LoRA, adapt, adapters_of, methods_of
from surm_lite.models import ViT, ViTConfig
from surm_lite.training.optimizer import build_optimizer
from surm_lite.training.train import train

RATES = {"lr": 1e-3, "head_lr": 2e-3, "weight_decay": 0.1}
OPTIMISERS = {
    "sgd": partial(torch.optim.SGD, momentum=0.9), "plain": torch.optim.SGD, "rmsprop": torch.optim.RMSprop,
    "rprop": torch.optim.Rprop, "adagrad": torch.optim.Adagrad, "adafactor": torch.optim.Adafactor,
    "nadam": torch.optim.NAdam, "radam": torch.optim.RAdam,
}  # fmt: skip


def stopped_and_resumed(build, file, stop: int, **options) -> tuple:
    """A run that stops before a step, and the one that goes on from it: weights and record."""
    calls = iter(range(1000))

    def augment(inputs, chance):
        if next(calls) == stop:
            raise KeyboardInterrupt
        return SETTINGS["augment"](inputs, chance)

    augment.__name__ = SETTINGS["augment"].__name__
    file.unlink(missing_ok=True)
    settings = SETTINGS | {"checkpoint": file, "checkpoint_every": 1} | options
    with pytest.raises(KeyboardInterrupt):
        train(build(), pictures(), **(settings | {"augment": augment}))
    model = build()
    record = train(model, pictures(), **settings, resume=True)
    return model.state_dict(), still(record)


def undisturbed(build, **options) -> tuple:
    model = build()
    record = train(model, pictures(), **(SETTINGS | options))
    return model.state_dict(), still(record)


def assert_same(one: tuple, two: tuple) -> None:
    assert one[1] == two[1]
    assert one[0].keys() == two[0].keys()
    for name, tensor in one[0].items():
        assert torch.equal(tensor, two[0][name]), name


@pytest.mark.parametrize("name", OPTIMISERS)
def test_any_optimiser_resumes_bit_for_bit(name, tmp_path):
    options = {"optimizer": OPTIMISERS[name], "weight_decay": 0.0}
    assert_same(stopped_and_resumed(network, tmp_path / "x", 8, **options), undisturbed(network, **options))


def test_another_optimiser_is_another_run(tmp_path):
    options = SETTINGS | {"checkpoint": tmp_path / "x"}
    sgd = OPTIMISERS["sgd"]
    record = train(network(), pictures(), optimizer=sgd, **options)
    assert record.options["optimizer"]["name"] == "SGD"
    with pytest.raises(ValueError, match=r"options\.optimizer\.momentum is 0\.9 in the checkpoint and 0\.5 now"):
        train(network(), pictures(), optimizer=partial(torch.optim.SGD, momentum=0.5), resume=True, **options)
    with pytest.raises(ValueError, match=r"options\.optimizer\.name is 'SGD' in the checkpoint and 'AdamW' now"):
        train(network(), pictures(), resume=True, **options)


@pytest.mark.parametrize(
    ("optimizer", "error", "words"),
    [
        (lambda groups: None, TypeError, "optimizer: got a NoneType from"),
        (torch.optim.LBFGS, ValueError, "optimizer: LBFGS needs a closure"),
        (lambda groups: torch.optim.SGD([nn.Parameter(torch.ones(1))]), ValueError, "of other parameters"),
        (partial(torch.optim.SGD, momentum=-1), ValueError, "cannot be made of parameter groups"),
        (torch.optim.Rprop, ValueError, r"weight_decay: got 0\.01, but Rprop has none"),
    ],
)
def test_what_is_no_optimiser_is_refused(optimizer, error, words):
    with pytest.raises(error, match=words):
        train(network(), pictures(), **(SETTINGS | {"optimizer": optimizer}))


@pytest.mark.parametrize("name", sorted(name for name, method in METHODS.items() if method.wraps))
def test_all_tensors_of_an_adapter_decay_and_biases_and_norms_never_do(name):
    model, data = ViT(ViTConfig(image_size=8, patch_size=4, width=16, depth=1, heads=2, num_classes=5)), pictures()
    adapt(model, name, "attn.proj", keep=("head", "norm"), losses=data.task.losses(model, data, count=1))
    optimizer = build_optimizer(model, methods_of(model), **RATES)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    (adapter,) = adapters_of(model).values()
    assert {decay[id(p)] for p in adapter.own().values() if p.requires_grad} == {0.1}
    assert decay[id(model.head.weight)] == 0.1
    assert {decay[id(p)] for p in (model.head.bias, model.norm.weight, model.norm.bias)} == {0.0}


def test_a_norm_over_two_dimensions_does_not_decay_and_the_default_is_none():
    model = nn.Sequential(nn.LayerNorm((4, 4)), nn.Flatten(), nn.Linear(16, 2))
    optimizer = build_optimizer(model, [], **RATES)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay[id(model[0].weight)] == 0.0
    assert decay[id(model[2].weight)] == 0.1
    none = build_optimizer(model, [], **(RATES | {"weight_decay": 0.0}))
    assert {group["weight_decay"] for group in none.param_groups} == {0.0}
    own = build_optimizer(
        model, [], **(RATES | {"weight_decay": 0.0}), factory=partial(torch.optim.AdamW, weight_decay=0.3)
    )
    assert {group["weight_decay"] for group in own.param_groups} == {
        0.0,
        0.3,
    }  # that of the factory, where there is any


@pytest.mark.parametrize("head", ["head", "classifier", "score"])
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("adapted", [False, True])
def test_the_head_has_its_rate_whatever_it_is_called(head, wrapped, adapted):
    inner = nn.ModuleDict({"query": nn.Linear(8, 8), head: nn.Linear(8, 3)})
    if adapted:
        adapt(inner, "lora")
    model = nn.ModuleDict({"model": inner}) if wrapped else inner
    optimizer = build_optimizer(model, methods_of(model), **RATES)
    rates = {id(p): group["peak_lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates[id(inner[head].weight)] == rates[id(inner[head].bias)] == 2e-3
    assert {rate for key, rate in rates.items() if key not in map(id, inner[head].parameters())} == {1e-3}


def test_the_head_is_what_adapt_keeps():
    model = adapt(nn.ModuleDict({"query": nn.Linear(8, 8), "out": nn.Linear(8, 3)}), "lora", keep="out")
    optimizer = build_optimizer(model, methods_of(model), **RATES)
    rates = {id(p): group["peak_lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates[id(model["out"].weight)] == 2e-3


@dataclasses.dataclass
class Own(LoRA):
    """Moves its tensors by itself."""

    name = "own"
    steps_itself = True

    def after_backward(self, state):
        self.gradients = {p: p.grad for a in self.layers.values() for p in a.own().values()}
        for p in self.gradients:
            p.grad = None

    def after_step(self, state):
        with torch.no_grad():
            for p, gradient in self.gradients.items():
                p -= state.lr * gradient


def test_a_method_that_steps_by_itself_refuses_clip_and_decay():
    def build():
        return adapt(nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 5)), Own(rank=2), "1", keep="2")

    quiet = {"progress": False, "device": "cpu"}
    with pytest.raises(ValueError, match=r"clip: got 1\.0, but method 'own' steps by itself"):
        train(build(), pictures(), clip=1.0, **quiet)
    with pytest.raises(ValueError, match=r"weight_decay: got 0\.1, but method 'own' steps by itself"):
        train(build(), pictures(), weight_decay=0.1, **quiet)
    model = build()
    before = model[1].B.clone()
    train(model, pictures(), **quiet)
    assert not torch.equal(model[1].B, before)


def test_state_lr_is_the_common_rate():
    seen = []

    @dataclasses.dataclass
    class Plus(LoRA):
        name = "plus"

        def param_groups(self, model):
            return [{"params": [a.B for a in self.layers.values()], "lr_scale": 16.0}]

        def after_step(self, state):
            seen.append((state.lr, state.optimizer.param_groups[0]["lr"]))

    model = adapt(nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), Plus(rank=1), "1", keep=())
    train(model, pictures(), lr=1e-3, epochs=1, schedule="constant", progress=False, device="cpu")
    assert seen[0] == pytest.approx((1e-3, 1.6e-2))
