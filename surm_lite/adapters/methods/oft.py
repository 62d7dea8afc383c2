"""OFT: the inputs of a layer, turned block by block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.options import check_count, divisors
from surm_lite.adapters.rewrite import Rewrite


@dataclass
class OFT(Rewrite):
    """A rotation of the inputs, block-diagonal.

    ``W = W0 R^T`` with ``R = blockdiag(R_1, ..., R_k)``, each R_i a b x b rotation in Cayley's form, ``R_i = (I +
    Q_i)(I - Q_i)^-1`` with Q_i skew-symmetric. The trained numbers are the entries of Q_i above its diagonal, row by
    row; they start at zero, and R at I. Lengths of the rows of W and angles between them stay as they are: so do all
    singular values.

    Args:
        oft_block_size: b, a divisor of n. None takes the divisor above 1 that is nearest to 32, of two the smaller.

    Raises:
        ValueError: oft_block_size does not divide the inputs of a layer, or is no integer of at least 1.

    Cost:
        n (b - 1) / 2 numbers, whatever m; W is formed in every forward, O(m n b) beside the product with x.

    Example:
        >>> OFT(oft_block_size=32).n_params(768, 768)
        11904

    Source:
        Qiu et al. (2023), section 4. peft without its series (``use_cayley_neumann=False``) has the inverse of each
        R_i for the same numbers; with it, the first terms of the powers of Q_i.

    Taught in:
        39_rotations_spectra_bases
    """

    name = "oft"
    paper = "Qiu et al. 2023, arXiv 2306.07280"
    lr = 1e-2

    oft_block_size: int | None = None

    def __post_init__(self) -> None:
        if self.oft_block_size is not None:
            check_count(self.name, "oft_block_size", self.oft_block_size)

    def _block(self, n: int) -> int:
        b = self.oft_block_size
        if b is None:
            return min(divisors(n)[1:] or [1], key=lambda d: abs(d - 32))
        if n % b:
            raise ValueError(f"oft_block_size is {b}; it must divide the {n} inputs of the layer")
        return b

    def n_params(self, m: int, n: int) -> int:
        return n * (self._block(n) - 1) // 2

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        yield from ({"oft_block_size": b} for b in divisors(n))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        n = weight.shape[1]
        b = self._block(n)
        return {"skew": torch.zeros(n // b, b * (b - 1) // 2)}

    def whole(self, weight: Tensor, bias: Tensor | None, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        R = rotations(tensors["skew"], weight.shape[1])
        blocks = weight.unflatten(1, R.shape[:2])  # (m, k, b)
        return torch.einsum("mkj,kij->mki", blocks, R).flatten(1), bias


def rotations(skew: Tensor, n: int) -> Tensor:
    """(k, b (b - 1) / 2) numbers above the diagonals -> (k, b, b) rotations, k b = n."""
    b = n // len(skew)
    above = torch.triu_indices(b, b, 1, device=skew.device)
    Q = skew.new_zeros(len(skew), b, b).index_put((torch.arange(len(skew), device=skew.device)[:, None], *above), skew)
    Q, I = Q - Q.mT, torch.eye(b, dtype=skew.dtype, device=skew.device)
    return torch.linalg.solve(I - Q, I + Q)  # the two commute
