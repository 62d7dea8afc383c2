"""The fast path: form ``W0 + S`` once, multiply once, and take the gradient of S by its own adjoint.

A forward through the frozen layer and, apart from it, through S costs two products. Forming ``W = W0 + S`` costs
O(m n), whatever the number of tokens, and then one product does both. In backward, one product ``g W`` serves x. The
gradient of S's few numbers is the adjoint of the structure applied to ``g^T x`` - without that m x n matrix: for a
circulant it is one correlation, ``irfft(sum over tokens of rfft(g) conj(rfft(x)))``. Only x is kept for backward.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

from surm_lite import guard
from surm_lite.adapters import frozen
from surm_lite.matrices import StructuredMatrix


def linear_sum(x: Tensor, linear: nn.Module, operators: Sequence[StructuredMatrix]) -> Tensor | None:
    """``x (W0 + S_1 + S_2 + ...)^T + b`` by one product, or None where the separate path is the better one.

    The rule. W is formed only where that is exact enough, allowed, and pays:

    * dtype: everything float32 or float64, and no autocast. In half or bfloat16 a small update added to a large weight
      would be rounded away.
    * never inside ``no_dense``, under forward-mode differentiation (the function below has no rule for it), or while a
      graph is exported: a graph is to serve any number of tokens, and here that number decides.
    * the base layer is frozen and plain, without hooks or a forward of its own, because it is not called.
    * only families with an ``adjoint``, at least max(m, n) / 4 tokens (about where forming W twice, forward and
      backward, becomes cheaper than sending every token through S): one product, and the gradient by ``adjoint``.
    * otherwise ``costly`` families too, max(m, n) at most 512, and at least as many tokens: one product, and the
      gradient by way of the dense ``g^T x``.
    * low-rank and Kronecker updates are neither: their separate path is a few small matrix products, and forming W was
      measured not to pay.
    """
    if torch.compiler.is_exporting():
        return None
    size = max(frozen.shape(linear))
    tokens = x.numel() // x.shape[-1]
    fast = 4 * tokens >= size and all(S.has_adjoint() for S in operators)
    small = tokens >= size <= 512 and all(S.has_adjoint() or S.costly for S in operators)
    if not (fast or small) or not may_form(x, linear, operators):
        return None
    if fast and torch.is_grad_enabled():
        return merged_linear(x, linear, operators)
    # autograd, or nobody, asks for a gradient
    return F.linear(x, _whole(frozen.weight(linear), operators), frozen.bias(linear))


def may_form(x: Tensor, linear: nn.Module, operators: Sequence[StructuredMatrix]) -> bool:
    """Whether W may be formed at all: the first three points of the rule."""
    if not frozen.is_plain(linear):
        return False
    weight = frozen.weight(linear)
    return (
        x.dtype in (torch.float32, torch.float64)
        and {weight.dtype, *(S.dtype for S in operators)} == {x.dtype}
        and not torch.is_autocast_enabled(x.device.type)
        and not guard.active()
        and not weight.requires_grad
        and not any(is_dual(t) for t in (x, *(t for S in operators for t in S.tensors)))
    )


def is_dual(tensor: Tensor) -> bool:
    """Whether it carries a tangent of forward-mode differentiation."""
    return not torch.compiler.is_compiling() and unpack_dual(tensor).tangent is not None


def merged_linear(x: Tensor, linear: nn.Module, operators: Sequence[StructuredMatrix]) -> Tensor:
    """``x (W0 + S_1 + S_2 + ...)^T + b`` by one product, exact gradients included."""
    tensors = [t for S in operators for t in S.tensors]
    return _MergedLinear.apply(x, frozen.weight(linear), frozen.bias(linear), tuple(operators), *tensors)


class _MergedLinear(torch.autograd.Function):
    """Gradients with respect to x, the bias and the operators' tensors; W0 is frozen."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor | None, operators: tuple[StructuredMatrix, ...], *tensors: Tensor
    ) -> Tensor:
        return F.linear(x, _whole(weight, _rebuild(operators, tensors)), bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, operators, *tensors = inputs
        ctx.operators = operators
        ctx.save_for_backward(x, weight, *tensors)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, *tensors = ctx.saved_tensors
        operators = _rebuild(ctx.operators, tensors)
        needs_x, _, needs_bias, _, *needs_tensors = ctx.needs_input_grad
        # W is formed again rather than kept: O(m n) against the O(m n tokens) of the product, and no memory in between.
        grad_x = g @ _whole(weight, operators) if needs_x else None
        rows_g, rows_x = g.reshape(-1, g.shape[-1]), x.reshape(-1, x.shape[-1])
        grad_bias = rows_g.sum(0) if needs_bias else None
        if any(needs_tensors):
            grads = [grad for S in operators for grad in S.adjoint(rows_g, rows_x)]
            needed = (grad if need else None for grad, need in zip(grads, needs_tensors))
        else:
            needed = (None for _ in tensors)
        return grad_x, None, grad_bias, None, *needed


def _rebuild(operators: Iterable[StructuredMatrix], tensors: Sequence[Tensor]) -> list[StructuredMatrix]:
    """The operators over the tensors that autograd handed in."""
    left = iter(tensors)
    return [S.with_tensors(*(next(left) for _ in S.tensors)) for S in operators]


def _whole(weight: Tensor, operators: Iterable[StructuredMatrix]) -> Tensor:
    """``W0 + S_1 + S_2 + ...``, dense."""
    for S in operators:
        weight = weight + S.to_dense()
    return weight
