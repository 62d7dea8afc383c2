"""Every registered method against the contract of methods; one registry line brings a method here."""

import copy

import pytest
import torch
import torch.nn.functional as F
from adapter_cases import CASES, CONTRACT, MERGEABLE, REGISTERED, each, quick_first
from torch import nn

from surm_lite.adapters import METHODS, adapt, merge, unmerge
from surm_lite.checks import METHOD_CHECKS, check_method
from surm_lite.checks.method_contract import OF_LAYERS

TRAININGS = ("learns", "resume")  # the slowest: once for each method, not for each of its options


@each(quick_first(CONTRACT))
def test_contract(case):
    name, options = case
    check_method(name, quick=True, **options).raise_if_failed()


@pytest.mark.thin(4)
@pytest.mark.parametrize("check", TRAININGS)
@pytest.mark.parametrize("name", REGISTERED)
def test_short_trainings(name, check):
    check_method(name, only=[check]).raise_if_failed()


def test_a_method_that_wraps_no_layer_skips_the_checks_of_layers_and_no_others():
    names = [result.name for result in check_method("bitfit", quick=True).results]
    assert names == [name for name in METHOD_CHECKS if name not in {*OF_LAYERS, *TRAININGS}]


def test_bad_requests_are_refused_by_name():
    with pytest.raises(ValueError, match="unknown method 'lroa'; did you mean 'lora'"):
        check_method("lroa")
    with pytest.raises(ValueError, match="unknown option of method 'lora' 'rnak'; did you mean 'rank'"):
        check_method("lora", rnak=2)
    with pytest.raises(ValueError, match=r"options \['rank'\] go into the Method object"):
        check_method(METHODS["lora"](), rank=2)
    with pytest.raises(ValueError, match="only names 'forwrad'; the checks are start, forward"):
        check_method("lora", only=["forwrad"])
    with pytest.raises(ValueError, match="only names 'forward'"):
        check_method("head", only=["forward"])
    with pytest.raises(ValueError, match="only names 'resume'"):
        check_method("lora", only=["resume"], quick=True)


@pytest.mark.usefixtures("own_errors")
def test_what_a_method_in_use_holds_is_no_option():
    """Its layers, what it found in the data and how long that took: equal options are equal methods, used or not."""
    used, fresh = METHODS["lora"](rank=2), METHODS["lora"](rank=2)
    used.layers["0"] = used.found["0"] = torch.ones(2, 2)
    used.seconds = 1.0
    assert used == fresh != METHODS["lora"](rank=3)
    assert repr(used) == repr(fresh)
    assert used.options() == fresh.options()
    for name in ("layers", "found", "seconds"):
        with pytest.raises(TypeError, match=name):
            METHODS["lora"](**{name: None})


def test_what_is_no_method_is_refused(own_errors):
    with pytest.raises(TypeError, match=r"method is <class 'torch.nn.*'>; it must be a name"):
        check_method(nn.Linear)


@pytest.mark.slow
def test_a_check_leaves_no_trace():
    before = torch.get_rng_state(), dict(METHODS), torch.is_grad_enabled()
    check_method("gora", only=["file", "options", "calibrate", "draws", "resume"]).raise_if_failed()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (METHODS, torch.is_grad_enabled()) == before[1:]


STRUCTURES = ("circulant", "toeplitz", "symmetric_toeplitz", "kronecker", "ldr", "lora")


def bottleneck(structure, m=8, n=6):
    torch.manual_seed(0)
    model = adapt(nn.Sequential(nn.Linear(n, m, dtype=torch.float64)), "bottleneck", targets="0", structure=structure)
    model[0].method.stir(model[0], torch.Generator().manual_seed(0))
    return model


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize(("m", "n"), [(8, 8), (7, 7), (12, 8), (6, 9), (5, 7), (1, 1)])
def test_bottleneck_is_what_its_formula_says(structure, m, n):
    """It has no dense weight, so the contract compares rows and finite differences; here is the formula."""
    model = bottleneck(structure, m, n)
    for batch in [(), (1,), (3,), (2, 40), (0,), (2, 0)]:
        x = torch.randn(*batch, n, dtype=torch.float64, requires_grad=True)
        y = model[0].base_layer(x)
        want = y + F.gelu(y @ model[0].operator().to_dense().mT) + model[0].offset
        got = model(x)
        torch.testing.assert_close(got, want)
        wanted, g = [x, *model[0].parameters(recurse=False)], torch.randn_like(want)
        for a, b in zip(*(torch.autograd.grad(out, wanted, g, materialize_grads=True) for out in (got, want))):
            torch.testing.assert_close(a, b)


def test_a_bottleneck_cannot_be_merged_and_says_why():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    adapt(model, "lora", targets="0")
    adapt(model, "bottleneck", targets="1")
    with pytest.raises(ValueError, match="'bottleneck' cannot be merged"):
        merge(model)
    assert not isinstance(model[0], nn.Linear)  # the first layer was not merged either
    assert model[1].weight.is_meta  # shape and dtype for a model that reads them, and no numbers
    with pytest.raises(ValueError, match="not linear in x"):
        adapt(model, "lora", targets="1")


@pytest.mark.parametrize("second", ["lora", "toeplitz"])
@pytest.mark.parametrize("tokens", [1, 64])
@each(MERGEABLE)
def test_an_update_on_top_adds_itself(case, second, tokens):
    """Stacked, the contract says, they are one dense weight; here, that this weight is a sum."""
    models = []
    for chain in ([case], [(second, {})], [case, (second, {})]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(9, 6, dtype=torch.float64))
        for name, options in chain:
            adapt(model, name, targets="0", **options)
        for adapter in model[0].stack():
            adapter.method.stir(adapter, torch.Generator().manual_seed(0))
        models.append(model)
    one, other, both = models
    x = torch.randn(tokens, 9, dtype=torch.float64)
    torch.testing.assert_close(both(x), one(x) + other(x) - one[0].linear(x))


def test_a_merged_model_cannot_be_mistaken_for_an_adapted_one():
    def adapted():
        return adapt(nn.Sequential(nn.Linear(9, 6)), "toeplitz", targets="0")

    model, x = adapted(), torch.randn(5, 9)
    before = model(x)
    merge(model)
    with pytest.raises(RuntimeError, match="base_layer"):  # no double count
        adapted().load_state_dict(model.state_dict())
    assert torch.equal(unmerge(copy.deepcopy(model))(x), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@each(CASES)
def test_device_follows_the_base_layer(case):
    model = nn.Sequential(nn.Linear(9, 6)).cuda()
    adapt(model, case[0], targets="0", **case[1])
    assert {p.device.type for p in model.parameters()} == {"cuda"}
    twin = copy.deepcopy(model).cpu()
    for tokens in (1, 64):
        x = torch.randn(tokens, 9)
        torch.testing.assert_close(model(x.cuda()).cpu(), twin(x), rtol=1e-4, atol=1e-4)
        model(x.cuda()).sum().backward()
    if model[0].method.mergeable:
        merge(model).cpu()
        assert unmerge(model)[0].linear.weight.device.type == "cpu"
