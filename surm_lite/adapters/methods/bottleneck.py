"""A small non-linear layer behind the frozen one: Houlsby's and Pfeiffer's adapters, and SURM's structured form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any

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
from surm_lite.adapters.options import check_choice, check_count
from surm_lite.matrices import StructuredMatrix

STRUCTURES: dict[str, type[Update]] = {
    update.name: update
    for update in (CirculantUpdate, ToeplitzUpdate, SymmetricToeplitzUpdate, KroneckerUpdate, LDRUpdate, LoRA)
}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu}


@dataclass
class Bottleneck(Method):
    """An adapter behind a frozen layer.

    With y the frozen layer's output: ``y' = y + U f(D y + a) + c`` with D of size k x m, U of size m x k and ``k = m /
    reduction`` rounded down ("dense"), or ``y' = y + gelu(S y) + c`` with S a structured m x m matrix. It starts as the
    identity, because U or S start at zero, and c too; D starts uniform on ``(-1/sqrt(m), 1/sqrt(m))``.

    The non-linearity comes after all of S, so the adapter cannot be merged; and there it has to have a slope at zero:
    GELU has 1/2. With ReLU the pre-activation starts at exactly 0, where the slope is 0, and nothing would ever train.
    In the dense form it stands between two factors, of which the inner one does not start at zero, and ReLU will do.

    Where the adapters stand is said by ``targets``: behind the projections of attention and MLP as Houlsby has them,
    ``("attn.proj", "mlp.fc2")`` in a ViT, behind those of the MLP alone as Pfeiffer has them, ``"mlp.fc2"``.

    Args:
        structure: "dense", or what S is, by the name of a method: "circulant", "toeplitz", "symmetric_toeplitz",
            "kronecker", "ldr" or "lora" (low rank), each with its default options.
        activation: "gelu", or "relu" with "dense".
        reduction: "dense": how many times narrower the bottleneck is than the output; None takes 16. k is at least 1.

    Raises:
        ValueError: structure is unknown, activation is none that it can have, or reduction is no integer of at least 1
            or given with a structure that has no bottleneck.

    Cost:
        "dense": 2 k m + k + m numbers; else the numbers of S on an m x m layer, and m for c. One product with D and U,
        or with S, a token, at inference too.

    Example:
        >>> Bottleneck("circulant")
        Bottleneck(structure='circulant', activation='gelu', reduction=None)
        >>> Bottleneck("dense", reduction=96).n_params(768, 3072)
        13064

    Source:
        SURM, section 5.2; Houlsby et al. (2019), section 2; Pfeiffer et al. (2020).

    Taught in:
        18_lora_adapters, 43_adapters_for_text
    """

    name = "bottleneck"
    paper = "Houlsby et al. 2019, arXiv 1902.00751; Sehanobish et al. 2024 (SURM), arXiv 2406.17740"
    mergeable = False
    lr = 1e-2

    structure: str = "circulant"
    activation: str = "gelu"
    reduction: int | None = None

    def __post_init__(self) -> None:
        check_choice(self.name, "structure", self.structure, ("dense", *STRUCTURES))
        if not isinstance(self.activation, str) or self.activation not in (ACTIVATIONS if self.dense else ("gelu",)):
            dead = self.activation == "relu"
            reason = " (its slope at 0 is 0, so an adapter that starts at zero would never train)" if dead else ""
            allowed = "'gelu' or 'relu'" if self.dense else "'gelu'"
            raise ValueError(f"activation of method {self.name!r} is {self.activation!r}{reason}; it must be {allowed}")
        if self.reduction is not None:
            check_count(self.name, "reduction", self.reduction)
            if not self.dense:
                raise ValueError(
                    f"reduction of method {self.name!r} is {self.reduction!r}; structure {self.structure!r} has no "
                    "bottleneck, so it must be None"
                )

    @property
    def dense(self) -> bool:
        """Whether two dense layers stand behind the frozen one."""
        return self.structure == "dense"

    def _width(self, m: int) -> int:
        """k."""
        return max(1, m // (16 if self.reduction is None else self.reduction))

    def n_params(self, m: int, n: int) -> int:
        if self.dense:
            return 2 * self._width(m) * m + self._width(m) + m
        return STRUCTURES[self.structure]().n_params(m, m) + m

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        if not self.dense:
            yield {}
            return
        yield from ({"reduction": d} for d in range(m, 0, -1) if d == m or m // d > m // (d + 1))

    def wrap(self, name: str, layer: nn.Module, generator: torch.Generator) -> Behind:
        m = frozen.shape(layer.linear if isinstance(layer, Adapter) else layer)[0]
        return Behind(layer, self, {**self._begin(name, m, generator), "offset": torch.zeros(m)})

    def _begin(self, name: str, m: int, generator: torch.Generator) -> dict[str, Tensor]:
        if not self.dense:
            # S is a map of the layer's output to itself: what stands there so far is the identity.
            return STRUCTURES[self.structure]().begin(name, torch.eye(m), generator)
        k = self._width(m)
        down = (torch.rand(k, m, generator=generator) * 2 - 1) / sqrt(m)
        return {"down": down, "inner": torch.zeros(k), "up": torch.zeros(m, k)}


class Behind(Adapter):
    """``y' = y + U f(D y + a) + c`` or ``y' = y + gelu(S y) + c``, y the output of the base layer."""

    method: Bottleneck

    def operator(self) -> StructuredMatrix:
        """S, over this adapter's tensors."""
        return STRUCTURES[self.method.structure]().operator(self.out_features, self.out_features, self.tensors())

    @property
    def weight(self) -> Tensor:
        """Shape, dtype, and no numbers: the adapter is not linear in x, so no single weight does what it does."""
        return torch.empty(self.out_features, self.in_features, dtype=frozen.weight(self.linear).dtype, device="meta")

    def forward(self, x: Tensor) -> Tensor:
        y, tensors, f = self.base(x), self.tensors(), ACTIVATIONS[self.method.activation]
        wide = y.to(tensors["offset"].dtype)
        if self.method.dense:
            change = F.linear(f(F.linear(wide, tensors["down"], tensors["inner"])), tensors["up"], tensors["offset"])
        else:
            change = f(self.operator().apply(wide)) + tensors["offset"]
        return y + change.to(y.dtype)
