"""What the contract of families refuses, sentence by sentence: each is said of a family one line from a right one.

The museum holds defects that were met; here are those that only might be, so that no check can be lost unseen.
"""

import pytest
import torch

from surm_lite.checks import CheckFailed, check_family
from surm_lite.checks.subject import product_is_dense
from surm_lite.matrices import Circulant, FCirculant, Toeplitz

apply, matmul, to_dense = Circulant.apply, Circulant.__matmul__, Circulant.to_dense
transposed = Circulant.T.fget


def wrong(base: type = Circulant, **members: object) -> type:
    return type("Wrong", (base,), members)


def refuse(kind: type[Exception], words: str = "no") -> None:
    raise kind(words)


def longer(A: Circulant) -> Circulant:
    return Circulant(torch.cat([A.column, A.column[:1]]))


def drawn(change):
    """A family whose ``random`` is Circulant's, called otherwise."""
    return wrong(random=classmethod(lambda cls, m, n=None, **like: change(m, n, like)))


def also_draws(m, n, like):
    torch.rand(1)
    return Circulant.random(m, n, **like)


def priced(flops):
    return wrong(flops=lambda A, batch=1: flops(batch, lambda batch: Circulant.flops(A, batch)))


class Shrugs(Circulant):
    def with_tensors(self, *tensors):
        return self


class Remembers(Circulant):
    """A cache that goes along with other tensors."""

    def with_tensors(self, *tensors):
        other = super().with_tensors(*tensors)
        other.__dict__["first"] = self.column
        return other

    def _product(self, x):
        return Circulant(self.__dict__.get("first", self.column))._product(x)


class GrowsInTo(Circulant):
    def to(self, *arguments, **options):
        return longer(self)


class TurnsInDeepcopy(Circulant):
    def __deepcopy__(self, memo):
        return Circulant(-self.column)


class TurnsInPickle(Circulant):
    def __reduce__(self):
        return Circulant, (-self.column,)

    def __deepcopy__(self, memo):
        return self


class TurnsInTranspose(Circulant):
    @property
    def T(self):
        A = wrong(with_tensors=lambda A, *tensors: Circulant(-tensors[0]), T=property(transposed))
        return A(transposed(self).column)


LENGTH = property(lambda A: A.column.shape[-1])
NEGATED = wrong(apply=lambda A, x: -apply(A, x))
RECTANGLES = wrong(Toeplitz, apply=lambda A, x: Toeplitz.apply(A, x) * (1 if A.shape[0] == A.shape[1] else 2))

REFUSED = [
    ("rectangular", drawn(lambda m, n, like: Circulant.random(m, **like)), "raises no ValueError"),
    ("even sizes", drawn(lambda m, n, like: Circulant.random(m + 1, **like)), "random(2, 2) has shape (3, 3)"),
    ("even sizes", wrong(T=property(lambda A: NEGATED(transposed(A).column))), "transpose of 2x2: off by"),
    ("transpose", wrong(T=property(longer)), "1x1: A.T has shape (2, 2)"),
    ("transpose", wrong(T=property(lambda A: wrong(T=property(lambda B: B))(transposed(A).column))), "A.T.T at 3x3"),
    ("A @ X", wrong(__matmul__=lambda A, X: matmul(A, X)[None]), "shape (1, 12), expected (12,)"),
    ("A @ X", wrong(__matmul__=lambda A, X: matmul(A, X).float()), "dtype torch.float32, expected torch.float64"),
    ("A @ X", wrong(__matmul__=lambda A, X: matmul(A, X).to("meta")), "on meta, expected cpu"),
    ("batches of x", wrong(apply=lambda A, x: apply(A, x) * (1 if x.is_contiguous() else 2)), "x not contiguous"),
    ("batches of x", wrong(apply=lambda A, x: apply(A, x) * (1 if x.stride()[-1:] != (2,) else 2)), "x strided"),
    ("batches of x", wrong(apply=lambda A, x: apply(A, x) * (1 if x.stride() != (0, 1) else 2)), "x expanded"),
    ("batches of matrices", wrong(batch_shape=torch.Size([])), "have batch_shape ()"),
    ("batches of matrices",
     wrong(to_dense=lambda A: to_dense(A) if A.column.ndim == 1 else to_dense(A).flip(0)), "member 0 of a stack"),
    ("batches of matrices",
     wrong(__matmul__=lambda A, X: matmul(A, X) * (1 if A.column.ndim == 1 else 2)), "3 stacked 12x12 @ (12,)"),
    ("batches of matrices",
     wrong(T=property(lambda A: transposed(A) if A.column.ndim == 1 else A)), "transpose of 3 stacked"),
    ("rectangular", RECTANGLES, "1x5: off by"),
    *((check, RECTANGLES, "12x8") for check in ("batches of x", "batches of matrices", "real dtypes")),
    ("A @ X", wrong(Toeplitz, __matmul__=lambda A, X: RECTANGLES(*A.tensors).apply(X.mT).mT if X.ndim > 1 else
                    Toeplitz.__matmul__(A, X)), "12x8 @ (8, 1)"),
    ("vmap", wrong(apply=lambda A, x: apply(A, x) if bool(x.any()) else 0 * x), "vmap"),
    ("real dtypes", drawn(lambda m, n, like: Circulant.random(m, n, **like | {"dtype": torch.float64})),
     "random(dtype=torch.float32) has dtype torch.float64"),
    ("real dtypes", wrong(apply=lambda A, x: apply(A, x).float()), "the product has dtype torch.float32"),
    ("real dtypes", wrong(to_dense=lambda A: to_dense(A).double()), "to_dense() has dtype torch.float64"),
    ("complex dtypes", wrong(apply=lambda A, x: refuse(TypeError)), "does not name torch.complex64: no"),
    ("half dtypes", wrong(to_dense=lambda A: to_dense(A) * (1 if A.dtype.itemsize > 2 else 2)), "to_dense in torch.bf"),
    ("devices", wrong(to=lambda A, *to: A), "leaves the parameters on cpu"),
    ("devices", wrong(apply=lambda A, x: torch.ones(x.shape)), "apply of a matrix on meta is on cpu"),
    ("devices", wrong(apply=lambda A, x: apply(A, x)[None]), "apply on meta has shape (1, 2, 12)"),
    ("errors", wrong(apply=lambda A, x: x if x.shape[-1:] == (14,) else apply(A, x)), "x of 14 numbers: no ValueError"),
    ("errors", wrong(apply=lambda A, x: x if x.ndim == 0 else apply(A, x)), "x without a dimension: no ValueError"),
    ("errors", wrong(__matmul__=lambda A, X: X), "X of 14 rows: no ValueError"),
    ("errors", wrong(apply=lambda A, x: x if x.dtype == torch.int64 else apply(A, x)), "x of integers: no TypeError"),
    ("errors", wrong(with_tensors=lambda A, *tensors: A), "parameters of integers: no TypeError"),
    ("errors", wrong(apply=lambda A, x: apply(A, x) if x.shape[-1:] != (14,) else refuse(ValueError, "14")),
     "x of 14 numbers: the ValueError does not mention (2, 14): 14"),
    ("errors", wrong(apply=lambda A, x: apply(A, x) if x.shape[-1:] != (14,) else refuse(ValueError, "(2, 14)")),
     "x of 14 numbers: the ValueError does not mention 13"),
    ("errors", wrong(apply=lambda A, x: apply(A, x) if x.ndim else refuse(ValueError)), "does not mention ()"),
    ("errors", wrong(__matmul__=lambda A, X: refuse(ValueError)), "X of 14 rows: the ValueError does not mention (14"),
    ("errors", wrong(__matmul__=lambda A, X: refuse(ValueError, "(14, 2)")), "the ValueError does not mention 13"),
    ("errors", wrong(apply=lambda A, x: apply(A, x) if x.dtype != torch.int64 else refuse(TypeError)),
     "x of integers: the TypeError does not mention torch.int64"),
    ("errors", wrong(with_tensors=lambda A, *tensors: refuse(TypeError)), "parameters of integers: the TypeError does"),
    ("immutable", wrong(__setattr__=object.__setattr__), "attribute 'column' could be set"),
    ("immutable", wrong(__setattr__=lambda A, name, x: refuse(AttributeError) if name == "column" else None),
     "attribute 'anything' could be set"),
    ("rebuild", Shrugs, "with_tensors ignores the tensors"),
    ("rebuild", Remembers, "with other tensors at 12x12"),
    ("rebuild", GrowsInTo, "to changed the shape to (13, 13)"),
    ("rebuild", TurnsInDeepcopy, "deepcopy at 12x12"),
    ("rebuild", TurnsInPickle, "pickle at 12x12"),
    ("rebuild", TurnsInTranspose, "with_tensors of A.T at 12x12"),
    ("random", drawn(lambda m, n, like: Circulant.random(m, n, **like | {"generator": None})), "two equally seeded"),
    ("random", drawn(also_draws), "draws from torch's global generator"),
    ("never dense", wrong(Toeplitz, apply=lambda A, x: Toeplitz.apply(A, x) if A.shape[0] == A.shape[1] else
                          x @ A.to_dense().mT), "256x192"),
    ("parameters", wrong(n_params=property(lambda A: 1), dof=LENGTH), "n_params is 1; 5 are independent"),
    ("parameters", wrong(n_params=property(lambda A: 6), dof=LENGTH), "n_params is 6; 1 are independent, 1 are held"),
    ("parameters", wrong(n_params=property(lambda A: A.column.numel())), "two stacked members is 2, not 1"),
    ("operations", priced(lambda batch, right: float(right(batch))), "not a positive int"),
    ("operations", priced(lambda batch, right: right(batch) if batch < 40 else float(right(batch))), "not a positive"),
    ("operations", priced(lambda batch, right: 0), "flops gives 0, not a positive int"),
    ("operations", priced(lambda batch, right: right(batch) + (batch == 40)), "flops is not affine in batch"),
    ("operations", wrong(flops=lambda A, batch=2: Circulant.flops(A, batch)), "flops() is not flops(1)"),
    ("operations", priced(lambda batch, right: right(1) + (batch - 1) * right(1)), "batch 40: flops says"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "family", "words"), REFUSED, ids=lambda value: value if type(value) is str else "")
def test_the_sentence_is_said(check, family, words, own_errors):
    (failure,) = check_family(family, only=[check]).failures
    assert words in failure.detail


def test_a_family_may_refuse_complex_numbers_by_name():
    real = wrong(apply=lambda A, x: refuse(TypeError, f"{x.dtype}: real numbers only"))
    (result,) = check_family(real, only=["complex dtypes"]).results
    assert (result.passed, result.detail) == (True, "refused: torch.complex64: real numbers only")


def test_a_complex_matrix_times_real_numbers_is_checked_in_complex_ones():
    check_family(FCirculant, only=["even sizes", "odd sizes"], f=1j).raise_if_failed()


@pytest.mark.parametrize(("roundings", "allowed"), [(70, True), (130, False)])
def test_a_product_may_be_off_by_a_hundred_roundings_of_the_largest(roundings, allowed, randn):
    """Those of the largest matrix of a stack and the longest x, wherever they stand."""
    scale, eps = torch.tensor([1.0, 30.0, 2.0], dtype=torch.float64), torch.finfo(torch.float64).eps
    column, x = scale[:, None] * randn(3, 8), scale[:, None, None].flip(0).roll(1, 0) * 10 * randn(3, 1, 8)
    size = Circulant(column).to_dense().square().sum((-2, -1)).max().sqrt() * x.square().sum(-1).max().sqrt()

    class Off(Circulant):
        def apply(self, x):
            return super().apply(x) + roundings * eps * size

    if allowed:
        product_is_dense(Off(column), x, "here")
    else:
        with pytest.raises(CheckFailed, match="here: off by"):
            product_is_dense(Off(column), x, "here")
