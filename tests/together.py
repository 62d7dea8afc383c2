"""What several processes do together in test_distributed.py: `torchrun together.py FOLDER` writes it there."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from resumable import SETTINGS, Drifting, network, pictures, small
from safetensors.torch import save_file
from torch import nn

from surm_lite.adapters import adapt
from surm_lite.data import flip_and_shift
from surm_lite.training.train import train

COMMON = {
    "epochs": 2, "lr": 1e-2, "batch_size": 7, "device": "cpu", "clip": 1.0, "augment": flip_and_shift,
    "progress": False,
}  # fmt: skip
PICTURES = 50  # seven batches of 7 and one with a single picture: one process has nothing of it


RESUMED = SETTINGS | {"batch_size": 10}


class Penalised(Drifting):
    """Chance, state, a mask, and a penalty: all must be those of one run."""

    name = "penalised"

    def penalty(self, state):
        return sum(0.01 * (adapter.A.square().sum() + adapter.B.square().sum()) for adapter in self.layers.values())


def penalised() -> nn.Module:
    chance = torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.GELU(), nn.Linear(16, 5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1, generator=chance)
    return adapt(model, Penalised(rank=2), "1", keep="3")


CASES = {
    "toeplitz": (lambda: small("toeplitz"), {}),
    "circulant": (lambda: small("circulant"), {}),
    "pieces": (lambda: small("lora"), {"accumulate": 2}),
    "penalised": (penalised, {}),
    "full": (lambda: small("lora").requires_grad_(True), {}),
    "lorapro": (lambda: small("lorapro"), {"clip": None}),
    "adalora": (lambda: small("adalora", init_r=3, target_r=1, deltaT=2), {}),
    # A penalty whose gradient is zero but for rounding would make steps of Adam of that rounding.
    "elalora": (lambda: small("elalora", warmup=0.0, mask_interval=2, orth_reg_weight=0.0), {}),
    "ardlora": (lambda: small("ardlora", heads=4), {}),
    "gora": (lambda: small("gora", rank=4, rank_min=2, rank_max=8), {}),
    "lord": (lambda: small("lord", rank=6), {}),
    # Without the nuclear norm, whose gradient jumps where two singular values meet.
    "trp": (lambda: small("trp", period=2, nuclear=0.0), {}),
    "cuttlefish": (lambda: small("cuttlefish", epoch=1, scaled=False), {}),
}
"""What is trained, and what is special about its training."""


def interrupted(folder: Path, **options) -> nn.Module:
    """Dropout, batch norm and a stateful method: stopped in the middle of the second epoch, and gone on with."""
    calls = iter(range(100))

    def stop(images, chance):
        if next(calls) == 8:
            raise KeyboardInterrupt
        return flip_and_shift(images, chance)

    stop.__name__ = flip_and_shift.__name__
    file = {"checkpoint": folder / "run.ckpt", "checkpoint_every": 3}
    with contextlib.suppress(KeyboardInterrupt):
        train(network(), pictures(), **(RESUMED | file | {"augment": stop}))
    model = network()
    train(model, pictures(), resume=True, **(RESUMED | file))
    return model


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo"
    )  # as a program that has more to do in several processes; the library joins by itself
    rank = dist.get_rank()
    for name, (build, options) in CASES.items():
        model = build()
        record = train(model, pictures(train=PICTURES), **(COMMON | options))
        save_file(model.state_dict(), f"{folder}/{name}.{rank}.weights")
        record.to_json(f"{folder}/{name}.{rank}.json")
    whole = network()
    train(whole, pictures(), **RESUMED)
    save_file(whole.state_dict(), f"{folder}/whole.{rank}.weights")
    save_file(interrupted(folder).state_dict(), f"{folder}/interrupted.{rank}.weights")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
