"""The loss before any step, and after training, where the gradient chose how LoRA starts and how its rank is shared."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from keep import keep
from loldu import pretrained, sets

import surm_lite as sl
from surm_lite.adapters.attached import methods_of
from surm_lite.data import LabelledSet, Split, prepare
from surm_lite.models import ViT

WHAT = "A small ViT that knows the digits 0 to 4 is asked for 5 to 9, turned: its loss before the first step."
EPOCHS = 10
LAYERS = ("q_proj", "k_proj", "v_proj", "proj", "fc1", "fc2")
ARMS: dict[str, tuple[str, dict[str, Any], tuple[float, ...]]] = {
    "lora": ("lora", {"rank": 8, "alpha": 16.0}, (1e-3, 3e-3, 1e-2)),
    "gora": ("gora", {"rank": 8}, (1e-4, 3e-4, 1e-3)),
    "gora_flipped": ("gora", {"rank": 8, "gamma": -0.05}, (1e-4, 3e-4, 1e-3)),
    "gora_zero": ("gora", {"rank": 8, "gamma": 0.0}, (1e-4, 3e-4, 1e-3)),
    "lora_ga": ("lora", {"rank": 8, "alpha": 16.0, "init": "lora_ga"}, (3e-4, 1e-3, 3e-3)),
}
GAMMAS = (-0.1, -0.05, -0.02, 0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def started(model: ViT, new: LabelledSet, seed: int, method: str, options: dict[str, Any]) -> ViT:
    net = copy.deepcopy(model)
    sl.adapt(net, method, LAYERS, seed=seed, losses=new.task.losses(net, new, count=8, seed=seed), **options)
    return net


def loss(net: ViT, part: Split) -> float:
    with torch.no_grad():
        return float(F.cross_entropy(net.eval()(prepare(part.inputs, net.image_format)), part.labels))


def run(seed: int) -> dict[str, Any]:
    """Before the first step: loss on the test images, by arm and by gamma; ranks. After ten epochs: test accuracy."""
    old, new = sets(seed)
    model = pretrained(old, seed)
    first, test, rates, numbers, ranks = {}, {}, {}, {}, {}
    for arm, (method, options, tried) in ARMS.items():
        net = started(model, new, seed, method, options)
        first[arm], numbers[arm] = loss(net, new.test), sl.count(net).trained
        if arm == "gora":
            ranks = methods_of(net)[0].ranks
        found = {}
        for rate in tried:
            net = started(model, new, seed, method, options)
            record = sl.train(
                net,
                new,
                epochs=EPOCHS,
                lr=rate,
                head_lr=3e-3,
                evaluate_every=EPOCHS,
                seed=seed,
                device="cpu",
                progress=False,
            )
            found[rate] = (record.validation_score[EPOCHS], record.test_score)
        rates[arm] = max(found, key=lambda rate: found[rate][0])
        test[arm] = found[rates[arm]][1]
    by_gamma = {
        str(gamma): loss(started(model, new, seed, "gora", {"rank": 8, "gamma": gamma}), new.test) for gamma in GAMMAS
    }
    return {"first": first, "by_gamma": by_gamma, "ranks": ranks, "test": test, "rates": rates, "numbers": numbers}


def part() -> dict[str, float]:
    old, new = sets(0)
    model = pretrained(old, 0, epochs=6)
    return {arm: loss(started(model, new, 0, *ARMS[arm][:2]), new.test) for arm in ("lora", "gora", "gora_flipped")}


if __name__ == "__main__":
    keep(__file__, WHAT, run, part, seeds=(0, 1, 2, 3))
