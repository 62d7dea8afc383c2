"""LoRD: one cut to low rank, where the outputs of a layer have least."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from surm_lite.adapters import frozen
from surm_lite.adapters.base import Adapter, Losses
from surm_lite.adapters.factored import Factored, Thin
from surm_lite.adapters.options import check_count


@dataclass
class LoRD(Factored):
    """Two thin layers in place of one, chosen by what the layer puts out on training data.

    With mean mu and covariance C of the outputs y of a layer, and U_r the first r eigenvectors of C, ``W = B A`` with
    ``B = U_r`` and ``A = U_r^T W0``; the bias becomes ``U_r U_r^T b0 + (I - U_r U_r^T) mu``. Of all that project the
    outputs on r dimensions this has the least error on the data: the sum of the other eigenvalues. A layer without a
    bias keeps none; then ``C = E[y y^T]``. Factors and bias can be trained on; ``thin(model)`` makes them layers.

    Args:
        rank: r; min(m, n) bounds it.
        ranks: rank of each layer by name. None: decided by ``adapt(losses=...)``; a file says it.
        centred: the layers that got a bias; found with ``ranks``.

    Raises:
        ValueError: rank is no integer of at least 1, a layer that ``ranks`` does not name, or one that the training
            batches never reach.

    Cost:
        r (m + n) + m numbers, fewer than m n for r below about m n / (m + n); once, a forward of every batch and an
        eigendecomposition of each C.

    Example:
        >>> LoRD(rank=32).n_params(128, 128)
        8320

    Source:
        Kaushal, Vaidhya and Rish (2023), and atomic feature mimicking, Yu and Wu (2023), which it applies; that the
        paper itself centres is not confirmed.

    Taught in:
        36_cut_once
    """

    name = "lord"
    paper = "Kaushal et al. 2023, arXiv 2309.14021"
    needs = ("losses",)
    exact_at_init = False
    lr = 3e-4

    rank: int = 32
    centred: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        check_count(self.name, "rank", self.rank)

    def ready(self) -> bool:
        return self.ranks is not None

    def of(self, name: str) -> Thin:
        return Thin((self.ranks or {}).get(name) or self.rank, bias=name in self.centred)

    def n_params(self, m: int, n: int) -> int:
        return Thin(min(self.rank, m, n), bias=True).n_params(m, n)

    def n_deployed(self, m: int, n: int) -> int:
        return Thin(min(self.rank, m, n)).n_deployed(m, n)

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        yield from ({"rank": r} for r in range(1, min(m, n) + 1))

    @torch.no_grad()
    def calibrate(self, model: nn.Module, layers: Mapping[str, nn.Module], losses: Losses) -> None:
        outputs = {name: _Outputs(layer) for name, layer in layers.items()}
        hooks = [layer.register_forward_hook(outputs[name].take) for name, layer in layers.items()]
        try:
            for loss in losses:
                loss()
        finally:
            for hook in hooks:
                hook.remove()
        unseen = [name for name, seen in outputs.items() if not seen.count]
        if unseen:
            raise ValueError(f"losses: no batch reaches {unseen[0]}, so there is no output to go by")
        self.ranks = {name: min(self.rank, *seen.shape) for name, seen in outputs.items()}
        self.centred = tuple(name for name, seen in outputs.items() if seen.bias is not None)
        self.found = {name: seen.directions(min(self.rank, *seen.shape)) for name, seen in outputs.items()}

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        if name in self.found:
            U, offset = self.found[name]
            tensors = {"B": U.to(weight), "A": U.to(weight).mT @ weight}
        else:  # from a file, which has the numbers
            tensors, offset = super().begin(name, weight, generator), torch.zeros(len(weight))
        return {**tensors, "offset": offset.to(weight)} if name in self.centred else tensors

    def whole(self, weight: Tensor, bias: Tensor | None, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        return tensors["B"] @ tensors["A"], tensors.get("offset", bias)


class _Outputs:
    """Sums over the outputs of a layer."""

    def __init__(self, layer: nn.Module) -> None:
        linear: Any = layer.linear if isinstance(layer, Adapter) else layer
        self.shape = frozen.shape(linear)
        self.bias = layer.bias if isinstance(layer, Adapter) else frozen.bias(linear)
        self.count = 0
        self.sum: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0

    def take(self, layer: nn.Module, inputs: Any, output: Tensor) -> None:
        y = output.detach().flatten(0, -2)
        y = y.float() if y.device.type == "mps" else y.double()
        self.count += len(y)
        self.sum = self.sum + y.sum(0)
        self.squares = self.squares + y.mT @ y

    def directions(self, rank: int) -> tuple[Tensor, Tensor]:
        """The first eigenvectors, (m, rank), and the bias that goes with them."""
        C, mean = torch.as_tensor(self.squares) / self.count, torch.as_tensor(self.sum) / self.count
        if self.bias is not None:
            C = C - mean.outer(mean)
        U = torch.linalg.eigh(C).eigenvectors[:, -rank:].flip(1).contiguous()  # as a file has it: the same bits
        bias = mean if self.bias is None else self.bias.detach().to(mean)
        return U, mean + U @ (U.mT @ (bias - mean))
