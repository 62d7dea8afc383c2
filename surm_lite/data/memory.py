"""Whether examples fit into the memory, said before they are read."""

from __future__ import annotations

from collections.abc import Callable

from surm_lite.device import free_memory


def check_fits(what: str, size: int, way_out: Callable[[float], str]) -> None:
    """Refuses examples where there is no room for two of each: as they are read, and as parts.

    Args:
        what: the argument that they come from, and how many they are.
        size: bytes of all of them.
        way_out: what to do about it, given the bytes for which there is room.
    """
    free = free_memory()
    if free is not None and 2 * size > free:
        told = f"take {2 * size / 1e9:.1f} GB of memory, of which {free / 1e9:.1f} GB are free"
        raise ValueError(f"{what} {told}; {way_out(free / 2)}")
