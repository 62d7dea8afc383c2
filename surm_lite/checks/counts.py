"""Checks of cost: parameters, operations, and memory."""

from __future__ import annotations

from math import log2
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from surm_lite.checks.report import CheckFailed
from surm_lite.checks.subject import Subject, expect, sizes_text
from surm_lite.guard import DenseTensorError, no_dense

BIG = ((256, 256), (256, 192))
"""Large enough that a dense matrix stands out from a few vectors."""


def never_dense(s: Subject) -> str:
    """Neither the product of one vector nor its gradient forms a tensor of m n elements."""
    sizes = BIG[:1] if s.family.square else BIG
    for m, n in sizes:
        A, x = s.member(m, n, torch.float32), s.numbers(n, dtype=torch.float32)
        inputs = [t.clone().requires_grad_() for t in (x, *A.tensors)]
        try:
            with no_dense(n, m):
                A.with_tensors(*inputs[1:]).apply(inputs[0]).sum().backward()
        except DenseTensorError as error:
            raise CheckFailed(f"{m}x{n}: {error}") from None
    return sizes_text(sizes)


def parameters(s: Subject) -> str:
    """n_params counts numbers that exist, and dof is how many of them are independent: the rank of the Jacobian."""
    sizes = tuple(size for size in ((1, 1), (5, 5), (6, 4)) if not s.family.square or size[0] == size[1])
    for m, n in sizes:
        A = s.member(m, n)

        def dense(*tensors: Tensor, A=A) -> Tensor:
            return A.with_tensors(*tensors).to_dense().flatten()

        columns = torch.autograd.functional.jacobian(dense, A.tensors)
        rank = int(torch.linalg.matrix_rank(torch.cat([c.flatten(1) for c in columns], 1)))
        held = sum(t.numel() for t in A.tensors)
        expect(A.dof == rank, f"{m}x{n}: dof says {A.dof}, but {rank} numbers are independent")
        expect(
            rank <= A.n_params <= held, f"{m}x{n}: n_params is {A.n_params}; {rank} are independent, {held} are held"
        )
        stacked = s.member(m, n, batch=2)
        expect(
            stacked.n_params == A.n_params, f"n_params of two stacked members is {stacked.n_params}, not {A.n_params}"
        )
    return sizes_text(sizes)


def operations(s: Subject) -> str:
    """flops(batch) is affine in batch and agrees with a count of what apply really does."""
    lines = []
    for m, n in BIG[:1] if s.family.square else BIG:
        A = s.member(m, n)
        claimed = [A.flops(batch) for batch in (1, 2, 3, 40)]
        expect(all(isinstance(c, int) and c > 0 for c in claimed), f"flops gives {claimed[0]!r}, not a positive int")
        slope = claimed[1] - claimed[0]
        expect([c - claimed[0] for c in claimed] == [0, slope, 2 * slope, 39 * slope], "flops is not affine in batch")
        expect(A.flops() == claimed[0], "flops() is not flops(1)")
        for batch, claim in ((1, claimed[0]), (40, claimed[3])):
            with _Meter() as meter:
                A.apply(s.numbers(batch, n))
            ratio = claim / meter.total
            expect(
                0.9 < ratio < 1.1, f"{m}x{n}, batch {batch}: flops says {claim:,}, apply did about {meter.total:,.0f}"
            )
        lines.append(f"{m}x{n}: {claimed[0]:,} + {slope:,} a vector")
    return "; ".join(lines)


class _Meter(TorchDispatchMode):
    """Counts real operations: 5 n log2 n an FFT (half of it from or to real numbers), 2 a multiply-add."""

    total = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from torch.utils.flop_counter import flop_registry

        out = func(*args, **(kwargs or {}))
        op, name = func.overloadpacket, func.overloadpacket.__name__
        if name in ("_fft_r2c", "_fft_c2r", "_fft_c2c"):
            real = max((args[0], out), key=lambda t: t.numel() * (2 if t.is_complex() else 1))
            n = out.shape[-1] if name != "_fft_r2c" else args[0].shape[-1]
            vectors = real.numel() // real.shape[-1]
            self.total += (5.0 if name == "_fft_c2c" else 2.5) * vectors * n * max(1.0, log2(n))
        elif op in flop_registry:
            self.total += flop_registry[op](*args, **(kwargs or {}), out_val=out) * (4 if out.is_complex() else 1)
        elif name in ("mul", "div", "reciprocal"):
            self.total += out.numel() * (6 if out.is_complex() else 1)
        elif name in ("add", "sub", "sum"):
            self.total += max(a.numel() for a in args if isinstance(a, Tensor)) * (2 if out.is_complex() else 1)
        return out
