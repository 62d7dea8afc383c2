"""A 64 x 64 layer in a toy network, replaced by few numbers or updated by few numbers: which numbers do the job?

Five noisy arms in the plane, five classes; Linear(2, 64), tanh, the middle layer, tanh, Linear(64, 5). A *weight*
stands in place of the middle layer; an *update* is added to a frozen random one. Every arm runs at three rates and
three seeds. Two rates are chosen for it, by means over the seeds: the one of the best validation accuracy ("rate"), for
test accuracies, and the one of the lowest training loss ("fit_rate"), for losses, curves and maps. Full batch, Adam.

    python benchmarks/pinwheel.py            # table, and benchmarks/results/pinwheel.json
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from pathlib import Path
from statistics import mean

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import surm_lite as sl

RESULT = Path(__file__).parent / "results" / "pinwheel.json"
N, EPOCHS, EVERY = 64, 300, 10
SEEDS, RATES = (0, 1, 2), (3e-3, 1e-2, 3e-2)
EMBEDDINGS = ("frozen", "trained")
SIDE, REACH = 48, 2.0  # the map of decisions: SIDE x SIDE points of [-REACH, REACH]^2

WEIGHTS = {  # name -> family and budget
    "low_rank": (sl.LowRank, {"rank": 1}),
    "circulant": (sl.Circulant, {}),
    "toeplitz": (sl.Toeplitz, {}),
    "symmetric_toeplitz": (sl.SymmetricToeplitz, {}),
    "kronecker": (sl.Kronecker, {"a_shape": (8, 8)}),
    "ldr": (sl.LDR, {"rank": 1}),
}
UPDATES = {  # name -> method of sl.adapt and options
    "low_rank": ("lora", {"rank": 1, "alpha": 1.0}),
    "circulant": ("circulant", {}),
    "toeplitz": ("toeplitz", {}),
    "symmetric_toeplitz": ("symmetric_toeplitz", {}),
    "kronecker": ("kronecker", {"a_shape": (8, 8)}),
    "ldr": ("ldr", {"rank": 1}),
}
ARMS = [("weight", "full"), *(("weight", name) for name in WEIGHTS)]
ARMS += [("update", "frozen"), *(("update", name) for name in UPDATES)]


def pinwheel(points: int, seed: int, outliers: float = 0.06) -> tuple[Tensor, Tensor, Tensor]:
    """Points (p, 2), their arm 0..4, and which of them were thrown anywhere in the square instead."""
    rng = torch.Generator().manual_seed(seed)
    label = torch.randint(5, (points,), generator=rng)
    f = torch.randn(points, 2, generator=rng) * torch.tensor([0.3, 0.05]) + torch.tensor([1.0, 0.0])
    angle = 2 * math.pi * label / 5 + 0.25 * f[:, 0].exp()
    cos, sin = angle.cos(), angle.sin()
    x = torch.stack([f[:, 0] * cos - f[:, 1] * sin, f[:, 0] * sin + f[:, 1] * cos], dim=1)
    thrown = torch.rand(points, generator=rng) < outliers
    anywhere = REACH * (2 * torch.rand(points, 2, generator=rng) - 1)
    return torch.where(thrown[:, None], anywhere, x), label, thrown


TRAIN, VALIDATION = pinwheel(600, seed=100), pinwheel(400, seed=101)
TEST = pinwheel(2000, seed=102, outliers=0.0)  # the arms themselves


class Replaced(nn.Module):
    """A layer whose whole weight is one structured matrix."""

    def __init__(self, operator: sl.StructuredMatrix) -> None:
        super().__init__()
        self.operator = operator
        self.numbers = nn.ParameterList(operator.tensors)

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.with_tensors(*self.numbers).apply(x)


def network(kind: str, name: str, embedding: str, seed: int) -> nn.Sequential:
    """The network of one arm. The embedding and the head of a seed are the same in every arm."""
    rng = torch.Generator().manual_seed(seed)
    layers = {"embedding": nn.Linear(2, N), "bend": nn.Tanh(), "middle": nn.Linear(N, N, bias=False)}
    model = nn.Sequential(OrderedDict(layers | {"again": nn.Tanh(), "head": nn.Linear(N, 5)}))
    with torch.no_grad():
        for layer, sd in ((model.embedding, 1.0), (model.head, N**-0.5), (model.middle, N**-0.5)):
            layer.weight.normal_(0, sd, generator=rng)
            if layer.bias is not None:
                layer.bias.normal_(0, sd, generator=rng)
    if kind == "weight" and name != "full":
        family, budget = WEIGHTS[name]
        model.middle = Replaced(family.random(N, generator=rng, **budget))
    elif kind == "update" and name != "frozen":
        method, options = UPDATES[name]
        sl.adapt(model, method, "middle", keep=("embedding", "head"), seed=seed, **options)
    elif name == "frozen":
        model.middle.requires_grad_(False)
    model.embedding.requires_grad_(embedding == "trained")
    return model


def fit(model: nn.Sequential, rate: float, epochs: int = EPOCHS) -> list[float]:
    """Trains on TRAIN, full batch; the loss before every EVERY-th step and after the last."""
    x, label, _ = TRAIN
    optimizer = torch.optim.Adam(sl.trainable_parameters(model), lr=rate, fused=True)
    curve = []
    for epoch in range(epochs):
        loss = F.cross_entropy(model(x), label)
        if epoch % EVERY == 0:
            curve.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return [*curve, F.cross_entropy(model(x), label).item()]


@torch.no_grad()
def accuracy(model: nn.Sequential, part: tuple[Tensor, Tensor, Tensor]) -> float:
    """The share of the points that get the class of their arm."""
    return (model(part[0]).argmax(1) == part[1]).double().mean().item()


def numbers(model: nn.Sequential) -> int:
    """How many numbers of the middle layer are trained."""
    if isinstance(model.middle, Replaced):
        return model.middle.operator.n_params
    return sum(p.numel() for p in model.middle.parameters() if p.requires_grad)


@torch.no_grad()
def decisions(model: nn.Sequential) -> list[str]:
    """The class of every point of the map, a row of digits from the top down."""
    axis = torch.linspace(-REACH, REACH, SIDE)
    y, x = torch.meshgrid(axis.flip(0), axis, indexing="ij")
    classes = model(torch.stack([x, y], dim=-1)).argmax(-1)
    return ["".join(map(str, row)) for row in classes.tolist()]


def run(kind: str, name: str, embedding: str, rate: float, seed: int) -> dict:
    """One training run and everything that the table, the curves and the map need."""
    x, label, thrown = TRAIN
    model = network(kind, name, embedding, seed)
    curve = fit(model, rate)
    return {
        "rate": rate,
        "seed": seed,
        "loss": curve[-1],
        "train": accuracy(model, TRAIN),
        "thrown": accuracy(model, (x[thrown], label[thrown], thrown)),
        "validation": accuracy(model, VALIDATION),
        "test": accuracy(model, TEST),
        "curve": [round(loss, 4) for loss in curve],
        "map": decisions(model),
    }


def arm(kind: str, name: str, embedding: str) -> dict:
    """All runs of one arm and its two rates; curves, and the map of the first seed, at the rate of the lowest loss."""
    runs = [run(kind, name, embedding, rate, seed) for rate in RATES for seed in SEEDS]

    def average(key: str, rate: float) -> float:
        return mean(r[key] for r in runs if r["rate"] == rate)

    fit_rate = min(RATES, key=lambda rate: average("loss", rate))
    fitted = [r for r in runs if r["rate"] == fit_rate]
    return {
        "kind": kind,
        "name": name,
        "embedding": embedding,
        "numbers": numbers(network(kind, name, embedding, 0)),
        "rate": max(RATES, key=lambda rate: average("validation", rate)),
        "fit_rate": fit_rate,
        "curves": [r["curve"] for r in fitted],
        "map": fitted[0]["map"],
        "runs": [{key: value for key, value in r.items() if key not in ("curve", "map")} for r in runs],
    }


def main() -> None:
    torch.set_num_threads(1)
    arms = []
    for embedding in EMBEDDINGS:
        for kind, name in ARMS:
            done = arm(kind, name, embedding)
            arms.append(done)
            loss = mean(r["loss"] for r in done["runs"] if r["rate"] == done["fit_rate"])
            test = mean(r["test"] for r in done["runs"] if r["rate"] == done["rate"])
            print(
                f"{embedding:8} {kind:7} {name:19} {done['numbers']:5}: loss {loss:.3f} at {done['fit_rate']:g}, "
                f"test {test:.3f} at {done['rate']:g}",
                flush=True,
            )
    settings = {"n": N, "epochs": EPOCHS, "every": EVERY, "seeds": SEEDS, "rates": RATES, "torch": torch.__version__}
    RESULT.write_text(json.dumps({"settings": settings, "arms": arms}, indent=1) + "\n")


if __name__ == "__main__":
    main()
