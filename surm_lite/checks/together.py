"""One training by two processes of this machine, held against the same training by one."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from surm_lite.adapters import METHODS, adapt, trainable_parameters
from surm_lite.data import LabelledSet, Split
from surm_lite.training.train import train


def agrees_with_one_process(method: str) -> bool:
    """Whether both processes end with the numbers of one that trains alone, up to rounding."""
    alone = _trained(method)
    # A copy of this process starts at once, but a copy of one that has spoken to a GPU may not compute.
    context: Any = torch.multiprocessing.get_context("spawn" if torch.cuda.is_available() else "fork")
    with tempfile.TemporaryDirectory() as folder:
        workers = [context.Process(target=_work, args=(method, rank, folder)) for rank in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120)
            worker.kill()
        if any(worker.exitcode != 0 for worker in workers):
            return False
        found = [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(2)]
    return all(
        a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-4)
        for one in found
        for a, b in zip(one, alone, strict=True)
    )


def _work(method: str, rank: int, folder: str) -> None:
    try:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
        torch.save(_trained(method), Path(folder) / f"{rank}.pt")
        dist.destroy_process_group()
    except Exception:
        sys.exit(1)


def _trained(method: str) -> list[Tensor]:
    """What a short training leaves: three epochs of two steps, the last picture of each alone in its batch."""
    chance = torch.Generator().manual_seed(0)
    inputs, labels = torch.randint(0, 256, (9, 1, 4, 4), generator=chance, dtype=torch.uint8), torch.arange(9) % 4
    part = Split(inputs, labels)
    data = LabelledSet("noise", part, part, part, tuple("abcd"), "noise")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 4))
    made = METHODS[method]()
    losses = None if made.ready() else data.task.losses(model, data)
    adapt(model, made, "1" if made.wraps else None, keep=("3",), losses=losses)
    train(model, data, epochs=3, lr=made.lr, batch_size=8, optimizer=torch.optim.SGD, device="cpu", progress=False)
    return [p.detach().clone() for p in trainable_parameters(model)]
