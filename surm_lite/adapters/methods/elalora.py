"""ElaLoRA: ranks that move from one layer to another while the model trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from surm_lite.adapters.methods.triplets import Triplets
from surm_lite.adapters.options import check_count
from surm_lite.matrices import LowRank


@dataclass
class ElaLoRA(Triplets):
    """An update in the form of a singular value decomposition whose ranks move between layers, their sum unchanged.

    ``W = W0 + s P diag(values * live) Q`` with ``s = alpha / rank``, the importance and the penalty of AdaLoRA. Every
    ``mask_interval`` steps each layer offers its k least important triplets, of which it keeps one. Of this pool the b
    lowest are switched off, and the owners of the b highest get as many new ones: unit vectors orthogonal to those that
    are live, with value zero, so that nothing moves. b falls as ``round(b (1 - tau^3))``.

    Every layer holds ``rank + slack`` triplets, live or not: so no tensor changes its shape.

    Args:
        rank: live triplets of a layer at the start, and their mean throughout.
        slack: triplets that a layer can gain at most.
        b: ranks that move at once, at the start.
        k: triplets that a layer offers, and ranks that it can gain at once.
        warmup, final: shares of all steps before the first move and after the last one.
        mask_interval: steps between two moves.
        alpha: numerator of the scale s.
        beta1, beta2: of the two moving averages.
        orth_reg_weight: of the penalty.

    Raises:
        ValueError: a number out of range, or warmup and final that leave no step.

    Cost:
        (rank + slack) (m + n + 1) numbers are trained, of which ``ranks()`` are live; a file has one more for each
        triplet, which says whether it is live.

    Example:
        >>> ElaLoRA(rank=2, slack=2).n_params(128, 128)
        1028

    Source:
        Chang et al. (2025) and the authors' code, whose new vectors are orthogonal only to orthonormal ones, and which
        loses the optimiser's averages at each move.

    Taught in:
        32_ranks_that_move
    """

    name = "elalora"
    paper = "Chang et al. 2025, arXiv 2504.00254"
    lr = 1e-2

    rank: int = 4
    slack: int = 4
    b: int = 4
    k: int = 2
    warmup: float = 0.1
    final: float = 0.25
    mask_interval: int = 10
    orth_reg_weight: float = field(default=0.1, kw_only=True)

    chance: torch.Generator = field(default_factory=torch.Generator, init=False, repr=False, compare=False)
    """Of the new vectors."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("rank", 1), ("slack", 0), ("b", 0), ("k", 1), ("mask_interval", 1)):
            check_count(self.name, name, getattr(self, name), least)
        self.check_shares("warmup", "final")

    def n_params(self, m: int, n: int) -> int:
        return (self.rank + self.slack) * (m + n + 1)

    def n_stored(self, m: int, n: int) -> int:
        return self.n_params(m, n) + self.rank + self.slack

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        yield from ({"rank": r - r // 2, "slack": r // 2} for r in range(1, min(m, n) + 1))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        self.chance.manual_seed(generator.initial_seed())
        live = (torch.arange(self.rank + self.slack) < self.rank).float()
        return {**self.start(weight, len(live), generator), "live": nn.Buffer(live)}

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> LowRank:
        return self.summed(self.alpha / self.rank, tensors)

    def ranks(self) -> dict[str, int]:
        """Live triplets of each layer."""
        return {name: int(adapter.tensors()["live"].sum()) for name, adapter in self.layers.items()}

    def progress(self, step: int, total: int) -> float:
        """How far a step is from the first move (0) to the last one (1)."""
        first, last = self.warmup * total, (1 - self.final) * total
        return min(max((step - first) / (last - first), 0.0), 1.0)

    def after_step(self, state: Any) -> None:
        tau = self.progress(state.step, state.total_steps)
        if tau < 1:
            self.observe(state)
            if tau > 0 and state.step % self.mask_interval == 0:
                self._move(round(self.b * (1 - tau**3)), state)

    @torch.no_grad()
    def _move(self, b: int, state: Any) -> None:
        """Here alone a run waits for the device."""
        live = {name: adapter.tensors()["live"].tolist() for name, adapter in self.layers.items()}
        pool: list[tuple[float, str, int]] = []
        for name, on in live.items():
            worth = self.worth(name).tolist()
            offered = sorted((worth[slot], name, slot) for slot, is_on in enumerate(on) if is_on)
            pool += offered[: min(self.k, len(offered) - 1)]
        pool.sort()
        b, free, gains = min(b, len(pool) // 2), {name: on.count(0.0) for name, on in live.items()}, []
        for _, name, _ in pool[len(pool) - b :]:
            if free[name]:
                free[name] -= 1
                gains.append(name)
        for _, name, slot in pool[: len(gains)]:
            tensors = self.layers[name].tensors()
            tensors["live"][slot] = tensors["values"][slot] = 0.0
        for name in gains:
            self._grow(name, state)

    def _grow(self, name: str, state: Any) -> None:
        tensors = self.layers[name].tensors()
        P, values, Q, live = (tensors[key] for key in ("P", "values", "Q", "live"))
        slot, on = int(live.argmin()), live.bool()
        P[:, slot], Q[slot] = (_orthogonal(columns, self.chance) for columns in (P[:, on], Q[on].mT))
        values[slot], live[slot] = 0.0, 1.0
        for key, tensor, index in (("P", P, (slice(None), slot)), ("values", values, slot), ("Q", Q, slot)):
            state.reset_moments(tensor, index)
            for kind in ("mean", "spread"):
                if f"{name}/{key}/{kind}" in self.averages:
                    self.averages[f"{name}/{key}/{kind}"][index] = 0.0

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"chance": self.chance.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.chance.set_state(state["chance"])
        super().load_state_dict({key: value for key, value in state.items() if key != "chance"})


def _orthogonal(columns: Tensor, chance: torch.Generator) -> Tensor:
    """A random unit vector, orthogonal to all columns unless they leave no room."""
    v = torch.randn(len(columns), generator=chance).to(columns)
    if columns.shape[1] < len(columns):
        basis = torch.linalg.qr(columns).Q
        for _ in range(2):  # once more takes away what rounding has left
            v = v - basis @ (basis.mT @ v)
    return v / torch.linalg.vector_norm(v)
