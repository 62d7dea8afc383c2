"""Adapters on a base whose frozen weights are rounded to int8, beside the same on its float twin."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from keep import keep
from torch import Tensor, nn

import surm_lite as sl
from surm_lite.comparison.measure import tensor_bytes
from surm_lite.data import LabelledSet
from surm_lite.models import minilm, split_qkv, vit_s14

WHAT = (
    "Circulant and Toeplitz updates and LoRA of rank 1 on a frozen base in float32 and on the same with its linear "
    "layers in int8, a scale for each row: ViT-S/14 (6 blocks, 56 px; queries, keys and values) on 192 images of "
    "mnist5k, two epochs of batches of 16, and MiniLM (queries and values) on 240 movie snippets, one epoch of batches "
    "of 8. Accuracy on 400 test examples after training at one rate, with seeds, batches and start the same for both. "
    "Bytes of the frozen model; with the first seed, the most bytes of tensors at once in two steps of 16 examples, "
    "also for the plain layer, which keeps its float weight for the backward pass"
)
ARMS: dict[str, tuple[str, dict[str, Any], float]] = {
    "circulant": ("circulant", {}, 3e-3),
    "toeplitz": ("toeplitz", {}, 3e-3),
    "lora": ("lora", {"rank": 1}, 3e-3),
}


class Product(torch.autograd.Function):
    """x W^T for a frozen W in int8, which is made in float for this product and again for its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, integers: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(integers, scale)
        return x @ (integers * scale).mT

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        integers, scale = ctx.saved_tensors
        return g @ (integers * scale), None, None


class Kept(nn.Linear):
    """Rows of integers from -127 to 127 and a scale for each; autograd keeps the float weight of its product."""

    scale: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        scale = layer.weight.detach().abs().amax(1, keepdim=True) / 127
        self.weight = nn.Parameter((layer.weight.detach() / scale).round().to(torch.int8), requires_grad=False)
        self.bias = layer.bias
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias)


class Int8(Kept):
    """The same, and nothing is kept."""

    def forward(self, x: Tensor) -> Tensor:
        return Product.apply(x, self.weight, self.scale) + self.bias


BASES: dict[str, type[Kept] | None] = {"float": None, "int8": Int8, "kept": Kept}


def base(task: str, kind: str, seed: int, **small: int) -> nn.Module:
    """A frozen pretrained model with a fresh head, which stays float as all that is trained does."""
    model = split_qkv(vit_s14(seed=seed, **small)) if task == "vit" else minilm(seed=seed)
    layer = BASES[kind]
    for name, old in list(model.named_modules()):
        if layer is not None and type(old) is nn.Linear and name not in ("head", "classifier"):
            model.set_submodule(name, layer(old))
    return model


def adapted(task: str, kind: str, arm: str, seed: int, **small: int) -> nn.Module:
    method, options, _ = ARMS[arm]
    targets = ("query", "value") if task == "text" else None
    return sl.adapt(base(task, kind, seed, **small), method, targets, seed=seed, **options)


def examples(task: str, seed: int) -> LabelledSet:
    name, train = ("mnist5k", 192) if task == "vit" else ("movie_snippets", 240)
    return sl.data.load(name, train=train, validation=20, test=400, seed=seed)


def run(seed: int) -> dict[str, Any]:
    """task -> bytes of the frozen model and arm -> test accuracy, by base; with the first seed the peaks too."""
    found: dict[str, Any] = {}
    for task in ("vit", "text"):
        data = examples(task, seed)
        one: dict[str, Any] = {"bytes": {kind: size(base(task, kind, seed)) for kind in ("float", "int8")}, "test": {}}
        for arm in ARMS:
            one["test"][arm] = {kind: trained(task, kind, arm, seed, data) for kind in ("float", "int8")}
        if not seed:
            one["peak"] = {arm: {kind: peak(task, kind, arm, data) for kind in BASES} for arm in ARMS}
        found[task] = one
    return found


def trained(task: str, kind: str, arm: str, seed: int, data: LabelledSet) -> float:
    model = adapted(task, kind, arm, seed)
    epochs, batch = (2, 16) if task == "vit" else (1, 8)
    record = sl.train(
        model,
        data,
        epochs=epochs,
        batch_size=batch,
        lr=ARMS[arm][2],
        head_lr=3e-3,
        evaluate_every=epochs,
        seed=seed,
        device="cpu",
        progress=False,
    )
    return record.test_score


def size(model: nn.Module) -> int:
    """Bytes of all its weights and scales."""
    return sum(t.nbytes for t in (*model.parameters(), *model.buffers()))


def peak(task: str, kind: str, arm: str, data: LabelledSet, **small: int) -> int:
    model = adapted(task, kind, arm, 0, **small)
    return tensor_bytes(model, data, batch_size=16, lr=1e-3, seed=0, device="cpu", progress=False)


def part() -> dict[str, float]:
    """Two blocks at 28 px: peaks of one arm, and the loss of a circulant update after eight steps."""
    small, data, found = {"blocks": 2, "image_size": 28}, examples("vit", 0), {}
    for kind in BASES:
        found[f"{kind}, peak"] = peak("vit", kind, "circulant", data, **small)
        model = adapted("vit", kind, "circulant", 0, **small)
        record = sl.train(model, data, epochs=1, lr=3e-3, seed=0, max_steps=8, device="cpu", progress=False)
        found[f"{kind}, last loss"] = record.loss[-1]
    return found


if __name__ == "__main__":
    keep(__file__, WHAT, run, part)
