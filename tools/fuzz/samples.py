"""Small models and data sets, and what is wrong almost everywhere."""

from __future__ import annotations

from collections import OrderedDict
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import matrices
import numpy as np
import torch
from engine import Draw
from matrices import always
from torch import Tensor, nn

import surm_lite as sl
from surm_lite.comparison import Arm, Comparison, Plan
from surm_lite.data import LabelledSet, Split
from surm_lite.models import ViT, ViTConfig

X = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def net(random: Random | None = None) -> nn.Module:
    """Pictures of 4 x 4 pixels -> three classes; always the same numbers."""
    chance = torch.Generator().manual_seed(0)
    layers = OrderedDict(flat=nn.Flatten(), hidden=nn.Linear(16, 8), act=nn.GELU(), head=nn.Linear(8, 3))
    model = nn.Sequential(layers)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=chance)
    return model


def vit(random: Random | None = None) -> ViT:
    config = ViTConfig(image_size=4, patch_size=2, width=8, depth=1, heads=2, num_classes=3)
    return ViT(config, generator=torch.Generator().manual_seed(0))


def adapted(random: Random) -> nn.Module:
    """Adapted by some method that needs no data, and moved away from where it starts."""
    name = random.choice(["lora", "circulant", "toeplitz", "kronecker", "ldr", "dora", "bottleneck"])
    model = sl.adapt(net(), name, targets="hidden")
    with torch.no_grad():
        for parameter in sl.trainable_parameters(model):
            parameter.add_(0.1)
    return model


def part(random: Random, count: int = 12) -> Split:
    chance = torch.Generator().manual_seed(count)
    return Split(torch.randint(0, 256, (count, 1, 4, 4), generator=chance, dtype=torch.uint8), torch.arange(count) % 3)


def pictures(random: Random) -> LabelledSet:
    return LabelledSet("pictures", part(random), part(random, 6), part(random, 9), ("a", "b", "c"), "made up")


def shapes(random: Random) -> str:
    """A folder of twelve pictures of three classes."""
    from PIL import Image

    for name in "abc":
        if not (folder := Path("shapes") / name).exists():
            folder.mkdir(parents=True)
            for k in range(4):
                Image.new("RGB", (5 + k, 4), (40 * k, 80, ord(name))).save(folder / f"{k}.png")
    return "shapes"


def table(random: Random) -> str:
    """A CSV file of twelve sentences of three classes."""
    Path("table.csv").write_text("text,label\n" + "".join(f"no. {k},{'abc'[k % 3]}\n" for k in range(12)))
    return "table.csv"


def ids(sentences: list[str]) -> Tensor:
    return torch.tensor([[len(one), 1] for one in sentences])


def saved(random: Random) -> str:
    """A file of `adapted`; the methods differ, as the calls do."""
    path = f"{random.randrange(3)}.safetensors"
    if not Path(path).exists():
        sl.save_adapter(adapted(random), path)
    return path


def record(random: Random) -> sl.Record:
    return sl.Record({"name": "d"}, [], {"seed": 0}, "cpu", loss=[1.0], validation_score={1: 0.5}, test_score=0.5)


PLAN = Plan("digits", {"h": Arm("h", (1e-2,), "head", seeds=(0,))}, model="tiny_vit", examples=(20,), epochs=1)


def comparison(random: Random) -> Comparison:
    about = {"arm": "h", "label": "h", "equal": True, "diverged": None, "method": "head", "options": {}}
    rates = {"lr": 0.1, "seed": 0, "validation": 0.5, "test": 0.5, "trained": 3, "kept": 3, "seconds": 1.0}
    run = about | rates | {"peak_memory": None, "loss": [1.0], "examples": 20, "chosen": True}
    return Comparison({"data": "digits"}, [run], [])


values: tuple[Any, ...] = (
    "",
    "qkv",
    "hidden",
    "*",
    "[",
    "a\0b",
    "lora",
    "/nowhere/at/all",
    ".",
    Path("."),
    b"b",
    -(2**63),
)
values += (0.5, -1.0, 1e300, Fraction(1, 3), np.float32(0.5), 2**31, ("hidden", 3), [], ["x"], {"a": 1}, {"rank": 2})
values += (nn.Linear, nn.ReLU(), sl.Task, torch.device("cpu"), "cuda:7", "mps", "auto", range(3), print, lambda: None)
BAD: tuple[Draw, ...] = (
    *matrices.BAD,
    *(always(value) for value in values),
    *(net, vit, adapted, part, pictures, saved, record, comparison),
    lambda r: nn.Sequential(),
    lambda r: net().to("meta"),
    lambda r: net().half(),
    lambda r: sl.merge(sl.adapt(net(), "lora", targets="hidden")),
    lambda r: (part(r).inputs, part(r).labels),
    lambda r: torch.zeros(3, 1, 4, 4),
    lambda r: torch.zeros(3, 1, 4, 4, dtype=torch.uint8),
    lambda r: torch.zeros(0, 1, 4, 4, dtype=torch.uint8),
    lambda r: torch.zeros(3, 2, 0, 4, dtype=torch.uint8),
    lambda r: torch.zeros(3, dtype=torch.int64),
    lambda r: torch.full((12,), -1),
    lambda r: torch.full((12,), 7),
    lambda r: torch.Generator().manual_seed(0),
)
"""What is wrong almost everywhere."""


def close(got: Tensor, want: Tensor, what: str = "outputs") -> str | None:
    """What is wrong with outputs in float32."""
    if got.shape != want.shape:
        return f"{what}: shape {tuple(got.shape)}, not {tuple(want.shape)}"
    error, size = float((got - want).abs().max()), float(want.abs().max())
    return None if error <= 1e-4 * size + 1e-6 else f"{what} are off by {error:.1e} where numbers are {size:.1e}"
