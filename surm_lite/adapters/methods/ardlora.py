"""ARD-LoRA, as we read it: a trained factor decides how many columns of a LoRA are open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.additive import Update
from surm_lite.adapters.options import check_count, check_not_negative, check_number, check_share
from surm_lite.matrices import LowRank


@dataclass
class ARDLoRA(Update):
    """LoRA with a rank for each attention head that the loss itself decides: our reading of the paper.

    The rows of W in equal blocks, one for each head h: ``W_h = W0_h + s B_h diag(g_h) A_h`` with ``s = alpha / rank``.
    The paper's rank ``max(1, round(rank f_h))`` of a trained factor f_h has no gradient, and there is no code. Here
    column j (from 0) is open by ``g_j = clamp(rank f_h - j, 0, 1)``: the gates sum to ``rank f_h``, whole numbers
    give plain LoRA of that rank, and the one column that is partly open gives f_h its gradient. At the end the rank is
    rounded.

    ``reg (|f| + beta |f - f_before|)``, summed over all heads and layers, is added to the loss: few ranks, and few
    changes. It is faded in over the first ``warmup`` of all steps, as at B = 0 nothing else would move f.

    A starts as in LoRA, B at zero, and f half a rank away from 1, where the gates have a kink. What is trained is
    ``f - 1``, so that a weight decay draws to the base rank.

    Args:
        rank: the base rank.
        rank_max: columns that each head has.
        heads: blocks of rows; they must divide m.
        alpha: numerator of the scale s.
        reg: weight of the penalty.
        beta: weight of the changes in it.
        warmup: share of all steps over which the penalty is faded in.
        lr_ratio: learning rate of f over the common one.

    Raises:
        ValueError: a number out of range, rank above rank_max, or heads that do not divide the rows of a layer.

    Cost:
        rank_max (m + heads n) + heads numbers: a rank for each of h heads costs about h times that of a layer.

    Example:
        >>> ARDLoRA(rank=2, rank_max=4, heads=2).n_params(8, 6)
        82

    Source:
        Shinwari and Usama (2025), from its abstract and accounts of it: gates, weights and schedules are ours.

    Taught in:
        32_ranks_that_move
    """

    name = "ardlora"
    paper = "Shinwari and Usama 2025, arXiv 2506.18267 (our reading)"
    needs = ("total_steps",)
    lr = 1e-3

    rank: int = 4
    rank_max: int = 8
    heads: int = 1
    alpha: float = 8.0
    reg: float = 2e-3
    beta: float = 0.5
    warmup: float = 0.2
    lr_ratio: float = 10.0

    before: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The factors of the step before, by layer."""

    def __post_init__(self) -> None:
        for name in ("rank", "rank_max", "heads"):
            check_count(self.name, name, getattr(self, name))
        if self.rank > self.rank_max:
            raise ValueError(
                f"rank of method {self.name!r} is {self.rank}; it must be at most rank_max, {self.rank_max}"
            )
        for name in ("alpha", "lr_ratio"):
            check_number(self.name, name, getattr(self, name))
        for name in ("reg", "beta"):
            check_not_negative(self.name, name, getattr(self, name))
        if self.lr_ratio <= 0:
            raise ValueError(f"lr_ratio of method {self.name!r} is {self.lr_ratio!r}; it must be above 0")
        check_share(self.name, "warmup", self.warmup)

    def n_params(self, m: int, n: int) -> int:
        return self.rank_max * (m + self.heads * n) + self.heads

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        yield from ({"rank": (k + 1) // 2, "rank_max": k} for k in range(1, min(m, n) + 1))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        m, n = weight.shape
        if m % self.heads:
            raise ValueError(f"heads of method {self.name!r} is {self.heads}, which does not divide {m} rows")
        A = (torch.rand(self.heads * self.rank_max, n, generator=generator) * 2 - 1) / sqrt(n)
        half = 0.5 if self.rank < self.rank_max else -0.5
        return {"A": A, "B": torch.zeros(m, self.rank_max), "shift": torch.full((self.heads,), half / self.rank)}

    def gates(self, shift: Tensor) -> Tensor:
        """How far each column of each head is open, (heads, rank_max)."""
        columns = torch.arange(self.rank_max, dtype=shift.dtype, device=shift.device)
        return (self.rank * (1 + shift)[:, None] - columns).clamp(0, 1)

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> LowRank:
        blocks = tensors["B"].unflatten(0, (self.heads, -1)) * self.gates(tensors["shift"])[:, None]
        return LowRank(self.alpha / self.rank * torch.block_diag(*blocks), tensors["A"])

    def ranks(self) -> dict[str, list[int]]:
        """The rank of each head of each layer, rounded."""
        return {name: (self.rank * (1 + shift)).round().int().tolist() for name, shift in self._shifts()}

    def _shifts(self) -> Iterator[tuple[str, Tensor]]:
        yield from ((name, adapter.tensors()["shift"]) for name, adapter in self.layers.items())

    def param_groups(self, model: Any) -> list[dict[str, Any]]:
        return [{"params": [shift for _, shift in self._shifts()], "lr_scale": self.lr_ratio}]

    def penalty(self, state: Any) -> Tensor | float:
        faded = min((state.step + 1) / max(self.warmup * state.total_steps, 1), 1.0)
        if state.step == 0:  # a new run
            self.before.clear()
        whole: Tensor | float = 0.0
        for name, shift in self._shifts():
            change = shift - self.before.get(name, shift.detach()).to(shift)
            whole = whole + (1 + shift).abs().sum() + self.beta * change.abs().sum()
        return self.reg * faded * whole

    def after_backward(self, state: Any) -> None:
        self.before = {name: shift.detach().clone() for name, shift in self._shifts()}

    @torch.no_grad()
    def after_step(self, state: Any) -> None:
        for _, shift in self._shifts():  # a rank from 1 to rank_max
            shift.clamp_(1 / self.rank - 1, self.rank_max / self.rank - 1)

    @torch.no_grad()
    def finish(self, model: Any) -> None:
        for _, shift in self._shifts():
            shift.copy_((self.rank * (1 + shift)).round() / self.rank - 1)

    def state_dict(self) -> dict[str, Any]:
        return dict(self.before)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.before = dict(state)
