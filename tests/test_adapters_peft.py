"""peft as an independent oracle - and one of its gradients that is not what its forward says."""

from importlib.metadata import version

import pytest
import torch
from torch import nn

from surm_lite.adapters import adapt

peft = pytest.importorskip("peft", reason="needs the extra [hf]")
PEFT = "0.21.2"


def pair(m, n, config, method, **options):
    """The same frozen layer under peft's adapter and under ours."""
    torch.manual_seed(0)
    base = nn.Linear(n, m)
    theirs = peft.get_peft_model(nn.Sequential(base), config).base_model.model[0]
    ours = nn.Sequential(nn.Linear(n, m))
    ours[0].load_state_dict(base.state_dict() if isinstance(base, nn.Linear) else base.base_layer.state_dict())
    return theirs, adapt(ours, method, "0", **options)[0]


@pytest.mark.parametrize(("m", "n"), [(8, 8), (12, 8), (6, 10)])
@pytest.mark.parametrize("rslora", [False, True])
def test_lora_is_pefts_lora(m, n, rslora):
    config = peft.LoraConfig(r=3, lora_alpha=6, use_rslora=rslora, target_modules=["0"])
    theirs, ours = pair(m, n, config, "lora", rank=3, alpha=6.0, rslora=rslora)
    A, B = theirs.lora_A["default"].weight, theirs.lora_B["default"].weight
    assert ours.A.abs().max() <= n**-0.5 >= A.abs().max()
    with torch.no_grad():
        B.normal_()
        ours.A.copy_(A)
        ours.B.copy_(B)
    x = torch.randn(2, 5, n, requires_grad=True)
    y, z = ours(x), theirs(x)
    torch.testing.assert_close(y, z)
    g = torch.randn_like(y)
    mine, his = torch.autograd.grad(y, [x, ours.A, ours.B], g), torch.autograd.grad(z, [x, A, B], g)
    for a, b in zip(mine, his):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def to_first_rows(columns):
    """First column of a circulant -> its first row: entry 0 stays, the others are reversed."""
    return torch.cat([columns[..., :1], columns[..., 1:].flip(-1)], dim=-1)


@pytest.mark.parametrize(("m", "n", "block"), [(8, 8, 8), (8, 12, 4), (15, 10, 5), (6, 6, 1)])
@pytest.mark.parametrize("tokens", [1, 20])
def test_c3a_forward_and_kernel_gradient_up_to_its_convention(m, n, block, tokens):
    """peft's C3A holds first rows and divides by in_features."""
    config = peft.C3AConfig(block_size=block, target_modules=["0"])
    theirs, ours = pair(m, n, config, "c3a", block_size=block)
    kernel = theirs.c3a_kernel["default"]
    with torch.no_grad():
        kernel.normal_()
        ours.kernel.copy_(to_first_rows(kernel))
    x = torch.randn(tokens, n)
    y, z = ours(x), theirs(x)
    torch.testing.assert_close(y, z)
    torch.testing.assert_close(ours.weight, theirs.base_layer.weight + theirs.get_delta_weight("default"))
    g = torch.randn_like(y)
    (mine,), (his,) = torch.autograd.grad(y, ours.kernel, g), torch.autograd.grad(z, kernel, g)
    torch.testing.assert_close(to_first_rows(mine), his)


def c3a_input_gradients(block):
    """Of the adapter branch alone: our input gradient, peft's, the gradient sent in, and peft's own dense delta."""
    n = 2 * block
    config = peft.C3AConfig(block_size=block, target_modules=["0"])
    theirs, ours = pair(n, n, config, "c3a", block_size=block)
    with torch.no_grad():
        theirs.c3a_kernel["default"].normal_()
        ours.kernel.copy_(to_first_rows(theirs.c3a_kernel["default"]))
    x, g = torch.randn(20, n, requires_grad=True), torch.randn(20, n)
    bare = g @ theirs.base_layer.weight
    mine, his = (torch.autograd.grad(layer(x), x, g)[0] - bare for layer in (ours, theirs))
    return mine, his, g, theirs.get_delta_weight("default").detach()


def close(a, b):
    return torch.allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("block", [1, 2])
def test_c3a_input_gradient_is_right_for_tiny_blocks(block):
    mine, his, g, delta = c3a_input_gradients(block)
    assert close(mine, g @ delta)
    assert close(his, g @ delta)


@pytest.mark.skipif(version("peft") != PEFT, reason=f"a fact about peft {PEFT}; look again at any other version")
@pytest.mark.parametrize("block", [3, 4, 8])
def test_c3a_input_gradient_is_wrong_from_three_on(block):
    """peft's backward reverses the gradient inside each block before it multiplies by the transpose."""
    mine, his, g, delta = c3a_input_gradients(block)
    assert close(mine, g @ delta)
    assert not close(his, g @ delta)
    assert close(his, to_first_rows(g.unflatten(-1, (2, block))).flatten(-2) @ delta)


@pytest.mark.skipif(version("peft") != PEFT, reason=f"a fact about peft {PEFT}; look again at any other version")
def test_two_c3a_adapters_are_chained_and_ours_are_summed():
    x = torch.randn(20, 8)
    config = peft.C3AConfig(block_size=8, target_modules=["0"], init_weights="gaussian")
    torch.manual_seed(0)
    model = peft.get_peft_model(nn.Sequential(nn.Linear(8, 8)), config)
    model.add_adapter("second", config)
    model.base_model.set_adapter(["default", "second"])
    theirs = model.base_model.model[0]
    base, deltas = theirs.base_layer, [theirs.get_delta_weight(name) for name in ("default", "second")]
    assert not close(theirs(x), base(x) + x @ sum(deltas).mT)

    ours = nn.Sequential(nn.Linear(8, 8))
    ours[0].load_state_dict(base.state_dict())
    for name in ("default", "second"):
        adapt(ours, "c3a", "0")
        with torch.no_grad():
            ours[0].kernel.copy_(to_first_rows(theirs.c3a_kernel[name]))
    assert close(ours(x), base(x) + x @ sum(deltas).mT)
