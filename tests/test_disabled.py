"""The reference pass: inside the block the base model, outside the adapted one, whatever happens inside."""

import pytest
import torch
from adapter_cases import READY, plain, snapshot, trained
from torch import nn

import surm_lite as sl

IMAGE = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", READY)
def test_the_base_model_and_back(method):
    model = sl.adapt(trained("lora", keep=()), method, "qkv", keep=())  # a bottleneck carries nothing on top
    with torch.no_grad():
        for p in sl.trainable_parameters(model):
            p.add_(0.1)
    y, before = model(IMAGE), snapshot(model)
    assert not torch.allclose(y, plain()(IMAGE))
    with sl.disabled(model) as same:
        assert same is model
        assert torch.equal(model(IMAGE), plain()(IMAGE))
        assert list(model.state_dict()) == list(plain().state_dict())
        with sl.disabled(model):
            assert torch.equal(model(IMAGE), plain()(IMAGE))
        assert torch.equal(model(IMAGE), plain()(IMAGE))
    assert torch.equal(model(IMAGE), y)
    assert snapshot(model) == before


def test_an_exception_inside_puts_the_adapters_back():
    model = trained("toeplitz")
    y = model(IMAGE)
    with pytest.raises(ZeroDivisionError), sl.disabled(model):
        _ = 1 / 0
    assert torch.equal(model(IMAGE), y)


def test_the_mode_may_change_inside():
    model = trained("toeplitz").train()
    with sl.disabled(model):
        model.eval()
    assert not any(m.training for m in model.modules())


def test_a_trained_head_stays_and_a_shared_layer_comes_back_under_both_names():
    shared = nn.Linear(4, 4)
    model = sl.adapt(nn.ModuleDict({"query": shared, "b": shared, "head": nn.Linear(4, 4)}), "toeplitz")
    with torch.no_grad():
        model["head"].weight.fill_(2.0)
    with sl.disabled(model):
        assert model["query"] is model["b"] is shared
        assert (model["head"].weight == 2).all()
    assert model["query"] is model["b"] is not shared


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: plain(), "the model has no adapter"),
        (lambda: sl.merge(trained("lora")), r"the model is merged; call unmerge\(model\) first"),
        (lambda: sl.adapt(plain(), "bitfit"), "method 'bitfit' wraps no layer, so there is nothing to take away"),
    ],
)
def test_what_cannot_be_disabled(model, said):
    with pytest.raises(ValueError, match=said), sl.disabled(model()):
        pass
