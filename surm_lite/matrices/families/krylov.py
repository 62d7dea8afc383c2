"""The Krylov form: low displacement rank under any two operators, given or learned."""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite.matrices.base import StructuredMatrix, check_count, check_size, check_tensor, gaussian
from surm_lite.matrices.families.ldr import check_generators

Matrix = Tensor | StructuredMatrix


def krylov(A: Matrix, v: Tensor) -> Tensor:
    """The Krylov matrix of an operator and a vector.

    ``K(A, v) = [v, A v, ..., A^(n-1) v]``. For the shift it is the f-circulant: ``K(Z_f, v) = Z_f(v)``.

    Args:
        A: (n, n), dense or structured.
        v: (..., n).

    Returns:
        (..., n, n), dense: for theory and pictures.

    Raises:
        TypeError: v is not a floating or complex tensor.
        ValueError: A is not (n, n), v is empty, or their dtypes or devices disagree.

    Cost:
        n products with A.

    Example:
        >>> from surm_lite.matrices.operators import shift
        >>> krylov(shift(3, -1), torch.tensor([1.0, 2.0, 3.0]))
        tensor([[ 1., -3., -2.],
                [ 2.,  1., -3.],
                [ 3.,  2.,  1.]])

    Source:
        Thomas et al. (2018), section 3.

    Taught in:
        09_recover
    """
    check_tensor(v, "v", 1, "krylov")
    if 0 in v.shape[-1:]:
        raise ValueError(f"v has shape {tuple(v.shape)}; it must hold at least one number")
    _check_operator("A", A, v)
    columns = [v]
    for _ in range(v.shape[-1] - 1):
        columns.append(times(A, columns[-1]))
    return torch.stack(columns, dim=-1)


class Krylov(StructuredMatrix):
    """Low displacement rank under two operators of your choice.

    ``W = sum_i K(A, g_i) K(B^T, h_i)^T = sum_k A^k (sum_i g_i h_i^T) B^k``, k = 0 .. n-1. It satisfies
    ``W - A W B = F - A^n F B^n`` with ``F = sum_i g_i h_i^T``: Stein displacement rank at most 2r. For A = Z_1 and
    B = Z_-1, A^n = I and B^n = -I, so the displacement is 2 F: the origin of the 1/2 in ``recover``.

    Args:
        G: (*batch, r, n), the left generators.
        H: (*batch, r, n), the right generators.
        A: (n, n), dense or structured; autograd flows through its numbers too.
        B: (n, n), likewise.

    Raises:
        TypeError: an argument is not a floating or complex tensor.
        ValueError: the sizes do not fit, or dtype, device or batch dimensions disagree.

    Cost:
        n products with A and n with B a vector, and O(r n^2): in general no FFT helps, and the steps are sequential.
        O(r n) memory without autograd. 2 n r parameters and those of A and B, which ``n_params`` does not count.

    Example:
        >>> from surm_lite.matrices.operators import shift
        >>> g = torch.eye(4)[:1]
        >>> W = Krylov(g, g, shift(4, 0), shift(4, 0).T)  # sum of e_k e_k^T
        >>> torch.equal(W.to_dense(), torch.eye(4))
        True

    Source:
        Thomas, Gu, Dao, Rudra and Re (2018), Learning compressed transforms with low displacement rank.

    Taught in:
        09_recover
    """

    fields = {"G": 2, "H": 2}
    square = True
    by_fft = False
    formula = "Σ K(A,gᵢ) K(Bᵀ,hᵢ)ᵀ"
    G: Tensor
    H: Tensor
    A: Matrix
    B: Matrix

    def __init__(self, G: Tensor, H: Tensor, A: Matrix, B: Matrix) -> None:
        check_generators(type(self), G, H)
        n = G.shape[-1]
        _check_operator("A", A, G)
        _check_operator("B", B, G)
        self._set((n, n), G=G, H=H, A=A, B=B)

    @property
    def options(self) -> dict[str, Any]:
        return {"A": self.A, "B": self.B}

    def to(self, *args: Any, **kwargs: Any) -> Krylov:
        A, B = (op.to(*args, **kwargs) for op in (self.A, self.B))
        return Krylov(self.G.to(*args, **kwargs), self.H.to(*args, **kwargs), A, B)

    def to_dense(self) -> Tensor:
        left, right = krylov(self.A, self.G), krylov(transposed(self.B), self.H)
        return (left @ right.mT).sum(-3)

    def _product(self, x: Tensor) -> Tensor:
        seen = []  # sum_i (h_i . B^k x) g_i, k = 0 .. n-1
        for _ in range(self.shape[0]):
            seen.append(((x[..., None, :] @ self.H.mT) @ self.G).squeeze(-2))
            x = times(self.B, x)
        y = seen.pop()
        while seen:  # Horner's rule in A
            y = times(self.A, y) + seen.pop()
        return y

    @property
    def T(self) -> Krylov:
        return Krylov(self.H, self.G, transposed(self.B), transposed(self.A))

    def flops(self, batch: int = 1) -> int:
        n, r = self.shape[0], self.G.shape[-2]
        return n * (sum(_flops(op, batch) for op in (self.A, self.B)) + batch * (4 * r * n + n))

    @classmethod
    def random(  # type: ignore[override]
        cls,
        m: int,
        n: int | None = None,
        *,
        A: Matrix,
        B: Matrix,
        rank: int = 1,
        generator: torch.Generator | None = None,
        **like: Any,
    ) -> Krylov:
        """Gaussian generators; the usual scale only if A and B keep lengths, as Z_1 and Z_-1 do."""
        m, n = check_size(cls, m, n)
        check_count(rank, "rank", cls)
        G = gaussian(rank, n, std=1 / sqrt(n * rank), generator=generator, **like)
        return cls(G, gaussian(rank, n, std=1 / sqrt(n), generator=generator, **like), A, B)


def times(A: Matrix, x: Tensor) -> Tensor:
    """A x for every x of (..., n)."""
    return A.apply(x) if isinstance(A, StructuredMatrix) else (A @ x[..., None]).squeeze(-1)


def transposed(A: Matrix) -> Matrix:
    return A.T if isinstance(A, StructuredMatrix) else A.mT


def _flops(A: Matrix, batch: int) -> int:
    return A.flops(batch) if isinstance(A, StructuredMatrix) else 2 * batch * A.numel()


def _check_operator(name: str, A: Matrix, like: Tensor) -> None:
    n = like.shape[-1]
    if not isinstance(A, StructuredMatrix):
        check_tensor(A, name, 2, "a Krylov matrix")
    if tuple(A.shape) != (n, n):
        raise ValueError(f"{name} has shape {tuple(A.shape)}; for vectors of length {n} it must be {(n, n)}")
    if A.dtype != like.dtype or A.device != like.device:
        mine, other = f"{A.dtype} on {A.device}", f"{like.dtype} on {like.device}"
        raise ValueError(f"{name} is {mine}, but the vectors are {other}; they must agree")
