"""The contract flags every defect of the museum, and every check of the contract flags something."""

import pytest
import torch
from beartype import beartype
from jaxtyping import Float, TypeCheckError, jaxtyped
from museum import EXHIBITS
from museum.gradients import C3ABackward, reversed_index
from museum.manners import NoHalf
from torch import Tensor

from surm_lite.checks import CHECKS, check_family
from surm_lite.matrices import BlockCirculant


def _cases(attribute):
    return [pytest.param(e, name, id=f"{e.family.__name__}-{name}") for e in EXHIBITS for name in getattr(e, attribute)]


@pytest.mark.parametrize(("exhibit", "check"), _cases("caught_by"))
def test_defect_is_flagged(exhibit, check):
    report = check_family(exhibit.family, only=[check], dense=exhibit.dense)
    assert not report.passed, f"{exhibit.family.__name__} ({exhibit.found}) passes {check!r}"


@pytest.mark.parametrize(("exhibit", "check"), _cases("unseen_by"))
def test_no_single_check_suffices(exhibit, check):
    """These checks are blind to this defect: they pass, so another one is needed."""
    check_family(exhibit.family, only=[check], dense=exhibit.dense).raise_if_failed()


def test_every_check_catches_something():
    caught = {name for exhibit in EXHIBITS for name in exhibit.caught_by}
    assert caught == set(CHECKS)


def test_a_correct_product_without_half_precision_fails_that_check_alone():
    report = check_family(NoHalf)
    assert [failure.name for failure in report.failures] == ["half dtypes"]


def test_a_shape_annotation_alone_catches_the_odd_circulant():
    """The eighth check of the museum: the annotated return shape, with no test of values."""

    @jaxtyped(typechecker=beartype)
    def multiply(c: Float[Tensor, " n"], x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        return torch.fft.irfft(torch.fft.rfft(c) * torch.fft.rfft(x))

    multiply(torch.ones(8), torch.ones(3, 8))
    with pytest.raises(TypeCheckError):
        multiply(torch.ones(5), torch.ones(3, 5))


@pytest.mark.parametrize(("p", "q", "b"), [(1, 1, 4), (1, 1, 5), (2, 3, 8), (3, 2, 16), (2, 2, 2)])
def test_the_c3a_exhibit_is_what_peft_computes(p, q, b, rng):
    """peft 0.21.2: forward as ours up to its convention, input gradient as the exhibit's, kernel gradient right."""
    layer = pytest.importorskip("peft.tuners.c3a.utils", reason="peft is in the extra [hf]")
    w = torch.randn(p, q, b, generator=rng, requires_grad=True)
    x = torch.randn(3, q * b, generator=rng, requires_grad=True)
    g = torch.randn(3, p * b, generator=rng)
    theirs = layer.BlockCircularConvolution.apply(x, w) / (q * b)
    for_x, for_w = torch.autograd.grad(theirs, (x, w), g)

    def ours(family: type[BlockCirculant]) -> BlockCirculant:
        return family(reversed_index(w) / (q * b))  # its first rows as first columns, its division by in_features

    torch.testing.assert_close(theirs, ours(BlockCirculant).apply(x))
    exhibit = torch.autograd.grad(ours(C3ABackward).apply(x), (x, w), g)
    right = torch.autograd.grad(ours(BlockCirculant).apply(x), (x, w), g)
    torch.testing.assert_close((for_x, for_w), (exhibit[0], right[1]))
    if b > 2:
        assert (for_x - right[0]).norm() > 0.1 * right[0].norm()
