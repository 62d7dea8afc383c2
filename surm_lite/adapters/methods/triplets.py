"""What AdaLoRA and ElaLoRA share: an update in the form of a singular value decomposition, and what each part is worth.

A triplet is a column of P, a number and a row of Q.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.additive import Update
from surm_lite.adapters.options import check_not_negative, check_number, check_share
from surm_lite.matrices import LowRank

STD = 0.02
"""Of the entries of P and Q at the start, in the authors' code and in peft."""


@dataclass
class Triplets(Update, ABC):
    """``W = W0 + (alpha / r) P diag(values) Q``; ``live``, where a method has it, switches triplets off."""

    needs = ("total_steps",)

    alpha: float = field(default=16.0, kw_only=True)
    beta1: float = field(default=0.85, kw_only=True)
    beta2: float = field(default=0.85, kw_only=True)
    orth_reg_weight: float = field(default=0.5, kw_only=True)

    averages: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Moving averages of every trained number's sensitivity and of its spread; only a resumed run needs them."""

    def __post_init__(self) -> None:
        check_number(self.name, "alpha", self.alpha)
        check_not_negative(self.name, "orth_reg_weight", self.orth_reg_weight)
        for name in ("beta1", "beta2"):
            check_share(self.name, name, getattr(self, name))

    def start(self, weight: Tensor, rank: int, generator: torch.Generator) -> dict[str, Tensor]:
        """P and Q drawn, all numbers zero."""
        m, n = weight.shape
        P, Q = (STD * torch.randn(shape, generator=generator) for shape in ((m, rank), (rank, n)))
        return {"P": P, "values": torch.zeros(rank), "Q": Q}

    def summed(self, scale: float, tensors: Mapping[str, Tensor]) -> LowRank:
        values = scale * tensors["values"]
        return LowRank(tensors["P"] * (values * tensors["live"] if "live" in tensors else values), tensors["Q"])

    def penalty(self, state: Any) -> Tensor | float:
        """The mean over all P and Q of how far their columns, or rows, are from orthonormal ones."""
        norms = []
        for tensors in (adapter.tensors() for adapter in self.layers.values()):
            live = tensors["live"] if "live" in tensors else torch.ones_like(tensors["values"])
            for thin in (tensors["P"] * live, tensors["Q"].mT * live):
                norms.append(torch.linalg.matrix_norm(thin.mT @ thin - live.diag()))
        return self.orth_reg_weight * sum(norms) / len(norms) if norms else 0.0

    @torch.no_grad()
    def observe(self, state: Any) -> None:
        """Takes in how much every number mattered in this step: ``|w dL/dw|``, with the new w, as the codes do."""
        if state.step == 1:  # a new run, also where the model was trained before
            self.averages.clear()
        for key, p in self._trained():
            if p.grad is not None:
                now, zero = (p * p.grad).abs(), torch.zeros_like(p)
                mean = self.beta1 * self.averages.get(f"{key}/mean", zero).to(p) + (1 - self.beta1) * now
                spread = self.averages.get(f"{key}/spread", zero).to(p)
                self.averages[f"{key}/spread"] = self.beta2 * spread + (1 - self.beta2) * (now - mean).abs()
                self.averages[f"{key}/mean"] = mean

    def worth(self, name: str) -> Tensor:
        """The importance of each triplet of a layer, shape (r,): of its number, and the means over its two vectors."""
        P, values, Q = (self._worth(f"{name}/{key}", t) for key, t in self._of(name))
        return values + P.mean(0) + Q.mean(1)

    def _worth(self, key: str, like: Tensor) -> Tensor:
        zero = torch.zeros_like(like)
        return (self.averages.get(f"{key}/mean", zero) * self.averages.get(f"{key}/spread", zero)).to(like)

    def _of(self, name: str) -> list[tuple[str, Tensor]]:
        tensors = self.layers[name].tensors()
        return [(key, tensors[key]) for key in ("P", "values", "Q")]

    def _trained(self) -> Iterator[tuple[str, Tensor]]:
        yield from ((f"{name}/{key}", tensor) for name in self.layers for key, tensor in self._of(name))

    def state_dict(self) -> dict[str, Any]:
        return dict(self.averages)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.averages = dict(state)

    def check_shares(self, before: str, after: str) -> None:
        """ValueError unless these two options are shares of all steps that leave a step between them."""
        shares = getattr(self, before), getattr(self, after)
        for name, share in zip((before, after), shares):
            check_share(self.name, name, share)
        if sum(shares) >= 1:
            raise ValueError(
                f"{before} and {after} of method {self.name!r} are {shares[0]} and {shares[1]}; "
                "they are shares of all steps, and their sum must be below 1"
            )
