"""Several processes as one: the same batch, cut into shares, and gradients that are summed.

`torchrun` and `accelerate launch` start the processes and say in environment variables who is who; nothing else of them
is needed. The gradients of all trained parameters travel as one flat tensor after the backward pass: adapters are
small, so there is little to overlap with, any forward works, and `after_backward` sees the gradient of the whole batch.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from zlib import crc32

import torch
import torch.distributed as dist
from torch import Tensor, nn

from surm_lite.data import Split
from surm_lite.device import device as find_device
from surm_lite.evaluate import total_score
from surm_lite.tasks import Task

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher sets."""


@dataclass(frozen=True)
class Processes:
    """The processes that train together; one, unless a launcher started several.

    Args:
        device: of this process.
        rank: of this process; process 0 alone writes and reports.
        size: how many there are.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def shares(self, count: int, pieces: int) -> list[tuple[slice, float]]:
        """This process's part of a batch in pieces, each with its weight in the mean over the whole batch.

        A process for which a short batch has no example computes the first one with weight 0: then it takes part with
        the same set of gradients as the others.

        Example:
            >>> Processes(torch.device("cpu"), rank=1, size=2).shares(8, pieces=2)
            [(slice(4, 6, None), 0.25), (slice(6, 8, None), 0.25)]
        """
        cuts = self.size * pieces
        edges = [count * k // cuts for k in range(self.rank * pieces, (self.rank + 1) * pieces + 1)]
        parts = [(slice(a, b), (b - a) / count) for a, b in pairwise(edges) if a < b]
        return parts or [(slice(0, 1), 0.0)]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces each gradient by its sum over the processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        for dtype in sorted({g.dtype for g in gradients}, key=str):
            same = [g for g in gradients if g.dtype == dtype]
            flat = torch.cat([g.reshape(-1) for g in same])
            dist.all_reduce(flat)
            for g, whole in zip(same, flat.split([g.numel() for g in same])):
                g.copy_(whole.view_as(g))

    def total(self, values: Tensor) -> Tensor:
        """The sum over the processes; `values` itself for a single one."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, values: Tensor) -> list[Tensor]:
        """A tensor of every process, on the CPU, in the order of their ranks."""
        if self.size == 1:
            return [values.cpu()]
        mine = values.to(self.device)
        all_of_them = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(all_of_them, mine)
        return [one.cpu() for one in all_of_them]

    def agree(self, what: str, number: int) -> None:
        """Raises RuntimeError where the processes do not have the same number."""
        numbers = [int(one) for one in self.gather(torch.tensor(number))]
        if len(set(numbers)) > 1:
            raise RuntimeError(f"{what}: the processes have {', '.join(map(str, numbers))}; they must have the same")

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Gives all processes the values of process 0."""
        if self.size > 1:
            with torch.no_grad():
                for tensor in tensors:
                    dist.broadcast(tensor, 0)

    def agree_on(self, model: nn.Module) -> None:
        """Gives all processes the model of process 0, after something that may have changed its layers."""
        names = [(name, tuple(t.shape)) for name, t in (*model.named_parameters(), *model.named_buffers())]
        self.agree("model: names and shapes of its tensors, crc32", crc32(repr(names).encode()))
        self.copy_from_first(itertools.chain(model.parameters(), model.buffers()))

    def score(self, model: nn.Module, part: Split, task: Task, *, precision: str) -> float:
        """The mean score of a part, each process looking at its own share of the examples."""
        edges = [len(part) * k // self.size for k in (self.rank, self.rank + 1)]
        total = total_score(model, part[edges[0] : edges[1]], task, precision=precision)
        if self.size > 1:
            total = float(self.total(torch.tensor(total, dtype=torch.float64, device=self.device)))
        return total / len(part)


def is_first() -> bool:
    """Whether this process is the one that writes and reports."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def processes(device: str | torch.device | None = None) -> Iterator[Processes]:
    """Joins the processes that a launcher started, for the time of the block; alone, there is nothing to join.

    Args:
        device: as in `sl.device`; without a number, each process takes the CUDA device of its local rank.
    """
    launched = all(name in os.environ for name in VARIABLES) and os.environ["WORLD_SIZE"] != "1"
    if not launched and not (dist.is_available() and dist.is_initialized()):
        yield Processes(find_device(device))
        return
    on = find_device(device)
    if on.type == "mps":
        raise ValueError("device: got mps, which a single process has to itself; several need cuda or cpu")
    if on.type == "cuda":
        if on.index is None:
            on = find_device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}")
        torch.cuda.set_device(on)
    join = not dist.is_initialized()
    if join:
        dist.init_process_group("nccl" if on.type == "cuda" else "gloo")
    try:
        yield Processes(on, dist.get_rank(), dist.get_world_size())
    finally:
        if join:
            dist.destroy_process_group()
