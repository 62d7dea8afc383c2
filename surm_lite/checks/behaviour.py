"""Checks of manners: dtypes, devices, errors, copies, and no trace left behind."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import torch
from torch import Tensor

from surm_lite.checks.report import CheckFailed
from surm_lite.checks.subject import Subject, expect, same, sizes_text
from surm_lite.matrices import StructuredMatrix


def real_dtypes(s: Subject) -> str:
    """float32 and float64 stay what they are, mixed ones promote, and torch's default dtype plays no part."""
    default = torch.get_default_dtype()
    wanted = [dtype for dtype in (torch.float32, torch.float64) if dtype in s.dtypes]
    try:
        for current in (torch.float32, torch.float64):
            torch.set_default_dtype(current)
            for m, n in s.usual:
                for dtype in wanted:
                    A = s.member(m, n, dtype)
                    expect(A.dtype == dtype, f"random(dtype={dtype}) has dtype {A.dtype}")
                    for other in wanted:
                        where = f"{m}x{n}, {dtype} matrix, {other} x, default dtype {current}"
                        _agrees(A, s.numbers(2, n, dtype=other), where)
    finally:
        torch.set_default_dtype(default)
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in wanted)


def complex_dtypes(s: Subject) -> str:
    """Complex parameters and complex x work, also one without the other; or a TypeError that names the dtype."""
    wanted = [dtype for dtype in (torch.complex64, torch.complex128) if dtype in s.dtypes]
    for m, n in s.usual:
        for dtype in wanted:
            real = torch.empty((), dtype=dtype).abs().dtype
            for mine, other in ((dtype, dtype), (dtype, real), (real, dtype)):
                try:
                    A = s.member(m, n, mine)
                    _agrees(A, s.numbers(2, n, dtype=other), f"{m}x{n}, {mine} matrix, {other} x")
                    same(A.T.to_dense(), A.to_dense().mT, f"plain transpose of a {mine} {m}x{n}")
                except TypeError as error:
                    expect(str(dtype) in str(error), f"the TypeError does not name {dtype}: {error}")
                    return f"refused: {error}"
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in wanted)


def half_dtypes(s: Subject) -> str:
    """bfloat16 and float16 come back as they came, near the float32 answer."""
    wanted = [dtype for dtype in (torch.bfloat16, torch.float16) if dtype in s.dtypes]
    for m, n in s.usual:
        for dtype in wanted:
            A, x = s.member(m, n).to(dtype), s.numbers(2, n).to(dtype)
            wide = A.to(torch.float32)
            norm = float(wide.to_dense().norm())
            same(A.to_dense(), wide.to_dense().to(dtype), f"{m}x{n}, to_dense in {dtype}", scale=norm, slack=4)
            scale = norm * float(x.float().norm())
            for where, B, z in (("matrix and x", A, x), ("x only", wide, x), ("matrix only", A, x.float())):
                kind = torch.promote_types(B.dtype, z.dtype)
                want = wide.apply(x.float())
                same(
                    B.apply(z),
                    want.to(kind),
                    f"{m}x{n}, {dtype} {where}",
                    scale=scale,
                    slack=4 if kind == dtype else 100,
                )
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in wanted)


def _agrees(A: StructuredMatrix, x: Tensor, where: str) -> None:
    """The product against the dense one in double precision, with the roundings of the dtype in which it came."""
    y = A.apply(x)
    expect(y.dtype == torch.promote_types(A.dtype, x.dtype), f"{where}: the product has dtype {y.dtype}")
    wide = torch.promote_types(y.dtype, torch.float32 if y.device.type == "mps" else torch.float64)
    W, z = A.to(wide).to_dense(), x.to(wide)
    expect(A.to_dense().dtype == A.dtype, f"{where}: to_dense() has dtype {A.to_dense().dtype}")
    same(
        y.to(wide),
        z @ W.mT,
        where,
        scale=float(W.norm() * z.norm()),
        slack=100 * torch.finfo(y.dtype).eps / torch.finfo(wide).eps,
    )


def devices(s: Subject) -> str:
    """Results live where the parameters live; ``meta`` stands in for a second device."""
    devices = ["meta"] + (["cuda"] if torch.cuda.is_available() else [])
    devices += ["mps"] if torch.backends.mps.is_available() else []
    for name in devices:
        for m, n in s.usual:
            A = s.member(m, n, torch.float32).to(name)
            x = s.numbers(2, n, dtype=torch.float32).to(name)
            expect(A.device.type == name, f"to({name!r}) leaves the parameters on {A.device}")
            for what, got, shape in (
                ("apply", A.apply(x), (2, m)),
                ("to_dense", A.to_dense(), (m, n)),
                ("A.T.to_dense", A.T.to_dense(), (n, m)),
                ("A @ X", A @ x.mT, (m, 2)),
            ):
                expect(got.device.type == name, f"{what} of a matrix on {name} is on {got.device}")
                expect(got.shape == shape, f"{what} on {name} has shape {tuple(got.shape)}, expected {shape}")
    return ", ".join([str(s.device), *devices])


def errors(s: Subject) -> str:
    """A wrong size is a ValueError that names both sizes; a wrong kind is a TypeError that names it."""
    m, n = s.usual[-1]
    A = s.member(m, n)
    wrong = n + 1

    def refused(what: str, call: Callable[[], object], kind: type[Exception], *words: str) -> None:
        try:
            call()
        except Exception as error:
            expect(isinstance(error, kind), f"{what}: {type(error).__name__} and not {kind.__name__}: {error}")
            for word in words:
                expect(word in str(error), f"{what}: the {kind.__name__} does not mention {word}: {error}")
        else:
            raise CheckFailed(f"{what}: no {kind.__name__}")

    whole = torch.ones(n, dtype=torch.int64, device=s.device)
    refused(f"x of {wrong} numbers", lambda: A.apply(s.numbers(2, wrong)), ValueError, str((2, wrong)), str(n))
    refused("x without a dimension", lambda: A.apply(s.numbers(1).squeeze()), ValueError, "()")
    refused(f"X of {wrong} rows", lambda: A @ s.numbers(wrong, 2), ValueError, str((wrong, 2)), str(n))
    refused("x of integers", lambda: A.apply(whole), TypeError, "torch.int64")
    refused("parameters of integers", lambda: A.with_tensors(*(t.long() for t in A.tensors)), TypeError, "torch.int64")
    return "wrong size, no dimensions, integers"


def immutable(s: Subject) -> str:
    """No attribute can be set, and no call changes the parameters or x."""
    for m, n in s.usual:
        A, x = s.member(m, n), s.numbers(3, n)
        before = [t.clone() for t in (*A.tensors, x)]
        A.apply(x), A @ x.mT, A.T.apply(s.numbers(m)), A.to_dense(), A.flops(2), repr(A)
        for t, kept in zip((*A.tensors, x), before):
            expect(torch.equal(t, kept), f"{m}x{n}: a product changed a defining tensor or x")
        for name in (*A.fields, "anything"):
            try:
                setattr(A, name, x)
            except AttributeError:
                continue
            raise CheckFailed(f"attribute {name!r} could be set")
    return sizes_text(s.usual)


def rebuild(s: Subject) -> str:
    """with_tensors, to, deepcopy and pickle keep the matrix and its structure."""
    for m, n in s.usual:
        A = s.member(m, n)
        W = A.to_dense()
        file = io.BytesIO(pickle.dumps(A))
        for how, B in (
            ("with_tensors", A.with_tensors(*A.tensors)),
            ("to", A.to(A.dtype)),
            ("deepcopy", copy.deepcopy(A)),
            ("pickle", pickle.load(file)),
            ("with_tensors of A.T", A.T.with_tensors(*A.T.tensors).T),
        ):
            expect(B.shape == A.shape, f"{how} changed the shape to {B.shape}")
            same(B.to_dense(), W, f"{how} at {m}x{n}")
        scaled = A.with_tensors(*(2 * t for t in A.tensors))
        same(scaled.apply(s.numbers(n)), scaled.to_dense() @ s.numbers(n), f"with other tensors at {m}x{n}")
        expect(not torch.equal(scaled.to_dense(), W), f"{m}x{n}: with_tensors ignores the tensors it is given")
    return sizes_text(s.usual)


def seeded(s: Subject) -> str:
    """random depends on its generator alone, and E|Wx|^2 = (m/n)|x|^2."""
    state = torch.get_rng_state()
    ratios = []
    for m, n in s.usual:
        for a, b in zip(s.member(m, n).tensors, s.member(m, n).tensors):
            expect(torch.equal(a, b), f"two equally seeded random({m}, {n}) differ")
        expect(torch.equal(torch.get_rng_state(), state), "random draws from torch's global generator")
        draws = s.member(m, n, batch=150).to_dense()
        ratios.append(float(draws.square().sum((-2, -1)).mean() / m))
        expect(0.8 < ratios[-1] < 1.25, f"{m}x{n}: the mean of |W|_F^2 is {ratios[-1]:.2f} m; it should be m")
    return "mean of |W|_F^2 / m: " + ", ".join(f"{ratio:.2f}" for ratio in ratios)
