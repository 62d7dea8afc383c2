"""Cuttlefish: full rank until the ranks of the weights stand still, then two factors."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from surm_lite.adapters.factored import Factored, that_pays
from surm_lite.adapters.options import check_count, check_flag, check_not_negative


@dataclass
class Cuttlefish(Factored):
    """A weight that trains whole until its rank stands still, and from then on as two factors of that rank.

    The stable rank is ``sr(W) = ||W||_F^2 / s_1^2``. After each epoch it is looked at, and once it has become flat in
    all layers, each becomes ``B A`` by its singular value decomposition, ``B = U sqrt(S)`` and ``A = sqrt(S) V^T``, of
    rank ``xi sr(W)`` rounded up, with ``xi = min(m, n) / sr(W0)``; a layer where that has no fewer numbers stays whole.
    Flat: over ``window`` epochs the exponential average (weight ``2 / (window + 1)``) changes by at most the share
    ``eps`` an epoch. A run that never becomes flat is never cut. The factors get the decay ``decay / 2 ||B A||_F^2`` in
    place of a weight decay; the optimiser knows nothing of them when it begins.

    Args:
        epoch: cut after this epoch instead of when flat.
        window: epochs that are looked at, at least 1.
        eps: what counts as flat.
        scaled: False takes ``sr(W)`` itself as the rank, much smaller on narrow layers.
        decay: of the product of the factors.
        ranks: rank of each layer by name, None for one that stays whole; training decides it.

    Raises:
        ValueError: a number out of range.

    Cost:
        m n numbers until the cut, then r (m + n); a norm of each weight an epoch.

    Example:
        >>> Cuttlefish(ranks={"0": 2}).of("0").n_deployed(10, 10)
        -60

    Source:
        Wang et al. (2023) and the authors' code, which rounds stable ranks down and thus takes noise for movement: here
        they are not rounded, and eps is relative.

    Taught in:
        35_low_rank_while_training
    """

    name = "cuttlefish"
    paper = "Wang et al. 2023, arXiv 2305.02538"
    lr = 3e-4

    epoch: int | None = None
    window: int = 5
    eps: float = 0.02
    scaled: bool = True
    decay: float = 1e-4

    history: dict[str, list[float]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The stable rank of each layer after each epoch."""

    def __post_init__(self) -> None:
        if self.epoch is not None:
            check_count(self.name, "epoch", self.epoch)
        check_count(self.name, "window", self.window)
        check_flag(self.name, "scaled", self.scaled)
        for name in ("eps", "decay"):
            check_not_negative(self.name, name, getattr(self, name))

    def param_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        factors = [t for adapter in self.layers.values() for key, t in adapter.tensors().items() if key in ("B", "A")]
        return [{"params": factors, "lr_scale": 1.0, "weight_decay": 0.0}] if factors else []

    def after_backward(self, state: Any) -> None:
        for adapter in self.layers.values():
            thin = adapter.factors()
            if thin is not None and thin[0].grad is not None and thin[1].grad is not None:
                B, A = (factor.detach() for factor in thin)
                thin[0].grad += self.decay * B @ (A @ A.mT)
                thin[1].grad += self.decay * (B.mT @ B) @ A

    def after_epoch(self, state: Any) -> bool:
        if self.ranks is not None:
            return False
        if state.epoch == 1:  # a new run, also where the model was trained before
            self.history.clear()
        weights = {name: adapter.tensors()["full"].detach() for name, adapter in self.layers.items()}
        for name, W in weights.items():
            self.history.setdefault(name, []).append(stable_rank(W))
        still = all(is_flat(series, self.window, self.eps) for series in self.history.values())
        if not (still if self.epoch is None else state.epoch >= self.epoch):
            return False
        ranks: dict[str, int | None] = {}
        for name, W in weights.items():
            xi = min(W.shape) / stable_rank(self.layers[name].below()[0].detach()) if self.scaled else 1.0
            rank = ceil(xi * self.history[name][-1] - 1e-4)  # rounding errors do not make a whole number one larger
            ranks[name] = that_pays(min(rank, *W.shape), *W.shape)
        self.cut(ranks)
        return any(rank is not None for rank in ranks.values())

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.history = {name: list(series) for name, series in state["history"].items()}


def stable_rank(W: Tensor) -> float:
    """``||W||_F^2 / s_1^2``: from 1, where W has rank 1 or is zero, to min(m, n), where it is orthogonal."""
    largest = torch.linalg.matrix_norm(W, 2).item()
    return (torch.linalg.matrix_norm(W).item() / largest) ** 2 if largest else 1.0


def is_flat(series: list[float], window: int, eps: float) -> bool:
    """Whether the exponential average has changed by at most a share eps an epoch, on the mean over the last ones."""
    if len(series) <= window:
        return False
    mean, averages = series[0], [series[0]]
    for value in series[1:]:
        mean += 2 / (window + 1) * (value - mean)
        averages.append(mean)
    changes = [abs(b - a) for a, b in zip(averages[-window - 1 :], averages[-window:])]
    return sum(changes) / window <= eps * mean
