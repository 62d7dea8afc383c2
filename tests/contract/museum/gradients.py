"""Exhibits with the right product and the wrong derivative."""

import torch
from torch import Tensor

from surm_lite.matrices import BlockCirculant, Circulant

from .exhibit import exhibit


def reversed_index(g: Tensor) -> Tensor:
    """g_0, g_{n-1}, ..., g_1."""
    return g.flip(-1).roll(1, -1)


class ReverseUpstream(torch.autograd.Function):
    """The block-circulant product with C3A's backward."""

    generate_vmap_rule = True

    @staticmethod
    def forward(kernel, x):
        return BlockCirculant(kernel).apply(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        kernel, x = ctx.saved_tensors
        b = kernel.shape[-1]
        conjugate = BlockCirculant(kernel.conj()).T  # torch's gradients of complex numbers are conjugate ones
        for_x = conjugate.apply(reversed_index(g.unflatten(-1, (-1, b))).flatten(-2))  # the slip is reversed_index
        blocks = torch.fft.fft(g.unflatten(-1, (-1, 1, b))) * torch.fft.fft(x.unflatten(-1, (1, -1, b))).conj()
        for_kernel = torch.fft.ifft(blocks).flatten(0, -4).sum(0) if blocks.ndim > 3 else torch.fft.ifft(blocks)
        return for_kernel if kernel.is_complex() else for_kernel.real, for_x


@exhibit(
    "HF peft 0.21.2, C3A, backward; the same line stands in the listing of the C3A paper",
    "dot test, gradcheck",
    "even sizes, odd sizes, rectangular, transpose, no warnings, never dense",
)
class C3ABackward(BlockCirculant):
    """The upstream gradient is index-reversed inside each block: layers below learn from a wrong signal."""

    def _product(self, x):
        return ReverseUpstream.apply(self.kernel, x)


class ConvolveForCorrelate(torch.autograd.Function):
    """The circulant product with a convolution for the gradient of its column."""

    @staticmethod
    def forward(c, x):
        return Circulant(c).apply(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        c, x = ctx.saved_tensors
        for_c = Circulant(x).apply(g).sum_to_size(c.shape)  # right would be Circulant(x).T
        return for_c, Circulant(c).T.apply(g).sum_to_size(x.shape)


@exhibit("a convolution where the adjoint is a correlation", "gradcheck", "even sizes, odd sizes, dot test")
class WrongColumnGradient(Circulant):
    """The gradient for x is right, so the dot test is content; the one for the column is not."""

    def _product(self, x):
        return ConvolveForCorrelate.apply(self.column, x)


@exhibit("a shortcut for the zero matrix", "vmap, devices", "even sizes, gradcheck")
class BranchesOnData(Circulant):
    """``if`` on the numbers themselves: nothing that traces or maps a program can follow it."""

    def _product(self, x):
        return super()._product(x) if bool(self.column.any()) else torch.zeros_like(x)
