"""LoLDU: triangular factors of the weight, of which only the diagonal is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from surm_lite.adapters import frozen
from surm_lite.adapters.additive import Additive, Update, base_weight, dense
from surm_lite.adapters.options import check_choice, check_count, check_flag, check_number
from surm_lite.matrices import LowRank

STARTS = ("regular", "uniform", "mean", "zeros")


@dataclass
class LoLDU(Update):
    """The weight as P L D U, and its diagonal trained.

    With ``W0 = P L diag(d) U``, P a permutation, L (m x k) and U (k x n) triangular with ones on their diagonals:
    ``W = W0 + alpha P L_r diag(z - d_r) U_r``, where L_r is the first r columns of L and U_r the first r rows of U. z
    is trained; all else is frozen and follows from W0. That is the residual plus ``alpha P L_r diag(z) U_r`` of the
    paper, with a start that is W0 to the bit.

    ``P L_r diag(d_r) U_r`` is the cross approximation of W0 through its first r columns and its r pivot rows: the
    directions depend on the order of the inputs, and what is left of W0 is not small.

    Args:
        rank: r; None, or more than min(m, n), takes min(m, n).
        alpha: scale of the update; the paper's alpha / r, which is 1 in its runs.
        start: of z. "regular": d_r, so that W is W0. With c the mean of d_r, "uniform" draws from ``(-|c|/2, |c|/2)``
            (which the paper reports as the best), "mean" takes c and "zeros" 0: each of them takes r directions out of
            W0, and at full rank nearly all of it.
        scaled: train a factor of ``P L_r diag(z) U_r`` too, as the paper has it; the authors' code does not.

    Raises:
        ValueError: rank is no integer of at least 1, alpha is not finite, start is unknown or scaled is not a bool.

    Cost:
        r numbers, one more with ``scaled``; r (m + n) frozen ones in memory and not in the file, and once an LU
        factorisation, O(m n min(m, n)) in float64; O(r (m + n)) time a token. A file needs the very weight that it was
        trained on: another rounding of it may have other pivots.

    Example:
        >>> LoLDU(rank=4).n_params(768, 768)
        4

    Source:
        Shi et al. (2024), figures 2 and 3, and the authors' code.

    Taught in:
        31_train_a_diagonal
    """

    name = "loldu"
    paper = "Shi et al. 2024, arXiv 2410.13618"
    lr = 3e-4

    rank: int | None = None
    alpha: float = 1.0
    start: str = "regular"
    scaled: bool = False

    def __post_init__(self) -> None:
        if self.rank is not None:
            check_count(self.name, "rank", self.rank)
        check_number(self.name, "alpha", self.alpha)
        check_choice(self.name, "start", self.start, STARTS)
        check_flag(self.name, "scaled", self.scaled)
        self.exact_at_init = self.start == "regular"  # type: ignore[misc]  # of this object, not of the class

    def n_params(self, m: int, n: int) -> int:
        return self._rank(m, n) + self.scaled

    def _rank(self, m: int, n: int) -> int:
        return min(m, n) if self.rank is None else min(self.rank, m, n)

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        yield from ({"rank": rank} for rank in range(1, min(m, n) + 1))

    def wrap(self, name: str, layer: nn.Module, generator: torch.Generator) -> Additive | None:
        dense(layer)  # refuses what is not linear in x
        return Additive(layer, self, self.begin(name, frozen.wide(base_weight(layer)), generator))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        r = self._rank(*weight.shape)
        left, d, right = (t.to(weight) for t in ldu(weight.cpu().double(), r))
        mean = d.mean()
        z = {
            "regular": d,
            "uniform": mean.abs() * (torch.rand(r, generator=generator).to(d) - 0.5),
            "mean": mean.expand(r),
            "zeros": torch.zeros_like(d),
        }[self.start]
        fixed = {"left": left, "d": d, "right": right}
        scale = {"scale": torch.ones(())} if self.scaled else {}
        return {"z": z.clone(), **scale, **{k: nn.Buffer(t, persistent=False) for k, t in fixed.items()}}

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> LowRank:
        z = tensors["z"] * tensors["scale"] if self.scaled else tensors["z"]
        return LowRank(tensors["left"] * (self.alpha * (z - tensors["d"])), tensors["right"])


def ldu(W: Tensor, r: int) -> tuple[Tensor, Tensor, Tensor]:
    """The first r columns of P L, entries of d and rows of U; where a pivot vanishes, U keeps the 1 on its diagonal."""
    P, L, R = torch.linalg.lu(W)
    d = R.diagonal()
    safe = torch.where(d.abs() > torch.finfo(d.dtype).eps * d.abs().max(), d, torch.ones_like(d))
    U = R / safe[:, None]
    U.diagonal().fill_(1.0)
    return P @ L[:, :r], d[:r], U[:r]
