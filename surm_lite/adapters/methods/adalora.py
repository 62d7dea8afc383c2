"""AdaLoRA: a budget of ranks that shrinks, and goes to the layers that matter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.methods.triplets import Triplets
from surm_lite.adapters.options import check_count
from surm_lite.matrices import LowRank


@dataclass
class AdaLoRA(Triplets):
    """An update in the form of a singular value decomposition, of which the least important parts are cut.

    ``W = W0 + s P diag(values) Q`` with ``s = alpha / init_r``. Over the whole model b triplets are live: b starts at
    ``init_r`` a layer and falls, as ``(1 - tau)^3``, to ``target_r`` a layer. Every ``deltaT`` steps the b triplets
    with the largest importance stay, and the numbers of all others are set to zero. They still get a gradient, so one
    can come back, until the last share ``tfinal`` of the run holds the choice.

    The importance of a number w is the moving average of ``|w dL/dw|`` times that of its deviation; a triplet has that
    of its value and the means over its two vectors. ``orth_reg_weight`` times the mean of ``||P^T P - I||`` and
    ``||Q Q^T - I||`` is added to the loss, not squared, as in the authors' code.

    The values start at zero, P and Q as N(0, 0.02^2).

    Args:
        init_r: rank of each layer at the start.
        target_r: mean rank of a layer at the end.
        tinit, tfinal: shares of all steps before the budget begins to fall, and after it has fallen.
        deltaT: steps between two cuts.
        alpha: numerator of the scale s (the code adds 1e-5 to its denominator).
        beta1, beta2: of the two moving averages.
        orth_reg_weight: of the penalty.

    Raises:
        ValueError: a number out of range, target_r above init_r, or tinit and tfinal that leave no step.

    Cost:
        init_r (m + n + 1) numbers, all of which are trained and kept to the end; O(init_r^2 (m + n)) time a step for
        the penalty.

    Example:
        >>> AdaLoRA(init_r=6, target_r=4).n_params(10, 10)
        126

    Source:
        Zhang et al. (2023), sections 3.1 to 3.3, and peft.

    Taught in:
        32_ranks_that_move
    """

    name = "adalora"
    paper = "Zhang et al. 2023, arXiv 2303.10512"
    lr = 1e-2

    init_r: int = 12
    target_r: int = 8
    tinit: float = 0.1
    tfinal: float = 0.3
    deltaT: int = 10

    held: Tensor | None = field(default=None, init=False, repr=False, compare=False)
    """Which triplets are live, layer after layer, once that is decided."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("init_r", "target_r", "deltaT"):
            check_count(self.name, name, getattr(self, name))
        if self.target_r > self.init_r:
            raise ValueError(
                f"target_r of method {self.name!r} is {self.target_r}; it must be at most init_r, {self.init_r}"
            )
        self.check_shares("tinit", "tfinal")

    def n_params(self, m: int, n: int) -> int:
        return self.init_r * (m + n + 1)

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        yield from ({"init_r": r, "target_r": max(1, 2 * r // 3)} for r in range(1, min(m, n) + 1))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        return self.start(weight, self.init_r, generator)

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> LowRank:
        return self.summed(self.alpha / self.init_r, tensors)

    def budget(self, step: int, total: int) -> int:
        """How many triplets of the model are live after a step."""
        count, first, last = len(self.layers), int(self.tinit * total), total - int(self.tfinal * total)
        if step <= first:
            return count * self.init_r
        left = max(0.0, 1 - (step - first) / (last - first))
        return int(count * (self.init_r - self.target_r) * left**3 + count * self.target_r)

    def ranks(self) -> dict[str, int]:
        """Live triplets of each layer."""
        return {name: int(adapter.tensors()["values"].count_nonzero()) for name, adapter in self.layers.items()}

    @torch.no_grad()
    def after_step(self, state: Any) -> None:
        if state.step == 1:
            self.held = None
        first, last = int(self.tinit * state.total_steps), state.total_steps - int(self.tfinal * state.total_steps)
        if state.step <= last:
            self.observe(state)
            if state.step < last and (state.step <= first or state.step % self.deltaT):
                return
            scores = torch.cat([self.worth(name) for name in self.layers])
            best = scores.argsort(descending=True, stable=True)[: self.budget(state.step, state.total_steps)]
            self.held = torch.zeros_like(scores).index_fill_(0, best, 1.0)
        if self.held is not None:
            for (_, values), live in zip(self._values(), self.held.split(self.init_r)):
                values *= live.to(values)

    def _values(self) -> Iterator[tuple[str, Tensor]]:
        yield from ((name, adapter.tensors()["values"]) for name, adapter in self.layers.items())

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | ({} if self.held is None else {"held": self.held})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.held = state.get("held")
        super().load_state_dict({key: value for key, value in state.items() if key != "held"})
