"""Checks of derivatives: the dot test, gradcheck and vmap."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

from .subject import Subject, expect, same, sizes_text


def dot_test(s: Subject) -> str:
    """The vector-Jacobian product of apply is the transpose's product, W^T y."""
    for m, n in s.square + s.rectangular:
        A, x, y = s.member(m, n), s.numbers(2, n).requires_grad_(), s.numbers(2, m)
        W = A.to_dense()
        scale = float(W.norm() * y.norm())
        (pulled,) = torch.autograd.grad(A.apply(x), x, y)
        same(pulled, y @ W, f"gradient for x at {m}x{n}", scale=scale)
        same(A.T.apply(y), y @ W, f"A.T.apply(y) at {m}x{n}", scale=scale)
    return sizes_text(s.square + s.rectangular)


def gradcheck(s: Subject) -> str:
    """Gradients for x and for every defining tensor are those of finite differences, real and complex."""
    sizes = tuple(size for size in ((1, 1), (4, 4), (5, 5), (3, 5)) if not s.family.square or size[0] == size[1])
    done = []
    for dtype in (torch.float64, torch.complex128):
        for m, n in sizes:
            A = s.member(m, n, dtype)
            inputs = [t.clone().requires_grad_() for t in (s.numbers(2, n, dtype=dtype), *A.tensors)]

            def forward(x: Tensor, *tensors: Tensor, A=A) -> Tensor:
                return A.with_tensors(*tensors).apply(x)

            try:
                torch.autograd.gradcheck(forward, inputs)
            except GradcheckError as error:  # its first line says which input
                expect(False, f"{m}x{n}, {dtype}: {str(error).strip().splitlines()[0]}")
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
