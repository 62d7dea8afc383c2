"""Bases in half precision: adapters train in float32, and merging says what rounding leaves of them."""

import re

import pytest
import torch
from torch import nn

import surm_lite as sl
from surm_lite.adapters import METHODS, adapters_of

EVERY = [name for name, method in METHODS.items() if method.wraps and "losses" not in method.needs]
HALF = [torch.bfloat16, torch.float16]
X = torch.randn(40, 64, generator=torch.Generator().manual_seed(0))


def net(dtype=torch.bfloat16):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64)).to(dtype)


def moved(model, size=0.01):
    """An update of about this size beside weights of 1/8."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in sl.trainable_parameters(model):
            p.add_(size * torch.randn(p.shape, generator=generator))
    return model


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("method", EVERY)
def test_adapters_train_in_float32_without_nan(method, dtype):
    model = sl.adapt(net(dtype), method, targets="0")
    assert {p.dtype for p in sl.trainable_parameters(model)} == {torch.float32}
    optimizer = torch.optim.AdamW(sl.trainable_parameters(model), lr=1e-3)
    x, before = X.to(dtype), [p.detach().clone() for p in sl.trainable_parameters(model)]
    for _ in range(5):
        optimizer.zero_grad()
        (model(x).float() - 1).square().mean().backward()
        optimizer.step()
    assert all(p.isfinite().all() for p in sl.trainable_parameters(model))
    assert model(x).dtype == dtype
    if method != "singlora":  # its ramp stands at zero outside of a training loop
        assert any(not torch.equal(p, q) for p, q in zip(sl.trainable_parameters(model), before))


def told_and_measured(model):
    """What the warning says that rounding changes, and what it changes, in percent."""
    (adapter,) = adapters_of(model).values()
    W0 = adapter.linear.weight.double()
    W = W0 + adapter.operator().to_dense().double()
    with pytest.warns(UserWarning, match=r"rounding to \w+16 changes the update by .* keeps all") as caught:
        sl.merge(model)
    said = re.search(r"by ([\d.e+-]+) % of its size and keeps ([\d.e+-]+) %", str(caught[0].message))
    return float(said[1]), float(said[2]), 100 * ((model[0].weight.double() - W).norm() / (W - W0).norm()).item()


@pytest.mark.parametrize("dtype", HALF)
def test_merging_says_how_much_rounding_keeps(dtype):
    changed, kept, measured = told_and_measured(moved(sl.adapt(net(dtype), "toeplitz", targets="0"), 1e-3))
    assert changed == pytest.approx(measured, rel=0.1)
    assert kept == pytest.approx(100 - measured, abs=2)
    larger = told_and_measured(moved(sl.adapt(net(dtype), "toeplitz", targets="0"), 1e-1))[0]
    assert larger < changed / 10


def test_a_dtype_keeps_all_and_casts_the_whole_model():
    model = moved(sl.adapt(net(), "toeplitz", targets="0"), 1e-4)
    W0, update = model[0].linear.weight.detach().clone(), model[0].operator().to_dense().detach()
    sl.merge(model, dtype=torch.float32)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.equal(model[0].weight, W0.float() + update)
    sl.unmerge(model)
    assert torch.equal(model[0].linear.weight, W0.float())
    assert torch.equal(model[0].operator().to_dense(), update)


def test_unmerging_does_not_round_the_adapter():
    model = moved(sl.adapt(net(), "toeplitz", targets="0"))
    before = {n: t.clone() for n, t in model[0].tensors().items()}
    with pytest.warns(UserWarning, match="rounding to bfloat16"):
        sl.merge(model)
    sl.unmerge(model)
    assert all(torch.equal(t, before[n]) and t.dtype == torch.float32 for n, t in model[0].tensors().items())
    assert model[0].linear.weight.dtype == torch.bfloat16


def test_two_updates_are_rounded_once():
    model = sl.adapt(sl.adapt(net(), "toeplitz", targets="0"), "circulant", targets="0")
    moved(model, 1e-3)
    first, second = model[0].base_layer, model[0]
    exact = first.linear.weight.float() + first.operator().to_dense() + second.operator().to_dense()
    assert torch.equal(model[0].weight, exact.bfloat16())
    with pytest.warns(UserWarning, match="rounding"):
        sl.merge(model)
    assert torch.equal(model[0].weight, exact.bfloat16())


def test_nothing_is_said_of_full_precision_or_of_no_update(recwarn):
    sl.merge(moved(sl.adapt(net(torch.float32), "toeplitz", targets="0")))
    sl.merge(sl.adapt(net(), "toeplitz", targets="0"))
    assert not recwarn
