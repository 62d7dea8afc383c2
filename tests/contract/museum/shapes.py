"""Exhibits that are right for some shapes only, or warn, or refuse without a word."""

import torch

from surm_lite.matrices import Circulant, Toeplitz

from .exhibit import SURM, exhibit


@exhibit("x W^T and W X confused", "A @ X", "even sizes, batches of x")
class RowsForColumns(Circulant):
    """``A @ X`` multiplies the rows of X, as a linear layer does, and not its columns."""

    def __matmul__(self, X):
        return self.apply(X)


@exhibit("CoLA 0.0.7: operators take vectors and matrices only", "batches of x", "even sizes, gradcheck")
class TwoDimensionsOnly(Circulant):
    """No leading batch dimensions."""

    def apply(self, x):
        if x.ndim > 2:
            raise ValueError(f"expected a vector or a matrix, got shape {tuple(x.shape)}, dtype {x.dtype}")
        return super().apply(x)


@exhibit("an early return for an empty batch", "batches of x", "even sizes, gradcheck")
class EmptyBatchDetached(Circulant):
    """The empty result does not depend on the parameters: training on an empty batch raises in backward()."""

    def apply(self, x):
        return super().apply(x) if x.numel() else x.new_zeros(*x.shape[:-1], self.shape[0])


@exhibit("CoLA 0.0.7: no batch of matrices", "batches of matrices", "even sizes, batches of x")
class OneMatrixOnly(Circulant):
    """Takes the first member of a stack for all of them."""

    def _product(self, x):
        c = self.column
        return Circulant(c[(0,) * (c.ndim - 1)])._product(x).expand(torch.broadcast_shapes(c.shape, x.shape))


@exhibit(f"{SURM}, toeplitz_multiplication", "no warnings", "even sizes, batches of x, gradcheck")
class DotT(Toeplitz):
    """``x.T`` on more than two dimensions, deprecated by torch: right numbers, and a warning."""

    def _product(self, x):
        return super()._product(x.T.T)


@exhibit(f"{SURM}: shapes are checked by assert", "errors", "even sizes, rectangular")
class Asserts(Toeplitz):
    """A user's mistake meets an AssertionError without a word, or nothing at all under python -O."""

    def apply(self, x):
        assert x.shape[-1] == self.shape[1]
        return super().apply(x)
