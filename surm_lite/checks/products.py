"""Checks of values: the fast product, the transpose and the batches against the dense matrix."""

from __future__ import annotations

import warnings

import torch

from surm_lite.checks.report import CheckFailed
from surm_lite.checks.subject import Sizes, Subject, expect, product_is_dense, same, sizes_text


def _at(s: Subject, sizes: Sizes) -> str:
    for m, n in sizes:
        A = s.member(m, n)
        expect(A.shape == (m, n), f"random({m}, {n}) has shape {A.shape}")
        product_is_dense(A, s.numbers(n), f"{m}x{n}")
        product_is_dense(A.T, s.numbers(m), f"transpose of {m}x{n}")
    return sizes_text(sizes)


def even_sizes(s: Subject) -> str:
    """apply = dense for even n."""
    return _at(s, tuple(size for size in s.square if size[0] % 2 == 0))


def odd_sizes(s: Subject) -> str:
    """apply = dense for odd n, 1 and primes included."""
    return _at(s, tuple(size for size in s.square if size[0] % 2))


def rectangular(s: Subject) -> str:
    """apply = dense for m != n; a square family refuses such sizes."""
    if not s.family.square:
        return _at(s, s.rectangular)
    try:
        s.member(4, 6)
    except ValueError:
        return "square family: 4x6 refused"
    raise CheckFailed("square family, but random(4, 6) raises no ValueError")


def definition(s: Subject) -> str:
    """to_dense = the independent definition that the caller gives."""
    for m, n in s.all_sizes:
        for dtype in (torch.float64, torch.complex128):
            if dtype in s.dtypes and s.dense is not None:
                A = s.member(m, n, dtype)
                same(A.to_dense(), s.dense(A).to(s.device), f"{m}x{n} {dtype}")
    return sizes_text(s.all_sizes)


def transpose(s: Subject) -> str:
    """A.T is the plain transpose, and A.T.T is A again."""
    for m, n in s.all_sizes:
        A = s.member(m, n)
        W = A.to_dense()
        expect(A.T.shape == (n, m), f"{m}x{n}: A.T has shape {A.T.shape}")
        same(A.T.to_dense(), W.mT, f"A.T at {m}x{n}")
        same(A.T.T.to_dense(), W, f"A.T.T at {m}x{n}")
    return sizes_text(s.all_sizes)


def matmul(s: Subject) -> str:
    """A @ X as torch.matmul: a vector, a matrix, a batch of matrices, no columns."""
    for m, n in s.usual:
        A = s.member(m, n)
        W = A.to_dense()
        for X in (s.numbers(n), *(s.numbers(*shape) for shape in ((n, 1), (n, 3), (2, n, 3), (2, 1, n, 4), (n, 0)))):
            same(A @ X, W @ X, f"{m}x{n} @ {tuple(X.shape)}", scale=float(W.norm() * X.norm()))
    return sizes_text(s.usual)


def input_batches(s: Subject) -> str:
    """Leading dimensions of x are free: none, some, empty, strided, expanded."""
    for m, n in s.usual:
        A = s.member(m, n)
        for batch in ((), (1,), (3,), (2, 3), (2, 1, 3), (0,), (2, 0)):
            product_is_dense(A, s.numbers(*batch, n), f"{m}x{n}, x of shape {(*batch, n)}")
        product_is_dense(A, s.numbers(n, 3).mT, f"{m}x{n}, x not contiguous")
        product_is_dense(A, s.numbers(3, 2 * n)[:, ::2], f"{m}x{n}, x strided")
        product_is_dense(A, s.numbers(n).expand(3, n), f"{m}x{n}, x expanded")
        tensors = [t.clone().requires_grad_() for t in A.tensors]
        A.with_tensors(*tensors).apply(s.numbers(0, n)).sum().backward()  # as a dense layer, with gradients of zero
    return sizes_text(s.usual)


def parameter_batches(s: Subject) -> str:
    """Stacked members act like a batch of matrices, and broadcast against the batch of x."""
    for m, n in s.usual:
        A = s.member(m, n, batch=3)
        expect(A.batch_shape == (3,), f"three stacked members have batch_shape {tuple(A.batch_shape)}")
        W = A.to_dense()
        for i in range(3):
            same(W[i], A.with_tensors(*(t[i] for t in A.tensors)).to_dense(), f"member {i} of a stack of {m}x{n}")
        for batch in ((), (3,), (4, 1), (4, 3), (0, 1)):
            product_is_dense(A, s.numbers(*batch, n), f"3 stacked {m}x{n}, x of shape {(*batch, n)}")
        for X in (s.numbers(n), s.numbers(n, 2), s.numbers(3, n, 2), s.numbers(4, 1, n, 2)):
            same(A @ X, W @ X, f"3 stacked {m}x{n} @ {tuple(X.shape)}", scale=float(W.norm() * X.norm()))
        same(A.T.to_dense(), W.mT, f"transpose of 3 stacked {m}x{n}")
    return sizes_text(s.usual)


def no_warnings(s: Subject) -> str:
    """Nothing warns, for x of one to four dimensions, forward or backward."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # else a warning that torch gives once a process is seen once only
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for m, n in s.usual:
                for dtype in (torch.float32, s.real):
                    A = s.member(m, n, dtype)
                    for batch in ((), (2,), (2, 3), (2, 1, 3)):
                        x = s.numbers(*batch, n, dtype=dtype).requires_grad_()
                        A.apply(x).sum().backward()
                    A.T, A.to_dense(), repr(A)
    except Warning as warning:
        raise CheckFailed(f"{type(warning).__name__}: {warning}") from None
    finally:
        torch.set_warn_always(before)
    return "x of 1, 2, 3 and 4 dimensions"
