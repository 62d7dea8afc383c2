"""Where a run computes, and how it draws its chance without touching anybody else's."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


def device(name: str | torch.device | None = None) -> torch.device:
    """The device of a run: the one that is named, else CUDA, else MPS, else the CPU.

    Args:
        name: for example "cpu", "cuda:1", "mps"; None or "auto" chooses.

    Returns:
        torch.device: one that this machine has.

    Raises:
        ValueError: a name that torch does not know, or a device that is not there.

    Cost:
        None.

    Example:
        >>> device("cpu")
        device(type='cpu')

    Taught in:
        21_finetune_vit, 24_what_it_costs
    """
    here = [
        kind
        for kind, found in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()))
        if found
    ]
    if name is None or name == "auto":
        return torch.device([*here, "cpu"][0])
    try:
        chosen = torch.device(name)
    except (RuntimeError, TypeError, ValueError):
        raise ValueError(f"device: got {name!r}, need one of auto, {', '.join([*here, 'cpu'])}") from None
    if chosen.type not in (*here, "cpu") or (
        chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count()
    ):
        raise ValueError(f"device: got {str(name)!r}, this machine has {', '.join([*here, 'cpu'])}")
    return chosen


@contextmanager
def seeded(seed: int, on: torch.device) -> Iterator[None]:
    """Seeds torch's global generators inside the block (dropout draws from them) and restores their state after it."""
    devices = [] if on.type == "cpu" else [on]
    with torch.random.fork_rng(devices, device_type=on.type if devices else "cuda"):
        torch.default_generator.manual_seed(seed)
        if on.type == "cuda":
            with torch.cuda.device(on):
                torch.cuda.manual_seed(seed)
        elif devices:
            torch.get_device_module(on).manual_seed(seed)
        yield


def peak_memory(on: torch.device) -> int | None:
    """Most bytes in use so far: by tensors on a GPU, by the whole process on a CPU (None where nobody can tell)."""
    if on.type == "cuda":
        return torch.cuda.max_memory_allocated(on)
    if on.type == "mps":
        return torch.mps.driver_allocated_memory()
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def free_memory() -> int | None:
    """Bytes of main memory that can still be had, within the limits of a container; None where nobody can tell."""
    known: list[int] = []
    try:
        found = re.search(r"MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text())
        known += [int(found[1]) * 1024] if found else []
        limit, used = (Path(f"/sys/fs/cgroup/memory.{name}").read_text().strip() for name in ("max", "current"))
        known += [int(limit) - int(used)] if limit != "max" else []
    except (OSError, ValueError):
        pass
    return max(min(known), 0) if known else None
