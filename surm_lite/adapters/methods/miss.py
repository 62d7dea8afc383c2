"""MiSS, once called Bone: one small matrix, laid out again and again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.additive import Update
from surm_lite.adapters.options import check_count, near
from surm_lite.matrices import Kronecker
from surm_lite.matrices.compose import Corner

AXES = ("col", "row")


@dataclass
class MiSS(Update):
    """One trained shard, repeated over the layer like a tile.

    ``W = W0 + [D D ... D]`` with D of size m x r: input t meets column t mod r of D. ``axis="row"`` repeats a D of
    size r x n along the outputs, and ``mini_r`` cuts the other side of the tile as well. In one formula: the corner of
    ``1 1^T ⊗ D``. Where the tile does not divide the layer, the last one is cut, as peft does it.

    D starts at zero; the update is linear in it, and there is neither a scale nor a second factor.

    Args:
        rank: r, which bounds the rank of the update; the side of a layer that it cuts bounds it in turn.
        axis: "col" (as peft has it) repeats D along the inputs, "row" along the outputs.
        mini_r: the other side of D; None leaves it as long as the layer. (peft's ``init_weights="mini"``.)

    Raises:
        ValueError: rank or mini_r is not an integer of at least 1, or axis is neither "col" nor "row".

    Cost:
        r m numbers ("col"), r n ("row") or r mini_r; n additions and r m multiplications a token.

    Example:
        >>> MiSS(rank=16).n_params(768, 768), MiSS(rank=16, mini_r=64).n_params(768, 768)
        (12288, 1024)

    Source:
        Kang and Yin (2024), whose later versions call it MiSS; it is LoRA with A frozen at ``[I I ... I]``.

    Taught in:
        28_blocks
    """

    name = "miss"
    paper = "Kang and Yin 2024, arXiv 2409.15371"
    lr = 1e-3

    rank: int = 8
    axis: str = "col"
    mini_r: int | None = None

    def __post_init__(self) -> None:
        check_count(self.name, "rank", self.rank)
        if self.axis not in AXES:
            raise ValueError(near(f"axis of method {self.name!r}", str(self.axis), AXES))
        if self.mini_r is not None:
            check_count(self.name, "mini_r", self.mini_r)

    def _tile(self, m: int, n: int) -> tuple[int, int]:
        """Rows and columns of D."""
        long = m if self.axis == "col" else n
        other = long if self.mini_r is None else min(self.mini_r, long)
        return (other, min(self.rank, n)) if self.axis == "col" else (min(self.rank, m), other)

    def n_params(self, m: int, n: int) -> int:
        rows, columns = self._tile(m, n)
        return rows * columns

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        yield from ({"rank": rank} for rank in range(1, (n if self.axis == "col" else m) + 1))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        m, n = weight.shape
        return {"D": torch.zeros(self._tile(m, n))}

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> Corner:
        D = tensors["D"]
        copies = (-(-m // len(D)), -(-n // D.shape[1]))
        return Corner(Kronecker(D.new_ones(copies), D), m, n)


@dataclass
class Bone(MiSS):
    """MiSS by the name that versions 4 to 11 of its paper, and peft up to 0.18, have for it.

    ``W = W0 + [D D ... D]``

    Args:
        rank, axis, mini_r: as in ``MiSS``.

    Example:
        >>> Bone(rank=16).n_params(768, 768)
        12288

    Source:
        Kang and Yin (2024). Versions 1 to 3 say Bone to what is now Bat.

    Taught in:
        28_blocks
    """

    name = "bone"
    lr = 3e-4
