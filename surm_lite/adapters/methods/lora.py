"""LoRA: the low-rank update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from surm_lite.adapters.additive import Update
from surm_lite.adapters.base import Losses
from surm_lite.adapters.gradient import mean_gradients
from surm_lite.adapters.methods.lora_starts import STARTS
from surm_lite.adapters.options import check_choice, check_count, check_flag, check_number
from surm_lite.matrices import LowRank


@dataclass
class LoRA(Update):
    """A low-rank update.

    ``W = W0 + s B A`` with B of size m x r, A of size r x n and ``s = alpha / r``.

    A starts uniform on ``(-1/sqrt(n), 1/sqrt(n))``, as in the authors' code and in peft (the paper says Gaussian); B
    starts at zero, so A has no gradient in the very first step. The other starts B1, A1 are not zero, so their product
    is taken out of the weight: ``W = W0 - s B1 A1 + s B A``, which is W0 to the bit at first.

    Args:
        rank: r, at least 1. Where it is larger than what a start finds in the layer, the rest starts as "kaiming".
        alpha: numerator of the scale s. With a fixed alpha a learning rate found at one rank serves at another.
        rslora: divide alpha by sqrt(r) instead of r, which keeps large ranks from learning too slowly.
        init: "kaiming" as above. "pissa": s B1 A1 is the best approximation of W0 of rank r, ``U_r S_r V_r^T``, with
            ``B1 = U_r (S_r / s)^(1/2)``. "olora": B1 and A1 are the first columns and rows of the factors ``W0 = Q R``.
            "lora_ga": with ``G = U S V^T`` the mean gradient of the weight over ``adapt(losses=...)``, ``A1 = k V_r^T``
            and ``B1 = k`` times the columns r + 1 to 2 r of U, ``k = m^(1/4) / 4``. Rates that suit one start need not
            suit another: PiSSA's and OLoRA's factors are large, and want smaller ones.
        lr_ratio: LoRA+: the learning rate of B over that of A; its authors take 2 to 16.
        looked: "lora_ga": whether the look at the gradient was taken; ``adapt`` and a file say so.

    Raises:
        ValueError: rank is not an integer of at least 1, alpha is not finite, rslora is not a bool, init is unknown,
            lr_ratio is not a number above 0, alpha is not above 0 with "pissa", or the weight or gradient that a start
            factorises is not finite.

    Cost:
        r (m + n) numbers, twice as many in the file if init is not "kaiming", and the update then has rank 2r; O(r (m +
        n)) time a token. Starts from a factorisation: O(m n min(m, n)) once a layer, in float64, and again where a file
        is loaded; "lora_ga" a gradient of every weight a batch.

    Example:
        >>> LoRA(rank=4)
        LoRA(rank=4, alpha=8.0, rslora=False, init='kaiming', lr_ratio=1.0)

    Source:
        Hu et al., LoRA (2021), section 4.1; Kalajdzievski, rsLoRA (2023); Hayou et al., LoRA+ (2024); Meng et al.,
        PiSSA (2024); Büyükakyüz, OLoRA (2024); Wang et al., LoRA-GA (2024), whose B is not scaled by the singular
        values of the gradient, as peft's is.

    Taught in:
        18_lora_adapters, 21_finetune_vit, 33_let_the_gradient_choose
    """

    name = "lora"
    paper = "Hu et al. 2021, arXiv 2106.09685"
    lr = 3e-3

    rank: int = 8
    alpha: float = 8.0
    rslora: bool = False
    init: str = "kaiming"
    lr_ratio: float = 1.0
    looked: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        check_count(self.name, "rank", self.rank)
        for name in ("alpha", "lr_ratio"):
            check_number(self.name, name, getattr(self, name))
        for name in ("rslora", "looked"):
            check_flag(self.name, name, getattr(self, name))
        check_choice(self.name, "init", self.init, ("kaiming", *STARTS))
        if self.lr_ratio <= 0 or (self.init == "pissa" and self.alpha <= 0):
            name = "lr_ratio" if self.lr_ratio <= 0 else "alpha"
            raise ValueError(f"{name} of method {self.name!r} is {getattr(self, name)!r}; it must be above 0")

    @property
    def scale(self) -> float:
        """s."""
        return self.alpha / (sqrt(self.rank) if self.rslora else self.rank)

    def n_params(self, m: int, n: int) -> int:
        return self.rank * (m + n)

    def n_stored(self, m: int, n: int) -> int:
        return self.n_params(m, n) * (1 if self.init == "kaiming" else 2)  # the start too

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        yield from ({"rank": rank} for rank in range(1, min(m, n) + 1))

    def ready(self) -> bool:
        return self.looked or self.init != "lora_ga"

    def acts(self, hook: str) -> bool:
        idle = {"calibrate": self.init != "lora_ga", "param_groups": self.lr_ratio == 1}.get(hook, False)
        return super().acts(hook) and not (idle and getattr(type(self), hook) is getattr(LoRA, hook))

    def calibrate(self, model: nn.Module, layers: Mapping[str, nn.Module], losses: Losses) -> None:
        if self.init == "lora_ga":
            self.found, self.looked = mean_gradients(layers, losses), True

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        m, n = weight.shape
        bound = 1 / sqrt(n)
        A = torch.rand(self.rank, n, generator=generator) * (2 * bound) - bound
        B = torch.zeros(m, self.rank)
        if self.init == "kaiming":
            return {"A": A, "B": B}
        A, B = A.to(weight.dtype), B.to(weight.dtype)
        of = self.found.get(name) if self.init == "lora_ga" else weight
        if of is not None and not of.is_meta:  # None: a file, or a run to go on with, brings what the look found
            if not of.isfinite().all():
                what = "gradient" if self.init == "lora_ga" else "weight"
                raise ValueError(f"init of method {self.name!r} is {self.init!r}; the {what} is not finite")
            left, right = STARTS[self.init](of.cpu().double(), self.rank, self.scale)
            B[:, : left.shape[1]], A[: len(right)] = left, right
        return {"A": A, "B": B, "A1": nn.Buffer(A.clone()), "B1": nn.Buffer(B.clone())}

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> LowRank:
        A, B = tensors["A"], tensors["B"]
        if self.init != "kaiming":
            A1, B1 = tensors["A1"], tensors["B1"]
            # B A - B1 A1 as (B - B1) A + B1 (A - A1): at the start one factor of each is zero to the bit
            A, B = torch.cat([A, A - A1]), torch.cat([B - B1, B1], dim=1)
        return LowRank(self.scale * B, A)

    def param_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        if self.lr_ratio == 1:
            return []
        return [{"params": [a.tensors()["B"] for a in self.layers.values()], "lr_scale": self.lr_ratio}]
