"""SURM's other use of a structured matrix: a small non-linear layer behind the frozen one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surm_lite.adapters import frozen
from surm_lite.adapters.additive import Update
from surm_lite.adapters.base import Adapter, Method
from surm_lite.adapters.methods.circulant import CirculantUpdate
from surm_lite.adapters.methods.kronecker import KroneckerUpdate
from surm_lite.adapters.methods.ldr import LDRUpdate
from surm_lite.adapters.methods.lora import LoRA
from surm_lite.adapters.methods.toeplitz import SymmetricToeplitzUpdate, ToeplitzUpdate
from surm_lite.adapters.options import check_choice
from surm_lite.matrices import StructuredMatrix

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
        check_choice(self.name, "structure", self.structure, STRUCTURES)
        if not isinstance(self.activation, str) or self.activation != "gelu":
            reason = " (its slope at 0 is 0, so an adapter that starts at zero would never train)"
            raise ValueError(
                f"activation of method {self.name!r} is {self.activation!r}"
                f"{reason if self.activation == 'relu' else ''}; it must be 'gelu'"
            )

    def n_params(self, m: int, n: int) -> int:
        return STRUCTURES[self.structure]().n_params(m, m) + m

    def wrap(self, name: str, layer: nn.Module, generator: torch.Generator) -> Behind:
        m = frozen.shape(layer.linear if isinstance(layer, Adapter) else layer)[0]
        # S is a map of the layer's output to itself: what stands there so far is the identity.
        tensors = STRUCTURES[self.structure]().begin(name, torch.eye(m), generator)
        return Behind(layer, self, {**tensors, "offset": torch.zeros(m)})


class Behind(Adapter):
    """``y' = y + gelu(S y) + c``, y the output of the base layer."""

    method: Bottleneck

    def operator(self) -> StructuredMatrix:
        """S, over this adapter's tensors."""
        return STRUCTURES[self.method.structure]().operator(self.out_features, self.out_features, self.tensors())

    @property
    def weight(self) -> Tensor:
        """Shape, dtype, and no numbers: the adapter is not linear in x, so no single weight does what it does."""
        return torch.empty(self.out_features, self.in_features, dtype=frozen.weight(self.linear).dtype, device="meta")

    def forward(self, x: Tensor) -> Tensor:
        y, S = self.base(x), self.operator()
        return y + (F.gelu(S.apply(y.to(S.dtype))) + self.tensors()["offset"]).to(y.dtype)
