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
from jaxtyping import Float
from torch import Tensor, nn

from .. import guard
from ..matrices import LDR, BlockCirculant, Circulant, StructuredMatrix, Toeplitz, fft
from .operators import Corner, SymmetricToeplitzProduct

FAST = (Circulant, BlockCirculant, Toeplitz)
"""The families with an ``adjoint`` below."""

SMALL = (LDR, SymmetricToeplitzProduct, Corner)
"""Families whose product takes so many transforms that for a small layer even the dense gradient is cheaper."""


def linear_sum(x: Tensor, linear: nn.Linear, operators: Sequence[StructuredMatrix]) -> Tensor | None:
    """``x (W0 + S_1 + S_2 + ...)^T + b`` by one product, or None where the separate path is the better one.

    The rule. W is formed only where that is exact enough, allowed, and pays:

    * dtype: everything float32 or float64, and no autocast. In half or bfloat16 a small update added to a large weight
      would be rounded away.
    * never inside ``no_dense``.
    * the base layer is frozen and is a plain ``nn.Linear`` without hooks, because it is not called.
    * families in FAST only, at least max(m, n) / 4 tokens (about where forming W twice, forward and backward, becomes
      cheaper than sending every token through S): one product, and the gradient by ``adjoint``.
    * otherwise families in SMALL too, max(m, n) at most 512, and at least as many tokens: one product, and the gradient
      by way of the dense ``g^T x``.
    * low-rank and Kronecker updates are in neither: their separate path is a few small matrix products, and forming W
      was measured not to pay.
    """
    size = max(linear.weight.shape)
    tokens = x.numel() // x.shape[-1]
    fast = 4 * tokens >= size and all(isinstance(S, FAST) for S in operators)
    small = tokens >= size <= 512 and all(isinstance(S, FAST + SMALL) for S in operators)
    if not (fast or small) or not may_form(x, linear, operators):
        return None
    if fast and torch.is_grad_enabled():
        return merged_linear(x, linear, operators)
    return F.linear(x, _whole(linear.weight, operators), linear.bias)  # autograd, or nobody, asks for a gradient


def may_form(x: Tensor, linear: nn.Linear, operators: Sequence[StructuredMatrix]) -> bool:
    """Whether W may be formed at all: the first three points of the rule."""
    return (
        x.dtype in (torch.float32, torch.float64)
        and {linear.weight.dtype, *(S.dtype for S in operators)} == {x.dtype}
        and not torch.is_autocast_enabled(x.device.type)
        and (torch.compiler.is_compiling() or not guard.active())
        and not linear.weight.requires_grad
        and type(linear).forward is nn.Linear.forward
        and not has_hooks(linear)
    )


def has_hooks(module: nn.Module) -> bool:
    """Whether calling the module does more than its forward."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def merged_linear(x: Tensor, linear: nn.Linear, operators: Sequence[StructuredMatrix]) -> Tensor:
    """``x (W0 + S_1 + S_2 + ...)^T + b`` by one product, exact gradients included."""
    tensors = [t for S in operators for t in S.tensors]
    return _MergedLinear.apply(x, linear.weight, linear.bias, tuple(operators), *tensors)


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
            grads = [grad for S in operators for grad in adjoint(S, rows_g, rows_x)]
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


def adjoint(operator: StructuredMatrix, g: Float[Tensor, "rows m"], x: Float[Tensor, "rows n"]) -> tuple[Tensor, ...]:
    """The gradient of ``sum(g * operator.apply(x))`` with respect to ``operator.tensors``, m x n never formed.

    Args:
        operator: an m x n structured matrix of one of the families in FAST.
        g: gradient with respect to the output, one token a row.
        x: the input, one token a row.

    Returns:
        One tensor for each of ``operator.tensors``.

    Raises:
        TypeError: the family has no adjoint here.
    """
    m, n = operator.shape
    if isinstance(operator, Circulant):
        return (fft.correlation(g, x, n),)
    if isinstance(operator, BlockCirculant):
        b = operator.kernel.shape[-1]
        return (fft.block_correlation(g.unflatten(-1, (-1, b)), x.unflatten(-1, (-1, b))),)
    if isinstance(operator, Toeplitz):
        R = fft.correlation(g, x, fft.good_length(m + n - 1))
        # Diagonals from the main one down stand at the front, those above it, nearest first, at the back.
        above = R[R.shape[0] - n + 1 :].flip(0)
        return R[:m], torch.cat([torch.zeros_like(R[:1]), above])  # row[0] is not used
    raise TypeError(f"{type(operator).__name__} has no adjoint; its layers take the separate path")
