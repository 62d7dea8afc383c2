"""Checkers for the exercises of the book: they try your function on seeded random cases and say what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..guard import DenseTensorError, no_dense
from ..matrices import StructuredMatrix
from ..matrices.displacement import displacement_rank, shift, sylvester
from ..matrices.nearest import find_family, nearest
from .diagnose import compare
from .report import CheckFailed
from .subject import SIZES, Sizes, Subject

FREE = {"r": 2, "b": 3}
"""Sizes of the letters that are not m or n, in the shapes of ``check_function``."""


def check_value(got: Any, expected: Any, *, name: str = "value", hint: str = "", tol: float | None = None) -> None:
    """Compares one result with the right one: a number, a tensor, a word, a shape, or a tuple of such.

    Args:
        got: what the reader computed.
        expected: what it should be. Integers must be exact; floats and tensors may differ by rounding.
        name: what to call it in the message.
        hint: added to the message of a failure.
        tol: relative tolerance, instead of a few roundings (absolute for an integer).

    Raises:
        CheckFailed: they differ.

    Example:
        >>> check_value(768 * 2, 1536, name="budget")
        budget is right.
    """
    said = compare(got, expected, tol)
    if said:
        raise CheckFailed(_message(f"{name}: {said}", hint))
    print(f"{name} is right.")


def check_function(
    yours: Callable[..., Any],
    reference: Callable[..., Any],
    inputs: Sequence[str],
    *,
    sizes: Sizes | None = None,
    dtype: torch.dtype = torch.float64,
    tol: float | None = None,
    hint: str = "",
    seed: int = 0,
) -> None:
    """Compares your function with a reference on random tensors of many sizes.

    Args:
        yours: called as ``yours(*tensors)``. It may return tensors, numbers, operators (compared as dense), or tuples.
        reference: called the same way; the truth.
        inputs: the shape of each tensor, in letters or numbers: ``("n", "n")``, ``("m r", "r n", "b n")``. m and n run
            over ``sizes``; r is 2 and b is 3. Without an m, only square sizes are tried.
        sizes: (m, n) pairs.
        dtype: of the inputs.
        tol: relative tolerance, instead of a few roundings.
        hint: added to the message of a failure.
        seed: of the random tensors.

    Raises:
        CheckFailed: the results differ, or your function raises; the message names the size.

    Example:
        >>> def product(c, x):
        ...     return torch.fft.irfft(torch.fft.rfft(c) * torch.fft.rfft(x))
        >>> from surm_lite.matrices import Circulant
        >>> check_function(product, lambda c, x: Circulant(c).apply(x), ("n", "n"))
        Traceback (most recent call last):
            ...
        surm_lite.checks.report.CheckFailed: product at n = 1: RuntimeError: ...
    """
    shapes = [shape.split() for shape in inputs]
    letters = {letter for shape in shapes for letter in shape}
    sizes = _sizes(sizes, square="m" not in letters)
    for m, n in sizes:
        generator = torch.Generator().manual_seed(seed + 1009 * m + n)
        length = {"m": m, "n": n, **FREE}
        tensors = [
            torch.randn([length[k] if k in length else int(k) for k in shape], generator=generator, dtype=dtype)
            for shape in shapes
        ]
        _try(yours, tensors, _dense(reference(*tensors)), _size(m, n, "m" in letters), tol, hint)
    _passed(yours, f"agrees with the reference at {_sizes_text(sizes, 'm' in letters)}")


def check_product(
    yours: Callable[..., Tensor],
    family: str | type[StructuredMatrix],
    *,
    sizes: Sizes | None = None,
    batches: bool = True,
    gradients: bool = False,
    forbid_dense: bool = False,
    hint: str = "",
    seed: int = 0,
    **budget: Any,
) -> None:
    """Compares your fast product with the dense matrix of a family.

    Args:
        yours: called as ``yours(*tensors, x)``: the defining tensors of the family in the order of its constructor
            (``c`` for a circulant; ``column, row`` for Toeplitz and Hankel; ``A, B`` for Kronecker; ``G, H`` for LDR;
            ``B, A`` for low rank), then x. It returns ``x W^T``.
        family: a class, or its name.
        sizes: (m, n) pairs; by default odd, even, prime and, unless the family is square, rectangular ones.
        batches: also try x of shapes (3, n) and (2, 3, n), not only (n,).
        gradients: also compare the gradients for the tensors and for x with those of the dense product.
        forbid_dense: also require that one product at n = 256 never forms an n x n tensor.
        hint: added to the message of a failure.
        seed: of the random numbers.
        **budget: passed to ``family.random``: ``rank``, ``block``, ``f``, ``a_shape``.

    Raises:
        CheckFailed: with the size at which it is wrong, what was expected and what came.

    Example:
        >>> def product(c, x):
        ...     return torch.fft.irfft(torch.fft.rfft(c) * torch.fft.rfft(x), n=len(c))
        >>> check_product(product, "circulant", batches=False)
        product is right at n = 1, 2, 3, 8, 9, 12, 13.
    """
    cls = find_family(family)
    subject = Subject(cls, seed=seed, budget=budget)
    sizes = _sizes(sizes, square=cls.square)
    for m, n in sizes:
        A = subject.member(m, n)
        for shape in ((n,), (3, n), (2, 3, n)) if batches else ((n,),):
            x = subject.numbers(*shape)
            where = f"{_size(m, n, not cls.square)}, x of shape {shape}"
            _try(yours, [*A.tensors, x], x @ A.to_dense().mT, where, None, hint)
            if gradients:
                _same_gradients(yours, A, x, where, hint)
    extras = ["with gradients"] if gradients else []
    if forbid_dense:
        A = subject.member(256, 256, torch.float32)
        try:
            with no_dense(256):
                yours(*A.tensors, subject.numbers(256, dtype=torch.float32))
        except DenseTensorError as error:
            raise CheckFailed(_message(f"{_name(yours)} at n = 256: {error}", hint)) from None
        extras.append("without a dense matrix")
    _passed(yours, " ".join([f"is right at {_sizes_text(sizes, not cls.square)}", *extras]))


def check_displacement_rank(yours: Callable[[Tensor, Tensor, Tensor], int], *, hint: str = "", seed: int = 0) -> None:
    """Tries your displacement rank on matrices whose rank theory gives, at several scales and in float32.

    Args:
        yours: called as ``yours(M, A, B)``; returns the numerical rank of ``A M - M B``.
        hint: added to the message of a failure.
        seed: of the random matrices.

    Raises:
        CheckFailed: with the matrix, its rank and what came.

    Example:
        >>> from surm_lite import displacement_rank
        >>> check_displacement_rank(displacement_rank)
        displacement_rank is right on 9 kinds of matrices, large, small and in float32.
    """
    g, n = torch.Generator().manual_seed(seed), 12

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    def draw(name: str) -> Tensor:
        return find_family(name).random(n, n, generator=g, dtype=torch.float64).to_dense()

    T = draw("toeplitz")
    cases = [
        ("a zero matrix", torch.zeros(n, n, dtype=torch.float64), 0, -1),
        ("the identity", torch.eye(n, dtype=torch.float64), 1, -1),
        ("a circulant", draw("circulant"), 1, -1),
        ("a circulant under its own shift (what is left is rounding noise)", draw("circulant"), 0, 1),
        ("a Toeplitz matrix", T, 2, -1),
        ("the inverse of a Toeplitz matrix", torch.linalg.inv(T + 4 * torch.eye(n, dtype=T.dtype)), 2, -1),
        ("a product of two Toeplitz matrices", T @ draw("toeplitz"), 4, -1),
        ("a matrix of rank 3", random(n, 3) @ random(3, n), 6, -1),
        ("a dense 9 x 12 matrix", random(9, n), 9, -1),
    ]
    for what, M, rank, f in cases:
        for scaled, note in (
            (M, ""),
            (1e6 * M, ", times 10^6"),
            (1e-6 * M, ", times 10^-6"),
            (M.float(), " in float32"),
        ):
            A, B = (shift(size, corner, dtype=scaled.dtype) for size, corner in zip(M.shape, (1, f)))
            _try(yours, [scaled, A, B], rank, f"{what}{note}, with A = Z_1 and B = Z_{f}", None, hint)
    _passed(yours, f"is right on {len(cases)} kinds of matrices, large, small and in float32")


def check_generators(yours: Callable[[Tensor], tuple[Tensor, Tensor]], *, hint: str = "", seed: int = 0) -> None:
    """Checks that your function turns a matrix into the generators of its displacement, as few as possible.

    Args:
        yours: called as ``yours(M)``; returns G of shape (r, m) and H of shape (r, n) with
            ``Z_1 M - M Z_-1 = sum_i g_i h_i^T`` and r the displacement rank.
        hint: added to the message of a failure.
        seed: of the random matrices.

    Raises:
        CheckFailed: with the matrix and what is wrong with its generators.

    Example:
        >>> from surm_lite import generators
        >>> check_generators(generators)
        generators is right on circulant, Toeplitz and low-rank matrices.
    """
    for name, budget in (("circulant", {}), ("toeplitz", {}), ("low_rank", {"rank": 2})):
        for m, n in ((8, 8), (7, 7)) if name == "circulant" else ((8, 8), (7, 7), (9, 6)):
            M = Subject(find_family(name), seed=seed, budget=budget).member(m, n).to_dense()
            where = f"{name} {m} x {n}"
            got = _call(yours, [M], where, hint)
            if not (isinstance(got, tuple | list) and len(got) == 2):
                raise CheckFailed(_message(f"{_name(yours)} on {where}: expected a pair (G, H), got {got!r}", hint))
            G, H = got
            r = displacement_rank(M)
            said = compare(tuple(G.shape), (r, m)) or compare(tuple(H.shape), (r, n))
            said = said or compare(G.mT @ H, sylvester(M), 1e-9)
            if said:
                raise CheckFailed(_message(f"{_name(yours)} on {where}: {said}", hint))
    _passed(yours, "is right on circulant, Toeplitz and low-rank matrices")


def check_nearest(
    yours: Callable[[Tensor], Tensor | StructuredMatrix],
    family: str | type[StructuredMatrix],
    *,
    sizes: Sizes | None = None,
    hint: str = "",
    seed: int = 0,
    **budget: Any,
) -> None:
    """Checks that your function gives a member of the family, and the closest one.

    Args:
        yours: called as ``yours(W)``; returns the closest member, dense or as an operator.
        family: one that ``nearest`` knows.
        sizes: (m, n) pairs.
        hint: added to the message of a failure.
        seed: of the random targets.
        **budget: as for ``nearest``: ``rank``, ``block``, ``f``, ``a_shape``.

    Raises:
        CheckFailed: the result is no member, or another member is closer.

    Example:
        >>> from surm_lite import nearest
        >>> check_nearest(lambda W: nearest(W, "hankel")[0], "hankel", sizes=((3, 3), (4, 2)))
        your function is right at 3x3, 4x2.
    """
    cls = find_family(family)
    sizes = _sizes(sizes, square=cls.square)
    for m, n in sizes:
        W = torch.randn(m, n, generator=torch.Generator().manual_seed(seed + 1009 * m + n), dtype=torch.float64)
        where = _size(m, n, not cls.square)
        S = _dense(_call(yours, [W], where, hint))
        said = compare(tuple(S.shape), (m, n)) if isinstance(S, Tensor) else f"expected a matrix, got {S!r}"
        if not said and nearest(S, cls, **budget)[1] > 1e-6:
            said = f"the result is not a {cls.__name__}"
        if not said:
            mine, best = (float((W - M).norm() / W.norm()) for M in (S, nearest(W, cls, **budget)[0].to_dense()))
            if mine > best + 1e-6:
                said = (
                    f"the result is a {cls.__name__}, but its relative error is {mine:.4f} and {best:.4f} is possible"
                )
        if said:
            raise CheckFailed(_message(f"{_name(yours)} at {where}: {said}", hint))
    _passed(yours, f"is right at {_sizes_text(sizes, not cls.square)}")


def _same_gradients(yours: Callable[..., Tensor], A: StructuredMatrix, x: Tensor, where: str, hint: str) -> None:
    found = []
    for product in (yours, lambda *inputs: inputs[-1] @ A.with_tensors(*inputs[:-1]).to_dense().mT):
        inputs = [t.clone().requires_grad_() for t in (*A.tensors, x)]
        y = product(*inputs)
        if not y.requires_grad:
            raise CheckFailed(_message(f"{_name(yours)} at {where}: the result has no gradient", hint))
        weights = torch.arange(1, y.numel() + 1, dtype=y.dtype).reshape(y.shape)
        found.append(torch.autograd.grad((weights * y).sum(), inputs, allow_unused=True, materialize_grads=True))
    for name, got, want in zip((*A.fields, "x"), *found):
        said = compare(got, want, 1e-9)
        if said:
            raise CheckFailed(_message(f"{_name(yours)} at {where}, gradient for {name}: {said}", hint))


def _try(yours: Callable[..., Any], inputs: list[Any], want: Any, where: str, tol: float | None, hint: str) -> None:
    said = compare(_dense(_call(yours, inputs, where, hint)), want, tol)
    if said:
        raise CheckFailed(_message(f"{_name(yours)} at {where}: {said}", hint))


def _call(yours: Callable[..., Any], inputs: list[Any], where: str, hint: str) -> Any:
    try:
        return yours(*(t.clone() for t in inputs))
    except Exception as error:
        raise CheckFailed(_message(f"{_name(yours)} at {where}: {type(error).__name__}: {error}", hint)) from error


def _dense(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return tuple(_dense(v) for v in value)
    return value.to_dense() if isinstance(value, StructuredMatrix) else value


def _sizes(sizes: Sizes | None, *, square: bool) -> Sizes:
    sizes = SIZES if sizes is None else sizes
    return tuple((m, n) for m, n in sizes if m == n) if square else tuple(sizes)


def _size(m: int, n: int, rectangular: bool) -> str:
    return f"{m} x {n}" if rectangular else f"n = {n}"


def _sizes_text(sizes: Sizes, rectangular: bool) -> str:
    return ", ".join(f"{m}x{n}" for m, n in sizes) if rectangular else f"n = {', '.join(str(n) for _, n in sizes)}"


def _name(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    return "your function" if name == "<lambda>" else name


def _message(said: str, hint: str) -> str:
    return f"{said}. Hint: {hint}" if hint else said


def _passed(yours: Callable[..., Any], what: str) -> None:
    print(f"{_name(yours)} {what}.")
