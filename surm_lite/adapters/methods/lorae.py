"""LoRAE: one more linear layer at the waist of an autoencoder, with as low a rank as it can have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.options import check_choice, check_not_negative
from surm_lite.adapters.rewrite import Rewrite

INITS = ("uniform", "identity")


@dataclass
class LoRAE(Rewrite):
    """A square matrix after the last layer of an encoder, whose nuclear norm is paid for.

    ``W = M V`` and ``b = M b0``, with V a trained copy of W0 and M of size m x m; the loss gets ``nuclear ||M||_*``. So
    the latent space takes few dimensions: as many as M has singular values that are not small. Put it on the last
    linear layer of the encoder, ``targets="encoder.2"``, and train the rest of the autoencoder by ``keep``. When all is
    done M is part of that layer, and nothing is added to the model.

    Args:
        nuclear: weight of the nuclear norm.
        init: "uniform" starts M as torch does a linear layer, on ``(-1/sqrt(m), 1/sqrt(m))``, like the authors' code;
            "identity" starts at the base model, and finds fewer small directions.

    Raises:
        ValueError: nuclear is no finite number of at least 0, or init is neither "uniform" nor "identity".

    Cost:
        m (m + n) numbers, none of them after merging; a singular value decomposition of M a step.

    Example:
        >>> LoRAE().n_params(32, 64)
        3072

    Source:
        Mazumder et al. (2024), section 3, and the authors' code, which reports the loss with the penalty in it.

    Taught in:
        37_latent_space
    """

    name = "lorae"
    paper = "Mazumder et al. 2024, arXiv 2310.16194"
    exact_at_init = False
    lr = 3e-4

    nuclear: float = 1e-5
    init: str = "uniform"

    def __post_init__(self) -> None:
        check_not_negative(self.name, "nuclear", self.nuclear)
        check_choice(self.name, "init", self.init, INITS)

    def n_params(self, m: int, n: int) -> int:
        return m * (m + n)

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        m = len(weight)
        M = torch.eye(m) if self.init == "identity" else (torch.rand(m, m, generator=generator) * 2 - 1) / sqrt(m)
        return {"M": M, "full": weight.clone()}

    def whole(self, weight: Tensor, bias: Tensor | None, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        M = tensors["M"]
        return M @ tensors["full"], None if bias is None else M @ bias.to(M)

    def penalty(self, state: Any) -> Tensor | float:
        norms = [torch.linalg.matrix_norm(adapter.tensors()["M"], "nuc") for adapter in self.layers.values()]
        return self.nuclear * sum(norms)
