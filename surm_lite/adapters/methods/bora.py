"""BoRA: a magnitude for each output and one for each input, and a direction that LoRA turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.methods.lora import LoRA
from surm_lite.adapters.options import check_flag
from surm_lite.adapters.rewrite import Rewrite


@dataclass
class BoRA(Rewrite):
    """DoRA on both sides: rows get a trained length, then columns do.

    ``W = H diag(m_c) / ||H||_columns`` with ``H = diag(m_r) V / ||V||_rows``, ``V = W0 + s B A`` and ``s = alpha / r``.
    m_r and m_c start as the norms of the rows and of the columns of W0 and B at zero, so that the first W is W0 to the
    bit. Columns come last: they have the lengths m_c, and rows do not have m_r.

    A common factor of all of m_r changes nothing. With ``detach=True``, where no gradient runs through either norm, the
    gradient pushes along that idle direction all the same; with ``detach=False`` it does not.

    Args:
        rank: r, at least 1.
        alpha: numerator of the scale s.
        rslora: divide alpha by sqrt(r) instead of r.
        detach: keep the norms out of the gradient, as DoRA does.

    Raises:
        ValueError: an option that LoRA has too is wrong, or detach is not a bool.

    Cost:
        r (m + n) + m + n numbers; W is formed in every forward, O(m n r) beside the product with x.

    Example:
        >>> BoRA(rank=4).n_params(8, 6)
        70

    Source:
        Wang et al. (2024), by way of an independent implementation that states the formula; whether the authors detach
        the norms we could not confirm. Two other methods share the name.

    Taught in:
        29_magnitude_direction
    """

    name = "bora"
    paper = "Wang et al. 2024, arXiv 2412.06441"
    lr = 1e-3  # that of DoRA

    rank: int = 8
    alpha: float = 8.0
    rslora: bool = False
    detach: bool = True

    def __post_init__(self) -> None:
        self._lora()
        check_flag(self.name, "detach", self.detach)

    def _lora(self) -> LoRA:
        """The update of the direction."""
        return LoRA(self.rank, self.alpha, self.rslora)

    def n_params(self, m: int, n: int) -> int:
        return self._lora().n_params(m, n) + m + n

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        return self._lora().sizes(m, n)

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        norms = {"rows": torch.linalg.vector_norm(weight, dim=1), "columns": torch.linalg.vector_norm(weight, dim=0)}
        return {**self._lora().begin(name, weight, generator), **norms}

    def whole(self, weight: Tensor, bias: Tensor | None, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        m, n = weight.shape
        V = weight + self._lora().operator(m, n, tensors).to_dense()
        H = self._lengthened(V, tensors["rows"], dim=1)
        return self._lengthened(H, tensors["columns"], dim=0), bias

    def _lengthened(self, V: Tensor, lengths: Tensor, dim: int) -> Tensor:
        """V with these norms along ``dim``: V to the bit where they are its norms; what is zero stays zero."""
        c = torch.linalg.vector_norm(V, dim=dim)
        c = (c.detach() if self.detach else c).clamp_min(torch.finfo(c.dtype).tiny)
        return (lengths / c).unsqueeze(dim) * V
