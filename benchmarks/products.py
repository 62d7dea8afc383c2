"""Products with Toeplitz, circulant and LDR matrices: ours, scipy's, linear_operator's and Krylov forms, in one run.

A ratio is time of the peer / our time, > 1 means that we are faster. All variants run in every round, in a new random
order, and the ratio is taken within the round before the median, so that a busy machine blurs the result but does not
bias it. Every peer gets the same numbers, the same threads, and the memory layout in which it is fastest. The matrix is
given and fixed, as in a solver or in inference: scipy and linear_operator transform it in every call, since they have
nowhere to keep the result, and our operators keep it.

    python benchmarks/products.py            # tables, and benchmarks/results/products.json; about three minutes
    python benchmarks/products.py --quick    # half a minute, no file
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from adapter_overhead import machine
from linear_operator.operators import ToeplitzLinearOperator
from linear_operator.utils.toeplitz import toeplitz_matmul
from scipy.linalg import matmul_toeplitz
from torch import Tensor

import surm_lite as sl
from surm_lite.matrices import fft

RESULT = Path(__file__).parent / "results" / "products.json"
DTYPES = {"float32": torch.float32, "float64": torch.float64}
CASES = [(n, batch) for n in (256, 1021, 1024, 4095, 4096, 16384) for batch in (1, 256)] + [(16381, 1)]  # odd, prime
SCALING = [2**k for k in range(10, 21, 2)]
LARGE = 2**13  # from here on the overhead of a call no longer hides how the time grows
GOAL = 2.0  # for n >= 1024, against every peer; "written out" is no peer but the formula in two lines
DENSE = 1024  # the largest n for which Krylov matrices are formed: r of them on each side

Product = Callable[[], Tensor]


def toeplitz(n: int, x: Tensor, threads: int) -> dict[str, dict[str, list[Product]]]:
    """Ours -> {"ours" or peer: its forms}. A form is a memory layout; the fastest one is kept."""
    c, r = randn(n, like=x) / n, randn(n, like=x) / n
    r[0] = c[0]
    T, S, C = sl.Toeplitz(c, r), sl.SymmetricToeplitz(c), sl.Circulant(c)
    around = torch.cat([c[:1], c[1:].flip(0)])  # the first row of the circulant
    strided, packed = x.mT, x.mT.contiguous()  # (n, batch), which the peers take
    operator = ToeplitzLinearOperator(c)

    def scipy(row: Tensor) -> list[Product]:
        pair = c.numpy(), row.numpy()
        arrays = packed.numpy(), strided.numpy()
        return [lambda X=X: torch.from_numpy(matmul_toeplitz(pair, X, False, threads)).mT for X in arrays]

    return {
        "toeplitz": {
            "ours": [lambda: T.apply(x)],
            "scipy": scipy(r),
            "linear_operator": [lambda X=X: toeplitz_matmul(c, r, X).mT for X in (packed, strided)],
        },
        "symmetric_toeplitz": {  # the only ones that linear_operator has an operator for
            "ours": [lambda: S.apply(x)],
            "linear_operator": [lambda X=X: (operator @ X).mT for X in (packed, strided)],
        },
        "circulant": {
            "ours": [lambda: C.apply(x)],
            "scipy": scipy(around),
            "written out": [lambda: torch.fft.irfft(torch.fft.rfft(c) * torch.fft.rfft(x), n=n)],
        },
    }


def ldr(n: int, x: Tensor, rank: int) -> dict[str, dict[str, list[Product]]]:
    """The two forms of Thomas et al. (2018): Krylov matrices of shifts multiplied by FFT, and formed once."""
    W = sl.LDR(randn(rank, n, like=x) / n, randn(rank, n, like=x))
    mirrored = sl.SkewCirculant(W.H).T.column  # Z_-1(h) is the transpose of K(Z_-1, v) for this v
    variants = {"ours": [lambda: W.apply(x)], "krylov by fft": [lambda: krylov_by_fft(W.G, mirrored, x)]}
    if n <= DENSE:
        one = torch.zeros(n, dtype=x.dtype).index_fill(0, torch.tensor(1), 1.0)
        left, right = sl.krylov(sl.Circulant(one), W.G), sl.krylov(sl.SkewCirculant(one), mirrored)
        variants["krylov matrices"] = [lambda: ((x @ right) @ left.mT).sum(0)]
    return {f"ldr, r = {rank}": variants}


def krylov_by_fft(G: Tensor, V: Tensor, x: Tensor) -> Tensor:
    """``sum_i K(Z_1, g_i) K(Z_-1, v_i)^T x`` with complex transforms, summed before the last one."""
    eta = fft.twist(x.shape[-1], x)
    t = eta * torch.fft.fft(torch.fft.ifft(eta.conj() * x)[:, None] * torch.fft.fft(eta * V))
    return torch.fft.ifft((torch.fft.fft(G) * torch.fft.fft(t.real)).sum(-2)).real


def randn(*shape: int, like: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, dtype=like.dtype, generator=generator)


def seconds(product: Product, repeat: int = 1) -> float:
    # One thread: its own processor time, which other processes on the machine do not stretch. Several: the wall clock.
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    for _ in range(repeat):
        product()
    return (clock() - start) / repeat


def fastest(forms: list[Product]) -> Product:
    """The form with the shorter of two calls."""
    return forms[0] if len(forms) == 1 else min(forms, key=lambda form: min(seconds(form) for _ in range(2)))


def check(family: str, variants: dict[str, list[Product]]) -> None:
    """All variants compute the same vectors."""
    want = variants["ours"][0]()
    tolerance = 100 * want.shape[-1] * torch.finfo(want.dtype).eps * float(want.abs().max())
    for peer, forms in variants.items():
        for form in forms:
            error = float((form() - want).abs().max())
            if not error < tolerance:
                raise ArithmeticError(f"{family}: {peer} differs from ours by {error:.1e}")


def rounds_of(products: dict[str, Product], budget: float, at_most: int, at_least: int = 5) -> dict[str, list[float]]:
    """Seconds of one call, by variant and round: as many rounds as the budget in seconds allows."""
    once = {name: seconds(product) for name, product in products.items()}
    once |= {name: min(seconds(products[name]) for _ in range(5)) for name, t in once.items() if t < 0.01}
    repeat = {name: max(1, round(1e-3 / t)) for name, t in once.items()}  # a millisecond at a time
    number = min(at_most, max(at_least, round(budget / sum(repeat[name] * t for name, t in once.items()))))
    order, names = random.Random(0), list(products)
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(number):
        order.shuffle(names)
        for name in names:
            times[name].append(seconds(products[name], repeat[name]))
    return times


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Median and quartiles of the ratios within each round."""
    low, median, high = statistics.quantiles([t / o for t, o in zip(theirs, ours)], n=4)
    return {"median": round(median, 3), "low": round(low, 3), "high": round(high, 3)}


def measure(n: int, batch: int, dtype: str, threads: int, budget: float) -> list[dict]:
    """One row for each family."""
    x = randn(batch, n, like=torch.empty(0, dtype=DTYPES[dtype]))
    families = toeplitz(n, x, threads) | ldr(n, x, 1) | ldr(n, x, 4)
    for family, variants in families.items():
        check(family, variants)
    products = {(family, name): fastest(f) for family, variants in families.items() for name, f in variants.items()}
    times = rounds_of(products, budget, at_most=51)
    rows = []
    for family, variants in families.items():
        ours = times[family, "ours"]
        peers = {peer: ratios(ours, times[family, peer]) for peer in variants if peer != "ours"}
        judged = [row["median"] >= GOAL for peer, row in peers.items() if peer != "written out"]
        met = all(judged) if n >= 1024 else None
        case = {"family": family, "n": n, "batch": batch, "dtype": dtype}
        rows.append({**case, "rounds": len(ours), "peers": peers, "goal_met": met})
    return rows


def growth(dtype: str, sizes: Sequence[int], budget: float) -> dict[str, dict]:
    """How the time of one product with one vector grows: the slope of log time against log n, from ``LARGE`` on."""
    like = torch.empty(0, dtype=DTYPES[dtype])
    products: dict[tuple[str, int], Product] = {}
    for n in sizes:
        x, g, h = randn(n, like=like), randn(4, n, like=like) / n, randn(4, n + 1, like=like)[:, :n]
        operators = {
            "circulant": sl.Circulant(g[0]),
            "toeplitz": sl.Toeplitz(g[0], g[1]),
            "ldr, r = 1": sl.LDR(g[:1], h[:1]),
            "ldr, r = 4": sl.LDR(g, h),
        }
        products |= {(family, n): lambda A=A, x=x: A.apply(x) for family, A in operators.items()}
    times = rounds_of(products, budget, at_most=31, at_least=9)
    large = [n for n in sizes if n >= LARGE]
    logs = [math.log(n) for n in large]

    def slope(values: Sequence[float]) -> float:
        return round(statistics.linear_regression(logs, [math.log(v) for v in values]).slope, 3)

    families = dict.fromkeys(family for family, _ in products)
    found = {f: slope([statistics.median(times[f, n]) for n in large]) for f in families}
    return {"slopes": found, "n log n": slope([n * math.log(n) for n in large]), "n^2": 2.0, "sizes": large}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="time for one size, batch and dtype, at least 5 rounds"
    )
    parser.add_argument("--largest", type=int, default=SCALING[-1], help="leave out larger n")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--quick", action="store_true", help="n <= 1024 and a second each, no file")
    args = parser.parse_args(arguments)
    if args.quick:
        args.seconds, args.largest = 1.0, 1024
    torch.set_num_threads(args.threads)
    gc.disable()

    rows = []
    for dtype in DTYPES:
        for n, batch in CASES:
            if n > args.largest:
                continue
            print(f"\nn = {n}, batch {batch}, {dtype}: peer / ours (quartiles)")
            for row in measure(n, batch, dtype, args.threads, args.seconds):
                rows.append(row)
                cells = [f"{p} {q['median']:.1f} ({q['low']:.1f} to {q['high']:.1f})" for p, q in row["peers"].items()]
                print(
                    f"  {row['family']:20} {', '.join(cells)}{'   below the goal' if row['goal_met'] is False else ''}"
                )
    judged = [row["goal_met"] for row in rows if row["goal_met"] is not None]
    print(f"\n{GOAL:g} times as fast as every peer in {sum(judged)} of {len(judged)} cases with n >= 1024")
    if args.quick:
        return
    sizes = [n for n in SCALING if n <= args.largest]
    scaling = {dtype: growth(dtype, sizes, args.seconds) for dtype in DTYPES}
    for dtype, row in scaling.items():
        print(f"slope of log time, {dtype}: {row['slopes']}; n log n would give {row['n log n']}")
    record = {
        "what": "time of a peer / our time for one product with a given matrix; and how our time grows, one vector",
        "command": "python benchmarks/products.py",
        "device": machine("cpu"),
        "threads": args.threads,
        "clock": "processor time of the thread" if args.threads == 1 else "wall clock",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "numpy", "scipy", "linear_operator", "surm-lite")},
        "mkl": torch.backends.mkl.is_available(),
        "goal": GOAL,
        "cases": rows,
        "scaling": scaling,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\nwritten to {args.out}")


if __name__ == "__main__":
    main()
