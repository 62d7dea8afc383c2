"""A few hundred numbers against LoRA after few and after many epochs: digits 0 to 4 are known, 5 to 9 come turned."""

from __future__ import annotations

import copy
from typing import Any

import torch
from keep import keep

import surm_lite as sl
from surm_lite.data import LabelledSet, Split, load
from surm_lite.models import ViT, ViTConfig, split_qkv

WHAT = "A small ViT that knows the digits 0 to 4 learns 5 to 9, turned, from 400 images: test accuracy by epochs."
BUDGETS = (1, 4, 16)
LAYERS = ("q_proj", "v_proj")
HEAD_RATE = 1e-2
ARMS: dict[str, tuple[str, dict[str, Any], tuple[float, ...]]] = {
    "head": ("head", {}, (1e-2, 3e-2, 1e-1)),
    "loldu": ("loldu", {}, (3e-2, 1e-1, 3e-1)),
    "uniform": ("loldu", {"start": "uniform"}, (3e-2, 1e-1, 3e-1)),
    "cdvft": ("cdvft", {}, (1e-2, 3e-2, 1e-1)),
    "lora_1": ("lora", {"rank": 1}, (3e-3, 1e-2, 3e-2)),
    "lora_8": ("lora", {"rank": 8}, (1e-2, 3e-2, 1e-1)),
}


def sets(seed: int) -> tuple[LabelledSet, LabelledSet]:
    """The digits below 5, and 400 (some 150 and 300 for validation and test) of the others, turned."""
    whole = load("digits", train=900, validation=297, test=600, seed=seed)
    low, high = [], []
    for part in (whole.train, whole.validation, whole.test):
        x, y, old = part.inputs, part.labels, part.labels < 5
        low.append(Split(x[old], y[old]))
        high.append(Split(torch.rot90(x[~old], 1, (2, 3)).contiguous(), y[~old] - 5))
    high[0] = high[0][:400]
    old, new = (LabelledSet("digits", *parts, classes=tuple("abcde"), credit=whole.credit) for parts in (low, high))
    return old, new


def pretrained(old: LabelledSet, seed: int, epochs: int = 30) -> ViT:
    config = ViTConfig(image_size=8, patch_size=2, width=64, depth=3, heads=4, num_classes=5)
    model = ViT(config, generator=torch.Generator().manual_seed(seed))
    sl.train(model, old, epochs=epochs, lr=1e-3, seed=seed, device="cpu", progress=False)
    return split_qkv(model)


def adapted(model: ViT, new: LabelledSet, seed: int, arm: str, rate: float, epochs: int) -> tuple[sl.Record, int]:
    method, options, _ = ARMS[arm]
    net = copy.deepcopy(model)
    net.reset_classifier(5, generator=torch.Generator().manual_seed(seed))
    sl.adapt(net, method, None if method == "head" else LAYERS, seed=seed, **options)
    record = sl.train(
        net,
        new,
        epochs=epochs,
        lr=rate,
        head_lr=rate if method == "head" else HEAD_RATE,
        evaluate_every=epochs,
        seed=seed,
        device="cpu",
        progress=False,
    )
    return record, sl.count(net).trained


def run(seed: int) -> dict[str, Any]:
    """arm -> epochs -> test accuracy at the rate that was best in validation; the rates, and the trained numbers."""
    old, new = sets(seed)
    model = pretrained(old, seed)
    test: dict[str, dict[str, float]] = {}
    rates: dict[str, dict[str, float]] = {}
    numbers: dict[str, int] = {}
    for arm, (_, _, tried) in ARMS.items():
        test[arm], rates[arm] = {}, {}
        for epochs in BUDGETS:
            found = {}
            for rate in tried:
                record, numbers[arm] = adapted(model, new, seed, arm, rate, epochs)
                found[rate] = (record.validation_score[epochs], record.test_score)
            best = max(found, key=lambda rate: found[rate][0])
            test[arm][str(epochs)], rates[arm][str(epochs)] = found[best][1], best
    return {"test": test, "rates": rates, "numbers": numbers}


def part() -> dict[str, float]:
    """Losses, since one image more or less of 300 says little."""
    old, new = sets(0)
    model = pretrained(old, 0, epochs=6)
    found = {}
    for arm in ("head", "loldu", "lora_1"):
        losses = adapted(model, new, 0, arm, 1e-2, 2)[0].loss
        found[f"{arm}, last losses"] = sum(losses[-8:]) / 8
    return found


if __name__ == "__main__":
    keep(__file__, WHAT, run, part, seeds=(0, 1, 2, 3))
