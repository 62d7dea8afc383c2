"""no_dense sees every way to form an m x n tensor, and nothing else."""

import threading

import pytest
import torch

import surm_lite as sl
from surm_lite.guard import DenseTensorError, active
from surm_lite.matrices import FAMILIES

N = 64
c = torch.randn(N, generator=torch.Generator().manual_seed(0))
A, B = torch.ones(8, 8), torch.ones(8, 8)
kernel = torch.ones(1, N, requires_grad=True)

DENSE = {
    "to_dense": lambda: sl.Circulant(c).to_dense(),
    "outer": lambda: torch.outer(c, c),
    "kron": lambda: torch.kron(A, B),
    "index": lambda: c[torch.randint(N, (N, N))],
    "expand then copy": lambda: c.expand(N, N).contiguous(),
    "zeros": lambda: torch.zeros(N, N),
    "one dimension": lambda: torch.zeros(N * N),
    "several dimensions": lambda: A[:, None, :, None] * B[None, :, None, :],
    "complex": lambda: torch.fft.fft(torch.eye(8)).repeat(8, 8),
    "circulant by rolls": lambda: torch.stack([c.roll(k) for k in range(N)]),
    "three-operand einsum": lambda: _einsum(),
    "second output": lambda: torch.max(torch.ones(2, N, 1).expand(2, N, N), dim=0),
    "backward": lambda: (kernel * kernel.mT).sum().backward(),
    "meta device": lambda: sl.Circulant(c.to("meta")).to_dense(),
    "larger": lambda: torch.zeros(2 * N, N),
    "under vmap": lambda: torch.func.vmap(lambda x: x * c)(torch.ones(N, N).select(0, 0).expand(N, N)),
}

FINE = {
    "views": lambda: c.expand(N, N)[:, 3].reshape(N),
    "a smaller batch": lambda: sl.Circulant(c).apply(torch.ones(8, N)),
    "one element less": lambda: torch.zeros(N * N - 1),
    "in place": lambda: c.clone().add_(1).mul_(2),
    "no tensor": lambda: c.sum().item(),
}


def _einsum():
    with torch.backends.opt_einsum.flags(enabled=False):
        return torch.einsum("ab,cd,bd->ac", A, B, c.reshape(8, 8))


@pytest.mark.parametrize("name", DENSE)
def test_forming_is_seen(name):
    with pytest.raises(DenseTensorError, match="elements"), sl.no_dense(N):
        DENSE[name]()


@pytest.mark.parametrize("name", FINE)
def test_the_rest_is_free(name):
    with sl.no_dense(N):
        FINE[name]()


def test_message_names_operation_and_shape():
    with pytest.raises(DenseTensorError, match=r"aten\.mul.*\(64, 64\).*4,096"), sl.no_dense(N):
        torch.outer(c, c)


def test_existing_dense_tensors_may_be_read():
    W = torch.ones(N, N)
    with sl.no_dense(N):
        y = W @ c
        W[0], W.mT, W.view(-1)
    assert y.shape == (N,)


def test_rectangular_limit():
    with sl.no_dense(8, 4):
        torch.zeros(31)
        with pytest.raises(DenseTensorError):
            torch.zeros(32)


def test_nothing_remains_afterwards():
    assert not active()
    with sl.no_dense(2):
        assert active()
    with pytest.raises(DenseTensorError), sl.no_dense(2):
        torch.zeros(2, 2)
    assert not active()
    assert torch.zeros(9, 9).shape == (9, 9)


def test_nesting_keeps_the_stricter_limit():
    with sl.no_dense(100), sl.no_dense(4):
        with pytest.raises(DenseTensorError):
            torch.zeros(4, 4)
        assert active()


def test_other_threads_are_not_guarded():
    shapes = []
    with sl.no_dense(4):
        thread = threading.Thread(target=lambda: shapes.append((torch.zeros(9, 9).shape, active())))
        thread.start()
        thread.join()
    assert shapes == [((9, 9), False)]


@pytest.mark.parametrize("name", FAMILIES)
def test_large_products_on_the_meta_device(name):
    """The guard needs no memory: a product of size 16,384 x 16,384 without its 268 million entries."""
    n = 2**14
    operator = FAMILIES[name].random(n, generator=torch.Generator().manual_seed(0)).to("meta")
    with sl.no_dense(n):
        assert operator.apply(torch.ones(n, device="meta")).shape == (n,)


@pytest.mark.parametrize("sizes", [(0,), (-1,), (2.5,), ("8",), (8, 0), (8, 1.5)])
def test_bad_sizes(sizes, own_errors):
    with pytest.raises(ValueError, match="at least 1"), sl.no_dense(*sizes):
        pass
