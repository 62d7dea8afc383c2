"""Checkers for the exercises of the book: they try your function on seeded random cases and say what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from surm_lite.checks.attempt import Attempt, at, chosen, densify, with_hint
from surm_lite.checks.diagnose import check_comparable, compare
from surm_lite.checks.report import CheckFailed
from surm_lite.checks.subject import Sizes, Subject
from surm_lite.data.arguments import check_kind, check_seed
from surm_lite.guard import DenseTensorError, no_dense
from surm_lite.matrices import StructuredMatrix
from surm_lite.matrices.algorithms.nearest import find_family
from surm_lite.matrices.arguments import check_tolerance

FREE = {"r": 2, "b": 3}
"""Sizes of the letters that are not m or n, in the shapes of ``check_function``."""


def check_value(
    got: Any, expected: Any, *, name: str = "value", hint: str = "", tol: int | float | None = None
) -> None:
    """Compares one result with the right one: a number, a tensor, a word, a shape, or a tuple of such.

    Args:
        got: what the reader computed.
        expected: what it should be. Integers must be exact; floats and tensors may differ by rounding.
        name: what to call it in the message.
        hint: added to the message of a failure.
        tol: relative tolerance, instead of a few roundings (absolute for an integer).

    Returns:
        None; one line is printed.

    Raises:
        CheckFailed: they differ.
        TypeError: ``expected`` is none of these.

    Cost:
        None.

    Example:
        >>> check_value(768 * 2, 1536, name="budget")
        budget is right.
    """
    check_kind("name", name, str, "what to call it")
    check_kind("hint", hint, str, "a sentence")
    check_tolerance(tol)
    check_comparable("expected", expected)
    said = compare(got, expected, tol)
    if said:
        raise CheckFailed(with_hint(f"{name}: {said}", hint))
    print(f"{name} is right.")


def check_function(
    yours: Callable[..., Any],
    reference: Callable[..., Any],
    inputs: Sequence[str],
    *,
    sizes: Sizes | None = None,
    dtype: torch.dtype = torch.float64,
    tol: int | float | None = None,
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

    Returns:
        None; one line is printed.

    Raises:
        CheckFailed: the results differ, or your function raises; the message names the size.
        TypeError: ``reference`` gives what cannot be compared, such as a dict.

    Cost:
        One call of each function a size.

    Example:
        >>> def product(c, x):
        ...     return torch.fft.irfft(torch.fft.rfft(c) * torch.fft.rfft(x))
        >>> from surm_lite.matrices import Circulant
        >>> check_function(product, lambda c, x: Circulant(c).apply(x), ("n", "n"))
        Traceback (most recent call last):
            ...
        surm_lite.checks.report.CheckFailed: product at n = 1: RuntimeError: ...
    """
    mine = Attempt(yours, hint)
    if not callable(reference):
        raise TypeError(f"reference: got {reference!r}, need a function")
    if not isinstance(inputs, Sequence) or isinstance(inputs, str) or not all(isinstance(s, str) for s in inputs):
        raise TypeError(f"inputs: got {inputs!r}, need the shape of each tensor, such as ('n', 'm n')")
    check_tolerance(tol)
    check_seed("seed", seed)
    shapes = [shape.split() for shape in inputs]
    letters = {letter for shape in shapes for letter in shape if not letter.isdecimal()}
    for letter in letters - {"m", "n", *FREE}:
        raise ValueError(f"inputs {tuple(inputs)} has a size {letter!r}; the letters are m, n, {', '.join(FREE)}")
    square = "m" not in letters
    sizes = chosen(sizes, square=square)
    for m, n in sizes:
        generator = torch.Generator().manual_seed(seed + 1009 * m + n)
        length = {"m": m, "n": n, **FREE}
        tensors = [
            torch.randn([length.get(k) or int(k) for k in shape], generator=generator, dtype=dtype) for shape in shapes
        ]
        want = densify(reference(*tensors))
        check_comparable("reference", want)
        mine.compare(tensors, want, at((m, n), square=square), tol)
    mine.passed(f"agrees with the reference {at(*sizes, square=square)}")


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

    Returns:
        None; one line is printed.

    Raises:
        CheckFailed: with the size at which it is wrong, what was expected and what came.

    Cost:
        A dense product for each size and batch; milliseconds.

    Example:
        >>> def product(c, x):
        ...     return torch.fft.irfft(torch.fft.rfft(c) * torch.fft.rfft(x), n=len(c))
        >>> check_product(product, "circulant", batches=False)
        product is right at n = 1, 2, 3, 8, 9, 12, 13.
    """
    cls, mine = find_family(family), Attempt(yours, hint)
    check_seed("seed", seed)
    subject = Subject(cls, seed=seed, budget=budget)
    sizes = chosen(sizes, square=cls.square)
    for m, n in sizes:
        A = subject.member(m, n)
        for shape in ((n,), (3, n), (2, 3, n)) if batches else ((n,),):
            x = subject.numbers(*shape)
            where = f"{at((m, n), square=cls.square)}, x of shape {shape}"
            mine.compare([*A.tensors, x], x @ A.to_dense().mT, where)
            if gradients:
                _compare_gradients(mine, A, x, where)
    extras = ["with gradients"] if gradients else []
    if forbid_dense:
        A, x = subject.member(256, 256, torch.float32), subject.numbers(256, dtype=torch.float32)
        try:
            with no_dense(256):
                yours(*A.tensors, x)
        except DenseTensorError as error:
            raise mine.failed("at n = 256", str(error)) from None
        except Exception as error:
            raise mine.failed("at n = 256, in float32", f"{type(error).__name__}: {error}") from error
        extras.append("without a dense matrix")
    mine.passed(" ".join([f"is right {at(*sizes, square=cls.square)}", *extras]))


def _compare_gradients(mine: Attempt, A: StructuredMatrix, x: Tensor, where: str) -> None:
    found = []
    for product in (mine.yours, lambda *inputs: inputs[-1] @ A.with_tensors(*inputs[:-1]).to_dense().mT):
        inputs = [t.clone().requires_grad_() for t in (*A.tensors, x)]
        y = product(*inputs)
        if not y.requires_grad:
            raise mine.failed(where, "the result has no gradient")
        weights = torch.arange(1, y.numel() + 1, dtype=y.dtype).reshape(y.shape)
        found.append(torch.autograd.grad((weights * y).sum(), inputs, allow_unused=True, materialize_grads=True))
    for name, got, want in zip((*A.fields, "x"), *found):
        said = compare(got, want, 1e-9)
        if said:
            raise mine.failed(where, f"gradient for {name}: {said}")
