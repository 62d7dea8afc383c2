"""A small run in which everything that a checkpoint has to carry makes a difference, and processes to run it in."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from surm_lite.adapters import LoRA, adapt
from surm_lite.adapters.methods.registry import make_method
from surm_lite.data import LabelledSet, Split, flip_and_shift
from surm_lite.training.record import Record
from surm_lite.training.train import train

STEPS = 12  # two epochs of six
SETTINGS = {
    "epochs": 2, "lr": 3e-3, "head_lr": 1e-2, "batch_size": 9, "accumulate": 2, "weight_decay": 0.01, "seed": 3,
    "clip": 1.0, "augment": flip_and_shift, "device": "cpu", "progress": False,
}  # fmt: skip


def pictures(classes: int = 5, side: int = 8, train: int = 50) -> LabelledSet:
    chance = torch.Generator().manual_seed(0)

    def part(count: int) -> Split:
        images = torch.randint(0, 256, (count, 1, side, side), generator=chance, dtype=torch.uint8)
        return Split(images, torch.arange(count) % classes)

    return LabelledSet("pictures", part(train), part(20), part(20), tuple("abcdefghij"[:classes]), "made up")


class Counting(nn.Module):
    """State that is no tensor, and that the outputs depend on."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += self.training
        return x * (1 + 0.01 * self.calls)

    def get_extra_state(self):
        return {"calls": self.calls}

    def set_extra_state(self, state):
        self.calls = state["calls"]


@dataclasses.dataclass
class Drifting(LoRA):
    """LoRA with state of every kind: a running average, chance of its own, a mask on the layer."""

    name = "drifting"

    def __post_init__(self):
        super().__post_init__()
        self.average = 0.0
        self.chance = torch.Generator().manual_seed(7)
        self.steps = None  # where to report them

    def wrap(self, name, layer, generator):
        adapter = super().wrap(name, layer, generator)
        adapter.register_buffer("mask", torch.ones(layer.in_features))
        return adapter

    def before_step(self, state):
        if self.steps is not None:
            self.steps.send(state.step)

    def after_backward(self, state):
        for adapter in self.layers.values():
            adapter.A.grad *= adapter.mask
            adapter.A.grad += 1e-3 * self.average * torch.randn(adapter.A.shape, generator=self.chance)

    def after_step(self, state):
        for adapter in self.layers.values():
            adapter.mask[state.step % len(adapter.mask)] *= 0.5
            self.average = 0.9 * self.average + 0.1 * adapter.A.norm().item()

    def state_dict(self):
        return {"average": self.average, "chance": self.chance.get_state()}

    def load_state_dict(self, state):
        self.average = state["average"]
        self.chance.set_state(state["chance"])


def network(classes: int = 5, side: int = 8, seed: int = 0) -> nn.Module:
    """Adapted, with dropout and with the running averages of a batch norm."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = OrderedDict(
            flat=nn.Flatten(), hidden=nn.Linear(side * side, 16), norm=nn.BatchNorm1d(16), drop=nn.Dropout(0.2),
            head=nn.Linear(16, classes),
        )  # fmt: skip
        return adapt(nn.Sequential(layers), Drifting(rank=2), "hidden", keep=("head", "norm"), seed=seed)


def run_and_keep(out: Path, steps=None, **options) -> None:
    """Trains, then writes weights and record: what a process of its own is asked to do."""
    torch.set_num_threads(1)
    model = network()
    if steps is not None:
        (method,) = {id(m.method): m.method for m in model.modules() if hasattr(m, "method")}.values()
        method.steps = steps
    record = train(model, pictures(), **(SETTINGS | options))
    save_file(model.state_dict(), f"{out}.weights")
    record.to_json(f"{out}.json")


def outcome(out: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Weights and record of a run, without what is measured by a clock."""
    record = json.loads(Path(f"{out}.json").read_text())
    return load_file(f"{out}.weights"), record | {"seconds": 0.0, "peak_memory": None}


def same(one: tuple, two: tuple) -> bool:
    """The same bits and the same record."""
    return (
        one[1] == two[1] and one[0].keys() == two[0].keys() and all(torch.equal(one[0][k], two[0][k]) for k in one[0])
    )


def start(target, *arguments, **options) -> multiprocessing.Process:
    """A process of its own, from a server that has imported the library already."""
    context = multiprocessing.get_context("forkserver")
    # The optimiser imports torch._dynamo at its first step: seconds, unless the server has done it for all.
    context.set_forkserver_preload(["surm_lite.train", "torch._dynamo", "safetensors.torch"])
    process = context.Process(target=target, args=arguments, kwargs=options)
    process.start()
    return process


def pipe():
    return multiprocessing.get_context("forkserver").Pipe(duplex=False)


def still(record: Record) -> Record:
    return dataclasses.replace(record, seconds=0.0, peak_memory=None)


def compiled_and_keep(out: Path, method: str) -> None:
    """Trains a compiled model, and resumes its checkpoint on one that is not."""
    torch.set_num_threads(1)
    plain = small(method)
    options = {"epochs": 2, "batch_size": 25, "lr": 1e-2, "device": "cpu", "progress": False}
    model = torch.compile(plain, backend="aot_eager", fullgraph=True)
    train(model, pictures(), checkpoint=f"{out}.ckpt", **options)
    save_file(plain.state_dict(), f"{out}.weights")
    again = train(small(method), pictures(), checkpoint=f"{out}.ckpt", resume=True, **options)
    again.to_json(f"{out}.json")


def small(method: str, **options) -> nn.Module:
    """Adapted, without any chance."""
    chance = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1, generator=chance)
    made, data = make_method(method, options), pictures()
    losses = None if made.ready() else data.task.losses(model, data)
    return adapt(model, made, "1", keep="3", losses=losses)
