"""Cauchy and Cauchy-like matrices: one over a difference of nodes."""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt, sqrt
from typing import Any

import torch
from jaxtyping import Inexact
from torch import Tensor

from surm_lite.matrices.base import StructuredMatrix, check_count, check_fields, check_size, gaussian
from surm_lite.matrices.families.vandermonde import uniform
from surm_lite.matrices.generator_form import GeneratorForm
from surm_lite.matrices.operators import Nodes


class OverlappingNodesError(ValueError):
    """A node of s equals a node of t: the matrix would divide by zero there."""


class _ByNodes(StructuredMatrix):
    """Two disjoint sets of nodes. The search for overlaps runs in the constructor, not in ``with_tensors``."""

    operators = (Nodes("s"), Nodes("t"))
    s: Tensor
    t: Tensor

    def _fill(self, **tensors: Tensor) -> None:
        check_fields(type(self), **tensors)
        self._check_sizes(**tensors)
        self._set((tensors["s"].shape[-1], tensors["t"].shape[-1]), **tensors)

    def _check_sizes(self, **tensors: Tensor) -> None:
        pass

    def with_tensors(self, *tensors: Tensor):
        # A step of training, a cast, a transpose or a vmap: no search, and nodes that meet give inf.
        new = object.__new__(type(self))
        if len(tensors) != len(self.fields):
            raise TypeError(f"{type(self).__name__} has {len(self.fields)} tensors, not {len(tensors)}")
        new._fill(**dict(zip(self.fields, tensors)))
        return new


class Cauchy(_ByNodes):
    """One over the difference of a row node and a column node.

    ``C[i, j] = 1 / (s_i - t_j)``. Its displacement ``D_s C - C D_t`` is the matrix of all ones.

    Args:
        s: (*batch, m), the nodes of the rows.
        t: (*batch, n), the nodes of the columns, none of them in s.

    Raises:
        TypeError: an argument is not a floating or complex tensor.
        OverlappingNodesError: some s_i equals some t_j; a ValueError.
        ValueError: an argument is empty, or dtype, device or batch dimensions disagree.

    Cost:
        O(m n) time by plain summation in blocks of rows, O(n sqrt(m)) memory a vector (under autograd the blocks are
        kept, m n numbers in all), m + n parameters, of which m + n - 1 are independent. There are fast multipole
        methods; this is none.

    Example:
        >>> Cauchy(torch.tensor([1.0, 2.0]), torch.tensor([0.0, -2.0])).to_dense()
        tensor([[1.0000, 0.3333],
                [0.5000, 0.2500]])

    Source:
        Pan, Structured Matrices and Polynomials (2001), chapter 3.

    Taught in:
        08_four_families
    """

    fields = {"s": 1, "t": 1}
    formula = "1/(sᵢ−tⱼ)"
    by_fft = True  # differences of near nodes: half precision is computed in float32

    def __init__(self, s: Tensor, t: Tensor) -> None:
        self._fill(s=s, t=t)
        check_disjoint(s, t)

    @property
    def dof(self) -> int:
        return sum(self.shape) - 1  # s + c and t + c give the same matrix

    def to_dense(self) -> Tensor:
        return 1 / (self.s[..., :, None] - self.t[..., None, :])

    def _product(self, x: Tensor) -> Tensor:
        return cauchy_product(self.s, self.t, x)

    @property
    def T(self) -> Cauchy:
        return self.with_tensors(-self.t, -self.s)

    def flops(self, batch: int = 1) -> int:
        return 2 * self.shape[0] * self.shape[1] * (1 + batch)

    @classmethod
    def random(cls, m: int, n: int | None = None, *, generator: torch.Generator | None = None, **like: Any) -> Cauchy:
        """Nodes of s and t alternate along a line, each moved a little: well conditioned when m = n."""
        m, n = check_size(cls, m, n)
        return cls(*alternating(m, n, generator=generator, **like))


class CauchyLike(_ByNodes, GeneratorForm):
    """A Cauchy matrix with a numerator of rank r.

    ``C[i, j] = sum_k G[k, i] H[k, j] / (s_i - t_j)``: its displacement ``D_s C - C D_t`` is ``sum_k g_k h_k^T``.
    Every Toeplitz-, Hankel- or Vandermonde-like matrix becomes one by Fourier transforms.

    Args:
        s: (*batch, m), the nodes of the rows.
        t: (*batch, n), the nodes of the columns, none of them in s.
        G: (*batch, r, m), the left generators.
        H: (*batch, r, n), the right generators.

    Raises:
        TypeError: an argument is not a floating or complex tensor.
        OverlappingNodesError: some s_i equals some t_j; a ValueError.
        ValueError: the sizes do not fit, or an argument is empty, or dtype, device or batch dimensions disagree.

    Cost:
        O(r m n) time as for ``Cauchy``, (r + 1)(m + n) parameters, of which (r + 1)(m + n) - r^2 - 3 are independent.

    Example:
        >>> s, t = torch.tensor([1.0, 2.0]), torch.tensor([0.0, -2.0])
        >>> CauchyLike(s, t, torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 3.0]])).to_dense()
        tensor([[1.0000, 1.0000],
                [1.0000, 1.5000]])

    Source:
        Gohberg, Kailath and Olshevsky (1995), section 1.

    Taught in:
        08_four_families
    """

    fields = {"s": 1, "t": 1, "G": 2, "H": 2}
    formula = "gᵢᵀhⱼ/(sᵢ−tⱼ)"
    by_fft = True
    G: Tensor
    H: Tensor

    def __init__(self, s: Tensor, t: Tensor, G: Tensor, H: Tensor) -> None:
        self._fill(s=s, t=t, G=G, H=H)
        check_disjoint(s, t)

    def _check_sizes(self, **tensors: Tensor) -> None:
        s, t, G, H = (tensors[name] for name in self.fields)
        if G.shape[-2] != H.shape[-2] or G.shape[-1] != s.shape[-1] or H.shape[-1] != t.shape[-1]:
            raise ValueError(
                f"G is {tuple(G.shape)} and H is {tuple(H.shape)}; for {s.shape[-1]} nodes s and {t.shape[-1]} nodes t "
                f"they must be (r, {s.shape[-1]}) and (r, {t.shape[-1]})"
            )

    @property
    def rank(self) -> int:
        """r, the number of generators: an upper bound on the displacement rank."""
        return self.G.shape[-2]

    @property
    def dof(self) -> int:
        # Changing nothing: an invertible r x r matrix between G and H, and the three numbers of a Moebius map of all
        # nodes (whose effect on 1/(s-t) is a scaling of rows and columns); two nodes see only two of the three.
        r, nodes = min(self.rank, *self.shape), sum(self.shape)
        return min((r + 1) * nodes - r * r - min(3, nodes), self.shape[0] * self.shape[1])

    def to_dense(self) -> Tensor:
        return (self.G.mT @ self.H) / (self.s[..., :, None] - self.t[..., None, :])

    def _product(self, x: Tensor) -> Tensor:
        s, t = self.s[..., None, :], self.t[..., None, :]  # one axis for r
        if not self.s.ndim > 1 and not self.t.ndim > 1:
            s, t = self.s, self.t
        return (self.G * cauchy_product(s, t, self.H * x[..., None, :])).sum(-2)

    @property
    def T(self) -> CauchyLike:
        return self.with_tensors(-self.t, -self.s, self.H, self.G)

    def flops(self, batch: int = 1) -> int:
        m, n = self.shape
        return 2 * m * n + batch * self.rank * (2 * m * n + 2 * m + n)

    @classmethod
    def random(  # type: ignore[override]
        cls, m: int, n: int | None = None, *, rank: int = 2, generator: torch.Generator | None = None, **like: Any
    ) -> CauchyLike:
        m, n = check_size(cls, m, n)
        check_count(rank, "rank", cls)
        s, t = alternating(m, n, generator=generator, **like)
        G = gaussian(rank, m, std=1 / sqrt(rank), generator=generator, **like)
        return cls(s, t, G, gaussian(rank, n, std=1.0, generator=generator, **like))

    # -- the generator form -------------------------------------------------------------------------------------------

    @property
    def pair(self) -> tuple[Tensor, Tensor]:
        return self.s, self.t

    def generators(self, pair: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        if pair is not None:
            for name, mine, other in zip("st", self.pair, pair):
                if mine.shape != other.shape or not torch.equal(mine, other):
                    raise ValueError(
                        f"the nodes {name} of the two matrices differ; generators add for equal nodes only"
                    )
        return self.G, self.H

    @classmethod
    def from_generators(cls, G: Tensor, H: Tensor, pair: tuple[Tensor, Tensor]) -> CauchyLike:
        return cls(*pair, G, H)

    def product_pairs(self, other: CauchyLike) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        return (self.t, other.t), (self.s, other.t)


def row_blocks(m: int) -> Iterator[slice]:
    """About sqrt(m) blocks of rows."""
    size = max(1, isqrt(m))
    return (slice(start, start + size) for start in range(0, m, size))


def cauchy_product(
    s: Inexact[Tensor, "*nodes m"], t: Inexact[Tensor, "*nodes2 n"], x: Inexact[Tensor, "*batch n"]
) -> Inexact[Tensor, "*result m"]:
    """``y_i = sum_j x_j / (s_i - t_j)``, a block of rows at a time."""
    shared = s.ndim == 1 and t.ndim == 1  # one set of nodes for all x: a matrix product
    parts = []
    for rows in row_blocks(s.shape[-1]):
        block = 1 / (s[..., rows, None] - t[..., None, :])
        parts.append(x @ block.mT if shared else (block @ x[..., None]).squeeze(-1))
    return torch.cat(parts, dim=-1)


def check_disjoint(s: Tensor, t: Tensor) -> None:
    """An OverlappingNodesError that names the first node that s and t share; by sorting, O((m + n) log(m + n))."""
    if s.is_meta:
        return
    if s.is_complex():
        s, t = torch.view_as_real(s.resolve_conj()), torch.view_as_real(t.resolve_conj())
    else:
        s, t = s[..., None], t[..., None]
    batch = torch.broadcast_shapes(s.shape[:-2], t.shape[:-2])
    rows = zip(*(v.expand(*batch, *v.shape[-2:]).reshape(-1, *v.shape[-2:]) for v in (s, t)))
    for a, b in rows:
        both, counts = torch.unique(
            torch.cat([torch.unique(a, dim=0), torch.unique(b, dim=0)]), dim=0, return_counts=True
        )
        if (counts > 1).any():
            shared = both[counts > 1][0].tolist()
            value = shared[0] if len(shared) == 1 else complex(*shared)
            raise OverlappingNodesError(f"s and t share the node {value}; no s_i may equal a t_j")


def alternating(m: int, n: int, generator: torch.Generator | None = None, **like: Any) -> tuple[Tensor, Tensor]:
    """Nodes s and t that alternate along a line, with |Cauchy(s, t)|_F^2 near m.

    At the spacing pi/2 the infinite matrix of such nodes is orthogonal: it is the discrete Hilbert transform.
    """
    moves = [uniform(k, generator=generator, **like) / 8 for k in (m, n)]  # first: it says what cannot be drawn
    start = -max(m, n) / 2
    s, t = ((torch.arange(k) + start + half) for k, half in ((m, 0.0), (n, 0.5)))
    lag = torch.arange(1 - n, m)  # i - j, and how many entries have it
    count = torch.minimum(torch.minimum(lag + n, m - lag), torch.tensor(min(m, n)))
    norm2 = (count / (lag - 0.5).square()).sum()
    moved = [v.to(move) + move for v, move in zip((s, t), moves)]
    scale = float((norm2 / m).sqrt())
    return moved[0] * scale, moved[1] * scale
