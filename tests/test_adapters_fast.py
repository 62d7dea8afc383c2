"""The merged path: exact, taken where the rule says, and never where it must not be."""

import copy

import pytest
import torch
from adapter_cases import DOUBLE, layer, separate, watch
from torch import nn

from surm_lite.adapters import trainable_parameters
from surm_lite.adapters.one_product import merged_linear
from surm_lite.matrices import FAMILIES, BlockCirculant, Circulant, Kronecker, LowRank, Toeplitz

OPERATORS = [
    *[(Circulant, (n, n)) for n in (1, 2, 7, 8)],
    *[(BlockCirculant, s) for s in ((6, 9), (8, 4), (5, 7))],
    *[(Toeplitz, s) for s in ((1, 1), (1, 4), (4, 1), (5, 8), (8, 5), (7, 7))],
]
FAST = [("circulant", {}), ("circulant", {"product": True}), ("toeplitz", {"alpha": 0.5})]


@pytest.fixture(params=OPERATORS, ids=lambda p: f"{p[0].__name__}-{p[1][0]}x{p[1][1]}")
def operator(request, rng):
    family, shape = request.param
    S = family.random(*shape, generator=rng, **DOUBLE)
    return S.with_tensors(*(t.clone().requires_grad_() for t in S.tensors))


@pytest.fixture
def taken(monkeypatch):
    return watch(monkeypatch)


def test_every_fast_family_is_tested_here():
    assert {family for family in FAMILIES.values() if family.has_adjoint()} == {family for family, _ in OPERATORS}


def test_adjoint_is_the_gradient_of_the_dense_twin(operator):
    m, n = operator.shape
    g, x = torch.randn(11, m, **DOUBLE), torch.randn(11, n, **DOUBLE)
    right = torch.autograd.grad(x @ operator.to_dense().mT, operator.tensors, g, materialize_grads=True)
    for a, b in zip(operator.adjoint(g, x), right, strict=True):
        torch.testing.assert_close(a, b)


def test_adjoint_passes_the_dot_test(operator):
    """<S(t) x, g> = <t, S*(g, x)>: the families are linear in their numbers."""
    m, n = operator.shape
    g, x = torch.randn(5, m, **DOUBLE), torch.randn(5, n, **DOUBLE)
    left = (operator.apply(x) * g).sum()
    right = sum((t * a).sum() for t, a in zip(operator.tensors, operator.adjoint(g, x)))
    torch.testing.assert_close(left, right)


def test_gradcheck_and_gradgradcheck(operator):
    m, n = operator.shape
    linear = nn.Linear(n, m, **DOUBLE)
    linear.weight.requires_grad_(False)
    x = torch.randn(2, 3, n, **DOUBLE, requires_grad=True)

    def function(x, bias, *tensors):
        layer = copy.copy(linear)
        layer._parameters = {"weight": linear.weight, "bias": bias}
        return merged_linear(x, layer, [operator.with_tensors(*tensors)])

    assert torch.autograd.gradcheck(function, (x, linear.bias, *operator.tensors))
    assert torch.autograd.gradgradcheck(function, (x, linear.bias, *operator.tensors), fast_mode=True)


def test_a_family_without_an_adjoint_says_so():
    for S in (LowRank.random(4, 4), Kronecker.random(4, 4)):
        with pytest.raises(TypeError, match=f"{type(S).__name__} has no adjoint"):
            S.adjoint(torch.ones(1, 4), torch.ones(1, 4))


@pytest.mark.parametrize(("method", "options"), FAST)
@pytest.mark.parametrize(("m", "n"), [(12, 12), (8, 12), (12, 8), (7, 5)])
def test_both_paths_agree(taken, method, options, m, n):
    model = layer(method, m, n, **options)
    x, g = torch.randn(30, n, **DOUBLE, requires_grad=True), torch.randn(30, m, **DOUBLE)
    wanted = [x, *trainable_parameters(model)]
    fast, slow = model(x), separate(model[0], x)
    assert taken == [1]
    torch.testing.assert_close(fast, slow)
    for a, b in zip(torch.autograd.grad(fast, wanted, g), torch.autograd.grad(slow, wanted, g)):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("which", ["x", "kernel", "bias", "none"])
def test_only_some_inputs_require_a_gradient(taken, which):
    model = layer()
    adapter = model[0]
    adapter.kernel.requires_grad_(which == "kernel")
    adapter.linear.bias.requires_grad_(which == "bias")
    x = torch.randn(20, 12, **DOUBLE, requires_grad=which == "x")
    y = model(x)
    assert taken == [1]
    assert y.requires_grad == (which != "none")
    if which != "none":
        wanted = {"x": x, "kernel": adapter.kernel, "bias": adapter.linear.bias}[which]
        g = torch.randn_like(y)
        (got,), (right,) = (torch.autograd.grad(out, wanted, g) for out in (y, separate(adapter, x)))
        torch.testing.assert_close(got, right)


def test_used_twice_in_one_graph(taken):
    model = layer()
    x = torch.randn(20, 12, **DOUBLE, requires_grad=True)
    wanted = [x, model[0].kernel]
    fast, slow = model(model(x).tanh()), separate(model[0], separate(model[0], x).tanh())
    assert len(taken) == 2
    for a, b in zip(torch.autograd.grad(fast.sum(), wanted), torch.autograd.grad(slow.sum(), wanted)):
        torch.testing.assert_close(a, b)


def test_backward_twice_and_non_contiguous_input(taken):
    model = layer("toeplitz", 8, 12)
    x = torch.randn(12, 2, 10, **DOUBLE).permute(2, 1, 0).requires_grad_()
    y, z = model(x), separate(model[0], x)
    assert taken == [1]
    g = torch.randn(8, 10, 2, **DOUBLE).permute(1, 2, 0)
    first = torch.autograd.grad(y, [x, model[0].row], g, retain_graph=True)
    again = torch.autograd.grad(y, [x, model[0].row], g)
    for a, b, c in zip(first, again, torch.autograd.grad(z, [x, model[0].row], g)):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c)


def test_per_sample_gradients_by_vmap():
    model = layer()
    x = torch.randn(5, 20, 12, **DOUBLE)
    parameters = dict(model.named_parameters())

    def loss(parameters, x):
        return torch.func.functional_call(model, parameters, (x,)).square().sum()

    grads = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    for k in range(5):
        (right,) = torch.autograd.grad(model(x[k]).square().sum(), model[0].kernel)
        torch.testing.assert_close(grads["0.kernel"][k], right)


def test_nothing_of_size_n_squared_is_kept_for_backward():
    model = layer(n=64, m=64, dtype=torch.float32)
    kept = []

    def pack(t):
        kept.append(t)
        return t

    x = torch.randn(20, 64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        model(x)
    frozen = model[0].linear.weight
    assert {t.numel() for t in kept if t.data_ptr() != frozen.data_ptr()} <= {64, 20 * 64, 1}


def test_wrong_input_size_is_named():
    model = layer(n=8)
    for x in (torch.randn(30, 12, **DOUBLE), torch.randn((), **DOUBLE)):
        with pytest.raises(ValueError, match=r"x has shape .*; this layer needs \(\.\.\., 8\)"):
            model(x)
