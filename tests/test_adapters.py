"""Every registered method against the same demands; one registry line brings a method here."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from adapter_cases import CASES, MERGEABLE, each
from torch import nn

from surm_lite.adapters import METHODS, adapt, count, merge, trainable_parameters, unmerge

SHAPES = [(8, 8), (7, 7), (12, 8), (6, 9), (5, 7), (1, 1)]  # (m, n): square, prime, wide, tall, coprime, one number


def make(case, m=8, n=8, bias=True, dtype=torch.float64, moved=True):
    """One adapted layer in a model; ``moved`` gives all its numbers random values, as after training."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(n, m, bias=bias, dtype=dtype))
    adapt(model, case[0], targets="0", **case[1])
    if moved:
        with torch.no_grad():
            for p in trainable_parameters(model):
                p.normal_()
    return model


def oracle(adapter, x):
    """What the adapter must compute, by dense matrices only."""
    if adapter.method.mergeable:
        return F.linear(x, adapter.weight(), adapter.bias())
    y = adapter.base_layer(x)
    return y + F.gelu(y @ adapter.operator().to_dense().mT) + adapter.offset


@each(CASES)
@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_starts_as_the_base_model(case, m, n):
    model = make(case, m, n, moved=False)
    x = torch.randn(64, n, dtype=torch.float64)
    assert METHODS[case[0]].exact_at_init
    assert torch.equal(model(x), model[0].linear(x))


@each(CASES)
@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_forward_is_the_oracle(case, m, n):
    for bias in (True, False):
        model = make(case, m, n, bias)
        for batch in [(), (1,), (3,), (2, 40), (0,), (2, 0)]:
            x = torch.randn(*batch, n, dtype=torch.float64)
            y = model(x)
            assert y.shape == (*batch, m)
            torch.testing.assert_close(y, oracle(model[0], x))


@each(CASES)
@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_gradients_are_those_of_the_oracle(case, m, n):
    model = make(case, m, n)
    for tokens in (1, 64):  # the separate path and, where there is one, the merged path
        x = torch.randn(tokens, n, dtype=torch.float64, requires_grad=True)
        g = torch.randn(tokens, m, dtype=torch.float64)
        wanted = [x, *trainable_parameters(model)]
        got, right = (torch.autograd.grad(y, wanted, g) for y in (model(x), oracle(model[0], x)))
        for a, b in zip(got, right):
            torch.testing.assert_close(a, b)


@each(MERGEABLE)
@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_merge_is_forward_and_unmerge_restores_bits(case, m, n):
    model = make(case, m, n, bias=m != n, dtype=torch.float32)
    x = torch.randn(64, n)
    plain = list(nn.Sequential(nn.Linear(n, m, bias=m != n)).state_dict())
    before, bits, parameters = model(x), model[0].linear.weight.detach().clone(), trainable_parameters(model)
    assert merge(model) is model
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-4)
    assert isinstance(model[0], nn.Linear)
    assert list(model.state_dict()) == plain
    assert merge(model) is model  # again: nothing happens
    assert unmerge(unmerge(model)) is model
    assert torch.equal(model[0].linear.weight, bits)
    assert torch.equal(model(x), before)
    assert all(a is b for a, b in zip(trainable_parameters(model), parameters, strict=True))


@each(MERGEABLE)
def test_adapter_merge_gives_a_plain_layer_and_leaves_the_adapter(case):
    model = make(case, 6, 9)
    x = torch.randn(4, 9, dtype=torch.float64)
    state = torch.get_rng_state()
    layer = model[0].merge()
    assert torch.equal(torch.get_rng_state(), state)
    assert type(layer) is nn.Linear
    assert not layer.weight.requires_grad
    torch.testing.assert_close(layer(x), model(x))


def test_a_bottleneck_cannot_be_merged_and_says_why():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    adapt(model, "lora", targets="0")
    adapt(model, "bottleneck", targets="1")
    with pytest.raises(ValueError, match="'bottleneck' cannot be merged"):
        merge(model)
    assert not isinstance(model[0], nn.Linear)  # the first layer was not merged either
    with pytest.raises(ValueError, match="not linear in x"):
        model[1].weight()


@each(MERGEABLE)
@pytest.mark.parametrize("second", ["lora", "toeplitz"])
@pytest.mark.parametrize("tokens", [1, 64])
def test_two_adapters_sum(case, second, tokens):
    one = make(case, 6, 9)
    other = make((second, {}), 6, 9)
    both = copy.deepcopy(one)
    adapt(both, second, targets="0")
    with torch.no_grad():
        for mine, theirs in zip(both[0].own().values(), other[0].own().values(), strict=True):
            mine.copy_(theirs)
    x = torch.randn(tokens, 9, dtype=torch.float64, requires_grad=True)
    y = both(x)
    torch.testing.assert_close(y, one(x) + other(x) - one[0].linear(x))
    torch.testing.assert_close(y, oracle(both[0], x))
    assert len(trainable_parameters(both)) == len(trainable_parameters(one)) + len(trainable_parameters(other))
    assert all(grad.any() for grad in torch.autograd.grad(y.sum(), trainable_parameters(both)))
    torch.testing.assert_close(merge(both)(x), y)


def test_two_adapters_of_one_method_start_differently():
    model = nn.Sequential(nn.Linear(6, 6))
    adapt(adapt(model, "lora", targets="0"), "lora", targets="0")
    assert not torch.equal(model[0].A, model[0].base_layer.A)


@each(CASES)
@pytest.mark.parametrize(("m", "n"), [(8, 8), (6, 9)])
def test_every_trained_tensor_gets_a_gradient_within_two_steps(case, m, n):
    model = make(case, m, n, moved=False)
    parameters = trainable_parameters(model)
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    touched = set()
    for _ in range(2):
        x = torch.randn(16, n, dtype=torch.float64)
        optimizer.zero_grad()
        (model(x) - torch.randn(16, m, dtype=torch.float64)).square().mean().backward()
        touched |= {i for i, p in enumerate(parameters) if p.grad is not None and p.grad.any()}
        optimizer.step()
    assert touched == set(range(len(parameters)))


@each(CASES)
@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_counts_are_the_closed_formula(case, m, n):
    model = make(case, m, n)
    c = count(model)
    expected = model[0].method.n_params(m, n)
    assert (c.trained, c.kept, c.stored, c.base) == (expected, 0, expected, m * n + m)
    assert c.deployed == (0 if model[0].method.mergeable else expected)
    assert sum(p.numel() for p in trainable_parameters(model)) == expected


@each(CASES)
def test_state_round_trips(case):
    model = make(case, 6, 9)
    x = torch.randn(5, 9, dtype=torch.float64)
    fresh = make(case, 6, 9, moved=False)
    assert not torch.equal(fresh(x), model(x))
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(x), model(x))
    assert torch.equal(copy.deepcopy(model)(x), model(x))
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), model(x))


@each(MERGEABLE)
def test_a_merged_model_saves_as_the_plain_model(case):
    model = make(case, 6, 9)
    x = torch.randn(5, 9, dtype=torch.float64)
    before = model(x)
    merge(model)
    plain = nn.Sequential(nn.Linear(9, 6, dtype=torch.float64))
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain(x), before)
    with pytest.raises(RuntimeError, match="base_layer"):  # and cannot be mistaken for an adapted one: no double count
        make(case, 6, 9).load_state_dict(model.state_dict())
    again = unmerge(copy.deepcopy(model))
    assert torch.equal(again(x), before)


@each(CASES)
def test_train_and_eval_return_the_layer_and_never_merge(case):
    model = make(case)
    x = torch.randn(3, 8, dtype=torch.float64)
    layer, before, bits = model[0], model(x), model[0].linear.weight.clone()
    assert layer.eval() is layer
    assert torch.equal(model(x), before)
    assert layer.train() is layer
    assert torch.equal(model(x), before)
    assert torch.equal(layer.linear.weight, bits)
    if layer.method.mergeable:
        model.eval()
        assert not merge(model)[0].training
        model.train()
        assert unmerge(model)[0].training


@each(CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_dtype_follows_the_base_layer(case, dtype):
    model = make(case, 6, 9, dtype=dtype, moved=False)
    assert {p.dtype for p in model.parameters()} == {dtype}
    with torch.no_grad():
        for p in trainable_parameters(model):
            p.uniform_(-0.2, 0.2)
    x = torch.randn(40, 9, dtype=dtype)
    y = model(x)
    y.float().sum().backward()
    assert y.dtype == dtype
    assert all(p.grad.dtype == dtype and p.grad.isfinite().all() for p in trainable_parameters(model))
    exact = oracle(copy.deepcopy(model).double()[0], x.double())
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}[dtype]
    torch.testing.assert_close(y.double(), exact, rtol=tolerance, atol=tolerance)


@each(CASES)
def test_autocast(case):
    model = make(case, 6, 9, dtype=torch.float32, moved=False)
    with torch.no_grad():
        for p in trainable_parameters(model):
            p.uniform_(-0.2, 0.2)
    x = torch.randn(40, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), model(x), rtol=5e-2, atol=5e-2)
    y.float().sum().backward()
    assert all(p.grad.any() for p in trainable_parameters(model))


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


@each(CASES)
def test_draws_are_seeded_and_leave_the_global_generator_alone(case):
    def draw(seed):
        model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
        state = torch.get_rng_state()
        adapt(model, case[0], targets="*", seed=seed, **case[1])
        assert torch.equal(torch.get_rng_state(), state)
        return [p.detach() for p in trainable_parameters(model)]

    first, again, other = draw(0), draw(0), draw(1)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    half = len(first) // 2
    if any(p.any() for p in first):  # a method with random factors: they depend on the seed and on the layer
        assert not all(torch.equal(a, b) for a, b in zip(first, other))
        assert not all(torch.equal(a, b) for a, b in zip(first[:half], first[half:]))
