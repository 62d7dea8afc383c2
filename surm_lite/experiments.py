"""The fine-tuning experiment of chapter 21: one definition for the long committed run and for what the book runs live.

A pretrained ViT-S/14 (first 6 blocks, 56 px) learns a small image set. Every structured method adapts the query, key
and value layers of every block, 18 layers of 384 x 384, with 768 trained numbers a layer (Toeplitz: m + n - 1 = 767).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from surm_lite.adapters import adapt
from surm_lite.data import ImageSet
from surm_lite.models import ViT, split_qkv, vit_s14
from surm_lite.record import Record
from surm_lite.train import train

LAYERS = ("q_proj", "k_proj", "v_proj")
EPOCHS = 4


@dataclass(frozen=True)
class Arm:
    """One way of fine-tuning, and the learning rates to choose from.

    Args:
        label: for figures.
        lrs: candidates; the choice is made on the validation part.
        method: name of a method of `adapt`; None trains the whole network.
        options: of the method.
        pretrained: False starts from random weights.
        equal: whether the arm has the common budget of 768 numbers a layer.
        seeds: runs at the chosen learning rate.
    """

    label: str
    lrs: tuple[float, ...]
    method: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    pretrained: bool = True
    equal: bool = True
    seeds: tuple[int, ...] = (0, 1, 2)


ARMS: dict[str, Arm] = {
    "lora": Arm("LoRA r=1", (3e-4, 1e-3, 3e-3, 1e-2), "lora", {"rank": 1}),
    "circulant": Arm("block-circulant b=192", (3e-4, 1e-3, 3e-3, 1e-2), "circulant", {"block": 192}),
    "toeplitz": Arm("Toeplitz", (3e-4, 1e-3, 3e-3, 1e-2), "toeplitz"),
    "kronecker": Arm("Kronecker", (1e-3, 3e-3, 1e-2, 3e-2), "kronecker"),
    "ldr": Arm("LDR r=1", (3e-4, 1e-3, 3e-3, 1e-2), "ldr"),
    "full": Arm("full fine-tuning", (1e-5, 3e-5, 1e-4, 3e-4), equal=False),
    "scratch": Arm("same net from scratch", (3e-4,), pretrained=False, equal=False, seeds=(0,)),
    "symmetric_toeplitz": Arm("SURM: product of symmetric Toeplitz", (3e-4, 1e-3, 3e-3), "symmetric_toeplitz"),
}


def build_arm(name: str, *, seed: int = 0) -> ViT:
    """The model of one arm, ready for `train`."""
    arm = ARMS[name]
    model = split_qkv(vit_s14(seed=seed))
    if not arm.pretrained:
        model = split_qkv(ViT(model.config, generator=torch.Generator().manual_seed(seed)))
    if arm.method is None:
        return model
    adapted: nn.Module = adapt(model, arm.method, LAYERS, seed=seed, **arm.options)
    assert isinstance(adapted, ViT)
    return adapted


def run_arm(name: str, data: ImageSet, *, lr: float, seed: int = 0, **options: Any) -> Record:
    """Trains one arm with the protocol of chapter 21.

    Batches of 32, AdamW without decay, one cycle of the learning rate, head at 3e-3, validation looked at once, at the
    end.

    Args:
        name: a key of `ARMS`.
        data: the image set; its first training images decide the first steps, whatever the size of its other parts.
        lr: peak learning rate of everything but the head.
        seed: start weights of adapter and head, and the order of the images.
        options: further arguments of `train`, for example max_steps=10 for the first steps of the same run.

    Returns:
        Record: of the run.

    Raises:
        KeyError: no such arm.

    Cost:
        About a minute on one CPU core for 1000 images; about 4 s for ten steps.

    Example:
        >>> from surm_lite.data import load
        >>> few = load("mnist5k", validation=10, test=10)
        >>> len(run_arm("toeplitz", few, lr=1e-3, max_steps=2, progress=False).loss)  # doctest: +SKIP
        2

    Taught in:
        21_finetune_vit
    """
    settings: dict[str, Any] = {"epochs": EPOCHS, "head_lr": 3e-3, "device": "cpu", "evaluate_every": EPOCHS}
    return train(build_arm(name, seed=seed), data, lr=lr, seed=seed, **(settings | options))
