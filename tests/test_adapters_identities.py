"""What each method's update must be, beyond agreeing with its own dense form."""

import pytest
import torch
import torch.nn.functional as F
from adapter_cases import DOUBLE, layer
from torch import nn

from surm_lite.adapters import adapt
from surm_lite.matrices import Toeplitz
from surm_lite.matrices.algorithms import displacement
from surm_lite.matrices.algorithms.displacement import shift


def update(adapter):
    return adapter.operator().to_dense().detach()


def test_lora_gradients_rank_and_gauge():
    adapter = layer("lora", 8, 10, rank=3, alpha=6.0)[0]
    x, g = torch.randn(20, 10, **DOUBLE), torch.randn(20, 8, **DOUBLE)
    G = g.mT @ x
    got_A, got_B = torch.autograd.grad(adapter(x), [adapter.A, adapter.B], g)
    torch.testing.assert_close(got_A, 2 * adapter.B.mT @ G)
    torch.testing.assert_close(got_B, 2 * G @ adapter.A.mT)
    before = update(adapter)
    assert torch.linalg.matrix_rank(before) == 3
    R = torch.randn(3, 3, **DOUBLE)
    with torch.no_grad():
        adapter.B.copy_(adapter.B @ R)
        adapter.A.copy_(torch.linalg.solve(R, adapter.A))
    torch.testing.assert_close(update(adapter), before)


def test_lora_of_full_rank_reaches_every_update():
    adapter = layer("lora", 4, 6, rank=4, alpha=4.0)[0]
    target = torch.randn(4, 6, **DOUBLE)
    with torch.no_grad():
        adapter.B.copy_(target @ torch.linalg.pinv(adapter.A))
        adapter.A.copy_(torch.linalg.pinv(adapter.B) @ target)
    torch.testing.assert_close(update(adapter), target)


def test_circulant_singular_values_are_the_spectrum():
    adapter = layer("circulant", 9, 9)[0]
    spectrum = torch.fft.fft(adapter.kernel[0, 0].detach()).abs().sort(descending=True).values
    torch.testing.assert_close(torch.linalg.svdvals(update(adapter)), spectrum)


@pytest.mark.parametrize(("m", "n"), [(6, 6), (4, 6)])
def test_the_product_form_reaches_the_same_circulants_with_a_dead_first_gradient(m, n):
    product, single = layer("circulant", m, n, product=True)[0], layer("circulant", m, n)[0]
    with torch.no_grad():
        single.kernel.copy_(product.kernel * product.gain)
    torch.testing.assert_close(update(product), update(single))
    start = adapt(nn.Sequential(nn.Linear(n, m)), "circulant", "0", product=True)[0]
    start(torch.randn(9, n)).square().sum().backward()
    assert start.kernel.grad.any()
    assert not start.gain.grad.any()


def test_symmetric_toeplitz_product_is_centrosymmetric_and_not_toeplitz():
    W = update(layer("symmetric_toeplitz", 8, 8)[0])
    torch.testing.assert_close(W.flip(0, 1), W)
    assert not torch.allclose(W, W.mT)
    assert not torch.allclose(W[1:, 1:], W[:-1, :-1])


def test_kronecker_rank_is_the_product_of_ranks():
    adapter = layer("kronecker", 12, 12)[0]
    assert {tuple(adapter.A.shape), tuple(adapter.B.shape)} == {(3, 4), (4, 3)}
    assert torch.linalg.matrix_rank(update(adapter)) == 9
    torch.testing.assert_close(update(adapter), torch.kron(adapter.A, adapter.B).detach())


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_ldr_has_displacement_rank_r(rank):
    W = update(layer("ldr", 12, 12, rank=rank)[0])
    assert displacement.displacement_rank(W, shift(12, 1, **DOUBLE), shift(12, -1, **DOUBLE)) == rank


def test_ldr_of_two_terms_reaches_a_toeplitz_update():
    n, adapter = 6, layer("ldr", 6, 6, rank=2)[0]
    t = torch.randn(2 * n - 1, **DOUBLE)  # t[k + n - 1] on diagonal k
    target = Toeplitz(t[n - 1 :], t[:n].flip(0)).to_dense()
    below, above = t[n - 1 :].clone(), torch.cat([t[n - 1 : n], t[: n - 1]])  # t_k and t_(k-n)
    plus, minus = (below + above) / 2, (below - above) / 2
    plus[0] = minus[0] = t[n - 1] / 2
    e = torch.eye(n, **DOUBLE)[0]
    with torch.no_grad():
        adapter.G.copy_(torch.stack([plus, e]))
        adapter.H.copy_(torch.stack([e, minus]))
    torch.testing.assert_close(update(adapter), target)


@pytest.mark.parametrize("rank", [1, 4])
def test_ldr_starts_at_a_scale_that_does_not_depend_on_rank(rank):
    """E|W x|^2 = n var(g) |x|^2, here with g standard normal."""
    n, ratios = 64, []
    for seed in range(40):
        torch.manual_seed(seed)
        adapter = adapt(nn.Sequential(nn.Linear(n, n)), "ldr", "0", seed=seed, rank=rank)[0]
        with torch.no_grad():
            adapter.G.normal_()
        x = torch.randn(16, n)
        ratios.append((adapter.operator().apply(x).square().sum() / x.square().sum()).item() / n)
    assert sum(ratios) / len(ratios) == pytest.approx(1, rel=0.15)


def test_bottleneck_learns_from_zero_and_would_not_with_relu():
    adapter = layer("bottleneck", 8, 6)[0]
    with torch.no_grad():
        adapter.kernel.zero_()
        adapter.offset.zero_()
    x = torch.randn(20, 6, **DOUBLE)
    y = adapter.base_layer(x)
    (alive,) = torch.autograd.grad(adapter(x).square().sum(), adapter.kernel)
    (dead,) = torch.autograd.grad((y + F.relu(adapter.operator().apply(y))).square().sum(), adapter.kernel)
    assert alive.any()
    assert not dead.any()
