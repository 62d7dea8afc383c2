"""Checks of derivatives: the dot test, gradcheck and vmap."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

from surm_lite.checks.report import CheckFailed
from surm_lite.checks.subject import Subject, same, sizes_text


def dot_test(s: Subject) -> str:
    """<A x, y> = <x, A^T y>, with A^T y from the vector-Jacobian product of apply: it asks for no dense matrix."""
    for m, n in s.all_sizes:
        A, x, y = s.member(m, n), s.numbers(3, n).requires_grad_(), s.numbers(3, m)
        Ax = A.apply(x)
        (pulled,) = torch.autograd.grad(Ax, x, y)
        scale = float(Ax.norm() * y.norm())
        same((x * pulled).sum(), (Ax * y).sum(), f"<x, A^T y> at {m}x{n}", scale=scale)
    return sizes_text(s.all_sizes)


def gradcheck(s: Subject) -> str:
    """Gradients for x and for every defining tensor are those of finite differences along chance directions."""
    s = replace(s, device="cpu")  # finite differences need float64, which not every device has
    sizes = tuple(size for size in ((4, 4), (5, 5), (3, 6)) if not s.family.square or size[0] == size[1])
    done = []
    for dtype in (torch.float64, torch.complex128):
        if dtype not in s.dtypes:
            continue
        for m, n in sizes:
            A = s.member(m, n, dtype)
            inputs = [t.clone().requires_grad_() for t in (s.numbers(2, n, dtype=dtype), *A.tensors)]

            def forward(x: Tensor, *tensors: Tensor, A=A) -> Tensor:
                return A.with_tensors(*tensors).apply(x)

            try:
                torch.autograd.gradcheck(forward, inputs, fast_mode=True)
            except GradcheckError as error:  # its first line says which input
                raise CheckFailed(f"{m}x{n}, {dtype}: {str(error).strip().splitlines()[0]}") from None
        done.append(str(dtype).removeprefix("torch."))
    return f"{sizes_text(sizes)} in {' and '.join(done)}"


def vmap(s: Subject) -> str:
    """torch.func.vmap over x and over the parameters gives what a loop gives."""
    for m, n in s.usual:
        A, x = s.member(m, n, batch=3), s.numbers(3, n)
        one = [A.with_tensors(*(t[i] for t in A.tensors)) for i in range(3)]
        same(torch.func.vmap(one[0].apply)(x), one[0].apply(x), f"vmap over x at {m}x{n}")

        def forward(*tensors: Tensor, A=one[0], x=x[0]) -> Tensor:
            return A.with_tensors(*tensors).apply(x)

        loop = torch.stack([B.apply(x[0]) for B in one])
        same(torch.func.vmap(forward)(*A.tensors), loop, f"vmap over the parameters at {m}x{n}")
    return sizes_text(s.usual)
