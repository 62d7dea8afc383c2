"""SURM's other use of a structured matrix: a small non-linear layer behind the frozen one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..matrices import StructuredMatrix
from .additive import Update
from .base import Adapter, Method, near
from .circulant import CirculantUpdate
from .kronecker import KroneckerUpdate
from .ldr import LDRUpdate
from .lora import LoRA
from .toeplitz import SymmetricToeplitzUpdate, ToeplitzUpdate

STRUCTURES: dict[str, type[Update]] = {
    update.name: update
    for update in (CirculantUpdate, ToeplitzUpdate, SymmetricToeplitzUpdate, KroneckerUpdate, LDRUpdate, LoRA)
}


@dataclass
class Bottleneck(Method):
    """A structured adapter behind a frozen layer.

    ``y' = y + gelu(S y) + c`` with y the frozen layer's output and S a structured m x m matrix. It starts as the
    identity, because S starts at zero and c too.

    The non-linearity comes after all of S, so the adapter cannot be merged. It has to have a slope at zero: GELU has
    1/2. With ReLU the pre-activation starts at exactly 0, where the slope is 0, and nothing would ever train.

    Args:
        structure: what S is, by the name of a method: "circulant", "toeplitz", "symmetric_toeplitz", "kronecker",
            "ldr" or "lora" (low rank; Houlsby puts the non-linearity between the two factors), each with its
            default options.
        activation: only "gelu".

    Raises:
        ValueError: structure is unknown, or activation is not "gelu".

    Cost:
        the numbers of S on an m x m layer, and m for c; one product with S a token, at inference too.

    Example:
        >>> Bottleneck("circulant")
        Bottleneck(structure='circulant', activation='gelu')

    Source:
        SURM, section 5.2; Houlsby et al. (2019). Use it on the attention and MLP output projections.

    Taught in:
        18_lora_adapters, 21_finetune_vit
    """

    name = "bottleneck"
    paper = "Houlsby et al. 2019, arXiv 1902.00751; Sehanobish et al. 2024 (SURM), arXiv 2406.17740"
    mergeable = False
    lr = 1e-3

    structure: str = "circulant"
    activation: str = "gelu"

    def __post_init__(self) -> None:
        if self.structure not in STRUCTURES:
            raise ValueError(near(f"structure of method {self.name!r}", str(self.structure), STRUCTURES))
        if self.activation != "gelu":
            reason = " (its slope at 0 is 0, so an adapter that starts at zero would never train)"
            raise ValueError(
                f"activation of method {self.name!r} is {self.activation!r}"
                f"{reason if self.activation == 'relu' else ''}; it must be 'gelu'"
            )

    def n_params(self, m: int, n: int) -> int:
        return STRUCTURES[self.structure]().n_params(m, m) + m

    def wrap(self, name: str, layer: nn.Linear | Adapter, generator: torch.Generator) -> Behind:
        m = layer.out_features
        update = STRUCTURES[self.structure]()
        return Behind(layer, self, update, update.start(m, m, generator))


class Behind(Adapter):
    """``y' = y + gelu(S y) + c``, y the output of the base layer."""

    def __init__(
        self, base_layer: nn.Linear | Adapter, method: Bottleneck, update: Update, tensors: Mapping[str, Tensor]
    ) -> None:
        super().__init__(base_layer, method)
        self.update = update
        like = self.linear.weight
        for name, tensor in tensors.items():
            self.register_parameter(name, nn.Parameter(tensor.to(like.device, like.dtype)))
        self.offset = nn.Parameter(torch.zeros(self.out_features, dtype=like.dtype, device=like.device))

    def operator(self) -> StructuredMatrix:
        """S, over this adapter's parameters."""
        tensors = {k: p for k, p in self.named_parameters(recurse=False) if k != "offset"}
        return self.update.operator(self.out_features, self.out_features, tensors)

    def weight(self) -> Tensor:
        raise ValueError("a bottleneck adapter is not linear in x: there is no single weight that does what it does")

    def forward(self, x: Tensor) -> Tensor:
        y, S = self.base_layer(x), self.operator()
        return y + (F.gelu(S.apply(y.to(S.dtype))) + self.offset).to(y.dtype)
