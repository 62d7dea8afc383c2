"""DoRA: a magnitude for each output, and a direction that LoRA turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.methods.lora import LoRA
from surm_lite.adapters.options import check_choice, check_flag
from surm_lite.adapters.rewrite import Rewrite

AXES = {"out": 1, "in": 0}
"""What has a magnitude of its own -> the dimension over which its norm runs."""


@dataclass
class DoRA(Rewrite):
    """A trained magnitude times a direction that a low-rank update turns.

    ``W = diag(m) V / ||V||_rows`` with ``V = W0 + s B A`` and ``s = alpha / r``. m starts as the norms of the rows of
    W0 and B at zero, so that the first W is W0 to the bit. No gradient runs through the norm, as in the paper (section
    4.3); ``detach=False`` lets it: then V cannot grow along itself.

    Args:
        rank: r, at least 1.
        alpha: numerator of the scale s.
        rslora: divide alpha by sqrt(r) instead of r.
        axis: "out" (as peft and the authors' code have it) gives each row of W a magnitude, "in" (as the paper writes
            it) each column.
        detach: keep the norm out of the gradient.

    Raises:
        ValueError: an option that LoRA has too is wrong, axis is neither "out" nor "in", or detach is not a bool.

    Cost:
        r (m + n) + m numbers (or + n); W is formed in every forward, O(m n r) beside the product with x.

    Example:
        >>> DoRA(rank=4).n_params(8, 6)
        64

    Source:
        Liu et al. (2024), sections 4.1 and 4.3.

    Taught in:
        29_magnitude_direction
    """

    name = "dora"
    paper = "Liu et al. 2024, arXiv 2402.09353"
    lr = 1e-3

    rank: int = 8
    alpha: float = 8.0
    rslora: bool = False
    axis: str = "out"
    detach: bool = True

    def __post_init__(self) -> None:
        self._lora()
        check_choice(self.name, "axis", self.axis, AXES)
        check_flag(self.name, "detach", self.detach)

    def _lora(self) -> LoRA:
        """The update of the direction."""
        return LoRA(self.rank, self.alpha, self.rslora)

    def n_params(self, m: int, n: int) -> int:
        return self._lora().n_params(m, n) + (m if self.axis == "out" else n)

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        return self._lora().sizes(m, n)

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        magnitude = torch.linalg.vector_norm(weight, dim=AXES[self.axis])
        return {**self._lora().begin(name, weight, generator), "magnitude": magnitude}

    def whole(self, weight: Tensor, bias: Tensor | None, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        m, n = weight.shape
        V = weight + self._lora().operator(m, n, tensors).to_dense()
        dim = AXES[self.axis]
        c = torch.linalg.vector_norm(V, dim=dim)
        c = (c.detach() if self.detach else c).clamp_min(torch.finfo(c.dtype).tiny)  # a row of zeros stays one
        # (m / c) V, in this order, is V to the bit where m equals c; m V / c is not.
        return (tensors["magnitude"] / c).unsqueeze(dim) * V, bias
