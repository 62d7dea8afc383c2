"""The algebra: every constructor, product and algorithm against dense oracles in double precision."""

from __future__ import annotations

from inspect import signature
from random import Random
from typing import Any

import numpy as np
import torch
from engine import Draw, Target
from torch import Tensor

import surm_lite as sl
from surm_lite.matrices import FAMILIES, StructuredMatrix

COUNT = 1300


def randn(random: Random, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(random.randrange(2**31)))


def tensor(*shape: int) -> Draw:
    """Of this shape, of some dtype and size."""

    def draw(random: Random) -> Tensor:
        dtype = random.choice((torch.float32, torch.float32, torch.float64, torch.complex64, torch.bfloat16))
        scale = random.choice((1.0, 1.0, 1e-30, 1e30)) if dtype != torch.bfloat16 else 1.0
        return scale * randn(random, *shape, dtype=dtype)

    return draw


def always(*values: Any) -> Draw:
    return lambda random: random.choice(values)


def member(family: type, n: int = 4, **options: Any) -> Draw:
    def draw(random: Random) -> StructuredMatrix:
        generator = torch.Generator().manual_seed(random.randrange(2**31))
        dtype = random.choice((torch.float32, torch.float64, torch.complex64))
        return family.random(n, generator=generator, dtype=dtype, **options)

    return draw


def a_toeplitz(random: Random) -> StructuredMatrix:
    c = randn(random, 4, dtype=random.choice((torch.float32, torch.float64)))
    c[0] = 6
    return sl.SymmetricToeplitz(c * random.choice((1.0, 1e-30, 1e30)))


values = (None, True, False, "x", 0, -1, 1, 3, 4, 7, 2.5, float("nan"), float("inf"), 1j, 2**70, 10**400, (), [], [1.0])
values += ({}, (2, 2), object(), int, torch.float32, np.ones(4), np.float64(2.0), np.int64(2), sl.Circulant)
BAD: tuple[Draw, ...] = tuple(always(value) for value in values) * 2
BAD += (
    lambda r: torch.ones(0),
    lambda r: torch.tensor(1.0),
    *(
        lambda r, shape=shape: randn(r, *shape)
        for shape in ((1,), (3,), (4,), (4, 4), (2, 4), (4, 3), (2, 4, 4), (0, 4))
    ),
    *(lambda r, c=c: c * randn(r, 4) for c in (float("nan"), float("inf"), 1e30, 1e-30, 0.0)),
    *(lambda r, c=c: c * randn(r, 4, 4) for c in (float("nan"), float("inf"), 1e30, 1e-30, 0.0)),
    *(
        lambda r, dtype=dtype, shape=shape: randn(r, *shape).to(dtype)
        for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.complex128, torch.int64, torch.bool)
        for shape in ((4,), (4, 4))
    ),
    *(lambda r, shape=shape: torch.empty(*shape, device="meta") for shape in ((4,), (4, 4))),
    lambda r: randn(r, 4, 4).to_sparse(),
    lambda r: torch.nn.Parameter(randn(r, 4)),
    lambda r: torch.nn.Parameter(randn(r, 4, 4)),
    lambda r: sl.Circulant.random(4),
    lambda r: sl.LDR.random(4),
    lambda r: sl.Toeplitz.random(2, 4),
    lambda r: sl.Circulant(randn(r, 3, 4)),
    lambda r: sl.Circulant.random(4).to("meta"),
)


def wide(t: Tensor) -> Tensor:
    return t.detach().to(torch.promote_types(t.dtype, torch.float64))


def dense(M: Any) -> Tensor:
    """In double precision, from the definition."""
    return wide(M) if isinstance(M, Tensor) else M.to(wide(M.tensors[0]).dtype).to_dense().detach()


def far(got: Tensor, want: Tensor, dtype: torch.dtype, scale: float = 1.0) -> str | None:
    """What is wrong with ``got``, in roundings of its dtype times ``scale``."""
    if not want.numel():
        return None if got.shape == want.shape else f"shape {tuple(got.shape)}, not {tuple(want.shape)}"
    if got.is_meta or want.is_meta:
        return None if got.shape == want.shape else f"shape {tuple(got.shape)}, not {tuple(want.shape)}"
    if got.shape != want.shape:
        return f"shape {tuple(got.shape)}, not {tuple(want.shape)}"
    if not bool(torch.isfinite(want).all()) or float(want.abs().amax()) > torch.finfo(dtype).max / 64:
        return None
    error, size = float((wide(got) - want).abs().amax()), float(want.abs().amax())
    allowed = 2000 * torch.finfo(dtype).eps * scale * size + 1e4 * torch.finfo(dtype).tiny
    return None if error <= allowed else f"off by {error:.1e} where numbers are {size:.1e}"


def built(arguments: dict[str, Any], A: Any) -> str | None:
    """The fast product of what was built is that of its dense twin."""
    if not all(bool(torch.isfinite(t).all()) for t in A.tensors if not t.is_meta):
        return None  # built from NaN or infinity, which it may hold
    x = torch.randn(A.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(A.device)
    W = dense(A)
    want = (W @ x.to(W.dtype)[..., None]).squeeze(-1)
    norm = (
        1.0
        if W.is_meta or not W.numel()
        else float((W.abs() @ x.abs()[:, None]).amax() / want.abs().amax().clamp(min=1e-300))
    )
    return far(A.to(wide(A.tensors[0]).dtype).apply(x), want, torch.float64, max(1.0, norm))


def solved(arguments: dict[str, Any], x: Any) -> str | None:
    M, b = arguments.get("operator", arguments.get("T")), arguments["b"]
    x = x.x if isinstance(x, tuple) else x
    W = dense(M)
    scale = float(W.abs().amax())
    condition = float(torch.linalg.cond(W / scale))
    if not condition * torch.finfo(x.dtype).eps < 1e-3:
        return None
    b = wide(b).to(torch.promote_types(W.dtype, wide(b).dtype))
    want = torch.linalg.solve((W / scale).to(b.dtype), b) / scale
    loose = 1e3 if "preconditioner" in arguments else 1.0  # stops at the square root of the precision
    return far(x, want, x.dtype, condition * loose)


def projected(arguments: dict[str, Any], found: Any) -> str | None:
    S, error = found
    W = wide(arguments["W"])
    k = float(W.abs().amax()) or 1.0
    want = float((W / k - dense(S) / k).norm() / (W / k).norm()) if bool((W != 0).any()) else 0.0
    return None if abs(error - want) <= 0.02 + want / 100 else f"error {error:.3g}, not {want:.3g}"


def of_rank(arguments: dict[str, Any], rank: int) -> str | None:
    if arguments["tol"] is not None or not isinstance(arguments["M"], Tensor):
        return None
    W = wide(arguments["M"])
    W = W / (float(W.abs().amax()) or 1.0)
    D = sl.sylvester(W) if arguments["kind"] == "sylvester" else sl.stein(W)
    eps = torch.finfo(arguments["M"].dtype).eps
    want = int((torch.linalg.svdvals(D) > 8 * eps * torch.linalg.matrix_norm(W, 2)).sum())
    return None if rank == want else f"rank {rank}, not {want}"


def generates(arguments: dict[str, Any], found: Any) -> str | None:
    G, H = found
    if arguments["rank"] is not None or arguments["tol"] is not None:
        return None
    want = sl.sylvester(dense(arguments["M"]))
    M = dense(arguments["M"])
    size = float(M.abs().amax()) / (float(want.abs().amax()) or 1.0)
    return far(wide(G).mT @ wide(H), want, arguments["M"].dtype, max(1.0, size)) if bool(want.any()) else None


def same_as(want: Any) -> Any:
    """Compares a structured result with what a function of the dense matrices gives."""

    def check(arguments: dict[str, Any], A: Any) -> str | None:
        expected = want(**{k: dense(v) if isinstance(v, StructuredMatrix) else v for k, v in arguments.items()})
        return far(dense(A), expected, A.dtype, 1e3)

    return check


def schur(M: Tensor, p: int) -> Tensor:
    return M[p:, p:] - M[p:, :p] @ torch.linalg.solve(M[:p, :p], M[:p, p:])


CORES = {1: (4,), 2: (2, 4), 3: (2, 2, 2)}
SHAPES = {"LowRank": ((4, 2), (2, 4)), "Kronecker": ((2, 2), (2, 2)), "CauchyLike": ((4,), (4,), (2, 4), (2, 4))}


def constructor(cls: type) -> Target:
    shapes = SHAPES.get(cls.__name__) or [CORES[core] for core in cls.fields.values()]
    good: dict[str, Draw] = {name: lambda r, s=s: randn(r, *s) for name, s in zip(cls.fields, shapes)}
    for name, parameter in signature(cls).parameters.items():
        if name not in good:
            good[name] = always(parameter.default if parameter.default is not parameter.empty else 0.5)
    return Target(cls.__name__, cls, good, built)


def drawn(cls: type) -> Target:
    options = [n for n, p in signature(cls.random).parameters.items() if p.kind is p.KEYWORD_ONLY and n != "generator"]
    good: dict[str, Draw] = {"m": always(4), "n": always(None, 4), "dtype": always(None, torch.float64)}
    good |= {"device": always(None), "generator": lambda r: torch.Generator().manual_seed(0)}
    good |= {name: always(signature(cls.random).parameters[name].default) for name in options}
    return Target(f"{cls.__name__}.random", cls.random, good, built)


def product(cls: type) -> Target:
    def wrong(arguments: dict[str, Any], y: Tensor) -> str | None:
        A, x = arguments["A"], wide(arguments["x"])
        want = (
            dense(A).to(torch.promote_types(dense(A).dtype, x.dtype))
            @ x.to(torch.promote_types(dense(A).dtype, x.dtype))[..., None]
        ).squeeze(-1)
        return far(y, want, y.dtype, 1e3)

    return Target(f"{cls.__name__}.apply", lambda A, x: cls.apply(A, x), {"A": member(cls), "x": tensor(4)}, wrong)


ones: dict[str, Draw] = {"M": member(sl.LDR)}
optional = always(None)
positive: dict[str, Draw] = {"operator": a_toeplitz, "b": tensor(4)}
TARGETS: list[Target] = [
    *map(constructor, FAMILIES.values()),
    *map(drawn, FAMILIES.values()),
    Target("solve", sl.solve, positive, solved, ("solution",)),
    Target("solve, LDR", sl.solve, {"operator": member(sl.LDR), "b": tensor(4, 2)}, solved, ("solution",)),
    Target(
        "conjugate_gradients",
        sl.conjugate_gradients,
        positive | {"preconditioner": always("strang", "chan", None), "tol": optional, "max_iterations": optional},
        words=("solution",),
    ),
    Target("levinson", sl.levinson, {"T": a_toeplitz, "b": tensor(4)}, solved, ("solution",)),
    Target("toeplitz_inverse", sl.toeplitz_inverse, {"T": a_toeplitz}, same_as(lambda T: torch.linalg.inv(T))),
    Target("inverse", sl.inverse, ones, same_as(lambda M: torch.linalg.inv(M)), ("operator",)),
    Target("as_ldr", lambda M: sl.as_ldr(M), {"M": member(sl.Toeplitz)}, same_as(lambda M: M)),
    Target("leading_block", sl.leading_block, ones | {"p": always(1, 2, 3, 4)}, same_as(lambda M, p: M[:p, :p])),
    Target("schur_complement", sl.schur_complement, ones | {"p": always(1, 2, 3)}, same_as(schur)),
    Target(
        "nearest",
        lambda W, family, options: sl.nearest(W, family, **options),
        {"W": tensor(4, 4), "family": always(*FAMILIES), "options": always({})},
        projected,
        ("mapping",),
    ),
    *(
        Target(
            f"nearest, {family}",
            lambda W, v, f=family, o=option: sl.nearest(W, f, **{o: v}),
            {"W": tensor(4, 4), "v": always(good)},
            projected,
            (option, *words),
        )
        for family, option, good, words in (
            ("low_rank", "rank", 2, ()),
            ("ldr", "rank", 1, ()),
            ("monarch", "blocks", (2, 2), ()),
            ("kronecker", "a_shape", (2, 2), ()),
            ("kronecker_sum", "terms", 2, ()),
            ("block_circulant", "block", 2, ()),
            ("f_circulant", "f", 0.5, ()),
        )
    ),
    Target("which_structure", sl.which_structure, {"W": tensor(4, 4), "budget": always(None, 8)}),
    Target(
        "displacement_rank",
        sl.displacement_rank,
        {"M": tensor(4, 4), "A": optional, "B": optional, "kind": always("sylvester", "stein"), "tol": optional},
        lambda a, rank: of_rank(a, rank) if a["A"] is None and a["B"] is None else None,
    ),
    Target(
        "generators",
        sl.generators,
        {"M": tensor(4, 4), "rank": optional, "tol": optional},
        generates,
    ),
    Target("sylvester", sl.sylvester, {"M": tensor(4, 4), "A": optional, "B": optional}),
    Target("stein", sl.stein, {"M": tensor(4, 4), "A": optional, "B": optional}),
    Target(
        "recover",
        sl.recover,
        {
            "G": tensor(2, 4),
            "H": tensor(2, 4),
            "A": always(None, sl.Shift(0.5)),
            "B": always(None, sl.Shift(2j)),
            "kind": always("sylvester", "stein"),
        },
        lambda a, M: built(a, M),
        ("corners",),
    ),
    Target("compress", sl.compress, {"G": tensor(2, 4), "H": tensor(2, 4), "rank": optional, "tol": optional}),
    Target("krylov", sl.krylov, {"A": lambda r: randn(r, 4, 4), "v": lambda r: randn(r, 4)}),
    Target(
        "Krylov",
        sl.Krylov,
        {k: (lambda r, s=s: randn(r, *s)) for k, s in zip("GHAB", ((1, 4), (1, 4), (4, 4), (4, 4)))},
        built,
    ),
    Target("shift", sl.shift, {"n": always(4), "f": always(1, -1, 2j), "dtype": optional, "device": optional}),
    Target("Shift", sl.Shift, {"f": always(1, -1), "transposed": always(True, False)}),
    Target("families", sl.families, {"n": always(4), "seed": always(0)}),
    Target(
        "dft_butterflies", sl.dft_butterflies, {"n": always(4), "dtype": always(torch.complex64), "device": optional}
    ),
]
