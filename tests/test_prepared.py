"""What an operator keeps between products: never a stale spectrum, never part of a graph, and rows in chunks agree."""

import copy
import gc
import pickle

import pytest
import torch

from surm_lite.matrices import FAMILIES, LDR, BlockCirculant, Circulant, Toeplitz, fft
from surm_lite.matrices.base import KEPT

NAMES = ["circulant", "skew_circulant", "f_circulant", "toeplitz", "symmetric_toeplitz", "hankel", "ldr"]


@pytest.mark.parametrize("n", [12, 13])
@pytest.mark.parametrize("name", NAMES)
class TestKept:
    def test_once(self, name, n, draw, randn, monkeypatch):
        A, x = draw(name, n), randn(n)
        first = A.apply(x)
        monkeypatch.setattr(type(A), "_prepare", lambda self: pytest.fail("prepared again"))
        assert torch.equal(A.apply(x), first)

    def test_forgotten_when_a_tensor_changes_in_place(self, name, n, draw, randn):
        A, x = draw(name, n), randn(3, n)
        A.apply(x)
        for t in A.tensors:
            t.mul_(2)
            torch.testing.assert_close(A.apply(x), x @ A.to_dense().mT)

    def test_forgotten_after_writes_that_torch_does_not_count(self, name, n, draw, randn):
        """Through ``.data`` (optimisers, pruning), a numpy view, a detached view: ``_version`` stays what it was."""
        A, x = draw(name, n), randn(3, n)
        for t in A.tensors:
            for write in (lambda v: v.data.mul_(2), lambda v: v.detach().add_(1), lambda v: v.numpy().put(0, 7.0)):
                A.apply(x)
                write(t)
                torch.testing.assert_close(A.apply(x), x @ A.to_dense().mT)

    def test_forgotten_after_a_step_of_training(self, name, n, draw, randn):
        A, x = draw(name, n), randn(3, n)
        A = A.with_tensors(*(torch.nn.Parameter(t) for t in A.tensors))
        optimizer = torch.optim.SGD(A.tensors, lr=0.1)
        for _ in range(2):
            with torch.no_grad():
                torch.testing.assert_close(A.apply(x), x @ A.to_dense().mT)
            A.apply(x).square().sum().backward()
            optimizer.step()

    def test_gradients_flow_whatever_is_kept(self, name, n, draw, randn):
        A, x = draw(name, n), randn(3, n).requires_grad_()
        with torch.inference_mode():
            A.apply(x)  # kept from here on
        torch.testing.assert_close(
            torch.autograd.grad(A.apply(x).square().sum(), x),
            torch.autograd.grad((x @ A.to_dense().mT).square().sum(), x),
        )
        tensors = [t.requires_grad_() for t in A.tensors]
        torch.testing.assert_close(
            torch.autograd.grad(A.apply(x).square().sum(), tensors),
            torch.autograd.grad((x @ A.to_dense().mT).square().sum(), tensors, allow_unused=True),
        )

    @pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch's own, on the first jvp
    def test_transforms_of_functions_see_no_cache(self, name, n, draw, randn):
        A, x = draw(name, n), randn(3, n)
        A.apply(x)
        stacked = [torch.stack([t, 2 * t]) for t in A.tensors]
        twice = torch.func.vmap(lambda *ts: A.with_tensors(*ts).apply(x))(*stacked)
        torch.testing.assert_close(twice[1], A.with_tensors(*(2 * t for t in A.tensors)).apply(x))
        _, tangent = torch.func.jvp(lambda *ts: A.with_tensors(*ts).apply(x), A.tensors, A.tensors)
        degree = 2 if name == "ldr" else 1  # homogeneous: the derivative along itself
        torch.testing.assert_close(tangent, degree * A.apply(x))

    def test_copies_and_pickles_start_afresh(self, name, n, draw, randn):
        A, x = draw(name, n), randn(n)
        y = A.apply(x)
        for other in (copy.deepcopy(A), pickle.loads(pickle.dumps(A))):
            assert other not in KEPT
            for t in other.tensors:
                t.zero_()
            assert not other.apply(x).any()
            assert torch.equal(A.apply(x), y)


def test_inference_tensors_have_no_versions_and_are_not_kept(randn):
    with torch.inference_mode():
        A, x = Circulant(torch.ones(4)), torch.ones(4)
        A.apply(x)
        A.column.zero_()
        assert not A.apply(x).any()


def test_nothing_is_kept_off_the_cpu(randn):
    """There a comparison would wait for the device."""
    A = Circulant(randn(8)).to("meta")
    A.apply(randn(8).to("meta"))
    assert A not in KEPT


def test_nothing_is_kept_of_an_operator_that_is_gone(randn):
    A = Circulant(randn(8))
    A.apply(randn(8))
    before = len(KEPT)
    del A
    gc.collect()
    assert len(KEPT) < before


@pytest.mark.parametrize("name", NAMES)
def test_chunks_of_rows_agree_with_all_at_once(name, draw, randn, monkeypatch):
    A, x = draw(name, 12), randn(2, 35, 12)
    whole = A.apply(x)
    monkeypatch.setattr(fft, "CACHED", 100)
    calls, product = [], type(A)._product
    monkeypatch.setattr(type(A), "_product", lambda self, x: calls.append(len(x)) or product(self, x))
    torch.testing.assert_close(A.apply(x), whole)
    assert len(calls) > 1
    assert sum(calls) == 70
    calls.clear()
    torch.testing.assert_close(A.apply(x.clone().requires_grad_()), whole)  # a graph is not cut into pieces
    assert len(calls) == 1


def test_a_batch_of_operators_is_not_cut(randn, monkeypatch):
    monkeypatch.setattr(fft, "CACHED", 10)
    T = Toeplitz(randn(5, 12), randn(5, 12))
    x = randn(7, 5, 12)
    torch.testing.assert_close(T.apply(x), (T.to_dense() @ x[..., None]).squeeze(-1))


def test_every_family_that_keeps_something_is_listed():
    keeping = {name for name, cls in FAMILIES.items() if cls._prepare is not BlockCirculant._prepare}
    assert keeping == set(NAMES)
    assert LDR._prepare is not BlockCirculant._prepare
