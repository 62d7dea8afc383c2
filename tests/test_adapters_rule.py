"""Which path a layer takes: W is formed only where that is exact enough, allowed, and pays."""

import pytest
import torch
from adapter_cases import DOUBLE, layer, separate, watch
from torch import nn

from surm_lite.adapters import adapt, trainable_parameters
from surm_lite.adapters.one_product import linear_sum, merged_linear
from surm_lite.guard import DenseTensorError, no_dense
from surm_lite.matrices import LDR, Circulant, LowRank


@pytest.fixture
def taken(monkeypatch):
    return watch(monkeypatch)


def test_several_adapters_sum_before_the_one_product(taken):
    model = layer()
    adapt(adapt(model, "toeplitz", "0"), "circulant", "0", block=4)
    model(torch.randn(9, 12, **DOUBLE))
    assert taken == [3]
    adapt(model, "lora", "0")  # no adjoint: the whole sum goes the separate way, except what is beneath
    del taken[:]
    model(torch.randn(9, 12, **DOUBLE))
    assert taken == [3]


@pytest.mark.parametrize("tokens", [0, 1, 2])
def test_few_tokens_go_the_separate_way(taken, tokens):
    layer()(torch.randn(tokens, 12, **DOUBLE))
    assert not taken


def test_the_threshold_counts_tokens_not_dimensions(taken):
    model = layer()
    model(torch.randn(12, **DOUBLE))
    model(torch.randn(2, 1, 12, **DOUBLE))
    assert not taken
    model(torch.randn(3, 1, 12, **DOUBLE))
    assert taken == [1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_small_updates_survive_half_precision(taken, dtype):
    model = layer(dtype=dtype)
    with torch.no_grad():
        model[0].linear.weight.fill_(1.0)
        model[0].kernel.fill_(1e-3)  # lost when added to 1.0 in bfloat16
    x = torch.full((20, 12), 1 / 16, dtype=dtype)
    x[:, ::2] *= -1  # the frozen layer cancels to nothing, the update to a twelfth of its size
    x[:, 0] = 0
    expected = (
        model[0].linear.bias.double() + 1e-3 * x.double().sum(-1, keepdim=True) + x.double().sum(-1, keepdim=True)
    )
    assert not torch.equal(model(x), model[0].linear(x))
    torch.testing.assert_close(model(x).double(), expected, rtol=1e-2, atol=1e-2)
    assert not taken


def test_autocast_takes_the_separate_path(taken):
    model = layer(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(torch.randn(20, 12))
    assert not taken


def test_no_dense_forces_the_fft_path(taken):
    n = 64
    model = layer(n=n, m=n)
    x = torch.randn(32, n, **DOUBLE, requires_grad=True)
    expected = model(x)
    assert taken == [1]
    with no_dense(n):
        y = model(x)
        y.sum().backward()
    assert taken == [1]
    torch.testing.assert_close(y, expected)
    with pytest.raises(DenseTensorError), no_dense(n):
        merged_linear(x, model[0].linear, [model[0].operator()])


def test_a_trainable_base_weight_takes_the_separate_path(taken):
    model = layer()
    model[0].linear.weight.requires_grad_(True)
    x = torch.randn(20, 12, **DOUBLE)
    model(x).sum().backward()
    assert not taken
    torch.testing.assert_close(model[0].linear.weight.grad, x.sum(0).expand(12, 12))


def test_hooks_on_the_base_layer_are_called(taken):
    model = layer()
    seen = []
    handle = model[0].linear.register_forward_hook(lambda module, args, out: seen.append(out.shape))
    model(torch.randn(20, 12, **DOUBLE))
    assert seen == [(20, 12)]
    assert not taken
    handle.remove()
    model(torch.randn(20, 12, **DOUBLE))
    assert taken == [1]


def test_hooks_on_an_inner_adapter_are_called(taken):
    model = adapt(layer(), "circulant", "0")
    seen = []
    model[0].base_layer.register_forward_pre_hook(lambda module, args: seen.append(len(args)))
    model(torch.randn(20, 12, **DOUBLE))
    assert seen == [1]
    assert taken == [1]  # the inner adapter's own, when it was called


def test_a_linear_layer_with_its_own_forward_is_called(taken):
    class Twice(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model = adapt(nn.Sequential(Twice(6, 6)), "circulant", "0")
    x = torch.randn(20, 6)
    assert torch.equal(model(x), model[0].linear(x))
    assert not taken


@pytest.mark.parametrize(("method", "options"), [("ldr", {"rank": 2}), ("symmetric_toeplitz", {})])
@pytest.mark.parametrize(("m", "n"), [(12, 12), (8, 12), (12, 8)])
def test_small_layers_of_costly_families_are_formed_too(taken, method, options, m, n):
    model = layer(method, m, n, **options)
    x, g = torch.randn(12, n, **DOUBLE, requires_grad=True), torch.randn(12, m, **DOUBLE)
    wanted = [x, *trainable_parameters(model)]
    fast, slow = model(x), separate(model[0], x)
    assert taken == [1]
    model(x[:11])
    assert taken == [1]  # too few tokens
    torch.testing.assert_close(fast, slow)
    for a, b in zip(torch.autograd.grad(fast, wanted, g), torch.autograd.grad(slow, wanted, g)):
        torch.testing.assert_close(a, b)
    adapt(model, "circulant", "0")
    model(x)
    assert taken == [1, 2]


def test_large_layers_of_costly_families_are_not():
    linear = nn.Linear(513, 513).requires_grad_(False)
    x = torch.ones(1, 1).expand(513, 513)
    assert linear_sum(x, linear, [LDR.random(513)]) is None
    assert linear_sum(x, linear, [Circulant.random(513)]) is not None


def test_mixed_dtypes_are_left_to_the_base_layer():
    linear = nn.Linear(12, 12).requires_grad_(False)
    x, S = torch.ones(20, 12), Circulant.random(12)
    assert linear_sum(x, linear, [S]) is not None
    assert linear_sum(x.double(), linear, [S]) is None
    assert linear_sum(x, linear, [S.to(torch.float64)]) is None
    assert linear_sum(x, linear, [S, LowRank.random(12)]) is None
