"""LoRA-Pro: LoRA whose steps move the weight as nearly as they can along the full gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.methods.lora import LoRA
from surm_lite.adapters.options import check_choice

VARIANTS = ("adam", "efficient", "sgd")
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  # torch's defaults of Adam


@dataclass
class LoRAPro(LoRA):
    """LoRA whose steps move the weight as nearly as they can along the full gradient.

    ``W = W0 + s B A`` as in LoRA. A step (a, b) of (A, B) moves W by ``s (B a + b A)`` to first order. Of all steps
    LoRA-Pro takes those with the smallest ``||s (B a + b A) - G||``: W moves along the projection of its gradient G on
    the tangent space of the matrices of rank r, ``P_B G + G P_A - P_B G P_A``. They follow from the gradients
    ``g_A = s B^T G`` and ``g_B = s G A^T`` alone:

        a = (B^T B)^-1 g_A / s^2 + X A,    b = (I - P_B) g_B (A A^T)^-1 / s^2 - B X,

    where X moves nothing to first order, and is chosen so that a and b are as near to g_A and g_B as may be.

    The tensors move by this step, not by that of an optimiser: ``clip`` and a weight decay are refused, and
    ``lr_ratio`` is no option. From another start than "kaiming" P_B is not zero in the first step either.

    Args:
        rank: r, at least 1.
        alpha: numerator of the scale s.
        rslora: divide alpha by sqrt(r) instead of r.
        init, looked: where A and B start, as in LoRA.
        variant: "adam" keeps Adam's averages of the projected gradient, m x n each, and projects Adam's direction once
            more (the paper's); "efficient" is Adam on a and b; "sgd" takes a and b themselves.

    Raises:
        ValueError: an option that LoRA has too is wrong, alpha is zero, or variant is none of the three.

    Cost:
        r (m + n) numbers, and a file as in LoRA; while training, two numbers more for each entry of W ("adam") or for
        each trained one ("efficient"); O(r m n) ("adam") or O(r^2 (m + n)) time a step.

    Example:
        >>> LoRAPro(rank=4).n_params(768, 768)
        6144

    Source:
        Wang et al. (2024), theorems 2.1 to 2.3, and the authors' code, without its scale that is always 2.

    Taught in:
        34_follow_the_gradient
    """

    name = "lorapro"
    paper = "Wang et al. 2024, arXiv 2407.18242"
    steps_itself = True
    lr = 3e-4

    variant: str = "adam"
    lr_ratio: float = field(default=1.0, init=False, repr=False)
    """No option: a step says how far A and B go."""

    moments: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Adam's averages, by layer: only a resumed run needs them."""
    steps: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What A and B are to move by, before the learning rate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.alpha:
            raise ValueError(f"alpha of method {self.name!r} is {self.alpha!r}; it must not be zero")
        check_choice(self.name, "variant", self.variant, VARIANTS)

    def after_backward(self, state: Any) -> None:
        if state.step == 0:  # a new run, also where the model was trained before
            self.moments.clear()
        self.steps.clear()
        for name, A, B in self._trained():
            if A.grad is None or B.grad is None:
                continue
            a, b = tangent_step(A, B, A.grad, B.grad, self.scale)
            if self.variant == "adam":
                g = self._adam(name, self.scale * (B.detach() @ a + b @ A.detach()), state.step)
                a, b = tangent_step(A, B, self.scale * B.detach().mT @ g, self.scale * g @ A.detach().mT, self.scale)
            elif self.variant == "efficient":
                a, b = self._adam(f"{name}/A", a, state.step), self._adam(f"{name}/B", b, state.step)
            self.steps[name] = a, b
            A.grad = B.grad = None

    def after_step(self, state: Any) -> None:
        with torch.no_grad():
            for name, A, B in self._trained():
                for tensor, step in zip((A, B), self.steps.get(name, ())):
                    tensor -= state.lr * step

    def _trained(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        for name, adapter in self.layers.items():
            yield name, adapter.tensors()["A"], adapter.tensors()["B"]

    def _adam(self, name: str, g: Tensor, step: int) -> Tensor:
        """The direction that Adam makes of a gradient in this step; its averages are kept under a name."""
        averages = []
        for key, beta, value in ((f"{name}/first", BETA1, g), (f"{name}/second", BETA2, g.square())):
            old = self.moments.get(key, torch.zeros_like(g)).to(g)
            self.moments[key] = beta * old + (1 - beta) * value
            averages.append(self.moments[key] / (1 - beta ** (step + 1)))
        return averages[0] / (averages[1].sqrt() + EPS)

    def state_dict(self) -> dict[str, Any]:
        return dict(self.moments)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.moments = dict(state)


@torch.no_grad()
def tangent_step(A: Tensor, B: Tensor, g_A: Tensor, g_B: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The step (a, b) of A and B that moves ``scale B A`` by the projection of the full gradient.

    The r x r algebra is in float64, which ``B^T B`` needs where columns of B are nearly parallel, and without a jitter
    on its diagonal, which would outweigh ``B^T B`` after the first step. Where B (or A) has not full rank, as B = 0 at
    the start, the inverse is the pseudo-inverse.

    Args:
        A, B: (r, n) and (m, r).
        g_A, g_B: their gradients.
        scale: s, not zero.

    Returns:
        a and b, as A and B in shape and dtype.
    """
    A2, B2, gA, gB = (t if t.device.type == "mps" else t.double() for t in (A, B, g_A / scale**2, g_B / scale**2))
    # Where A or B is not finite, eigh would raise before the run has named the step whose loss is not.
    (p, U), (q, V) = (torch.linalg.eigh(gram.nan_to_num(0, 0, 0)) for gram in (B2.mT @ B2, A2 @ A2.mT))
    p, q, over_p, over_q = *(e.clamp_min(0) for e in (p, q)), _inverse(p), _inverse(q)
    a = (U * over_p) @ (U.mT @ gA)  # (B^T B)^+ g_A / s^2
    b = gB @ (V * over_q) @ V.mT
    b = b - B2 @ ((U * over_p) @ (U.mT @ (B2.mT @ b)))
    # B^T B X + X A A^T = -a A^T: a division in the two eigenbases, where not both have a kernel.
    X = U @ (-(U.mT @ (a @ A2.mT) @ V) * _inverse(p[:, None] + q)) @ V.mT
    return (a + X @ A2).to(A), (b - B2 @ X).to(B)


def _inverse(e: Tensor) -> Tensor:
    """1 / e, and 0 for numbers that rounding has made of zero."""
    return torch.where(e > len(e) * torch.finfo(e.dtype).eps * e.max(), 1 / e, 0.0)
