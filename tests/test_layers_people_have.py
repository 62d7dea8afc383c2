"""Layers that are not plain linear ones: own forwards, hooks, transposed and quantised weights, other transforms."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

import surm_lite as sl
from surm_lite.adapters import METHODS, adapters_of

EVERY = [name for name, method in METHODS.items() if method.wraps and "losses" not in method.needs]
UPDATES = ["toeplitz", "circulant", "ldr", "lora", "kronecker"]
X = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))


def net(layer=None, n=16):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(n, n) if layer is None else layer)


def stirred(model):
    generator = torch.Generator().manual_seed(1)
    for adapter in adapters_of(model).values():
        adapter.method.stir(adapter, generator)
    return model


def own_forward(layer):
    usual = layer.forward
    layer.forward = lambda x: usual(x) + 1
    return layer


class Plus(nn.Linear):
    def forward(self, x):
        return super().forward(x) + 1


def hooked(layer):
    layer.register_forward_hook(lambda m, i, o: o + 1)
    return layer


OWN = {"instance": lambda: own_forward(nn.Linear(16, 16)), "class": lambda: Plus(16, 16),
       "hook": lambda: hooked(nn.Linear(16, 16))}  # fmt: skip


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("method", EVERY)
def test_what_the_layer_does_besides_is_kept(kind, method):
    model = net(OWN[kind]())
    y = model(X)
    sl.adapt(model, method, targets="0")
    if METHODS[method].exact_at_init:
        torch.testing.assert_close(model(X), y)
    stirred(model)
    for rows in (X, X[:1]):
        if METHODS[method].mergeable:
            torch.testing.assert_close(
                model(rows), F.linear(rows, model[0].weight, model[0].bias) + 1, rtol=1e-4, atol=1e-4
            )
    with pytest.raises(ValueError, match=r"0: .*(hooks|forward of its own|cannot be merged)"):
        sl.merge(model)
    assert list(adapters_of(model)) == ["0"]


def test_hooks_on_an_adapter_are_not_dropped_either():
    model = sl.adapt(net(), "toeplitz", targets="0")
    handle = model[0].register_forward_hook(lambda m, i, o: 2 * o)
    with pytest.raises(ValueError, match="0: cannot be merged: it has hooks"):
        sl.merge(model)
    handle.remove()
    sl.merge(model)


def test_the_peft_road_calls_it_too():
    peft = pytest.importorskip("peft", reason="needs the extra [hf]")
    from surm_lite.hf import SurmConfig

    model = net(own_forward(nn.Linear(16, 16)))
    y = model(X)
    wrapped = peft.get_peft_model(model, SurmConfig(structure="toeplitz", target_modules=["0"]))
    torch.testing.assert_close(wrapped(X), y)


@pytest.mark.thin(2)
@pytest.mark.parametrize("method", EVERY)
def test_export_with_any_number_of_rows(method):
    model = stirred(sl.adapt(net(n=12), method, targets="0")).eval()
    rows = torch.export.Dim("rows", min=1, max=4096)
    program = torch.export.export(model, (torch.randn(50, 12),), dynamic_shapes=({0: rows},)).module()
    for count in (1, 2, 50, 100):
        x = torch.randn(count, 12)
        torch.testing.assert_close(program(x), model(x), rtol=1e-4, atol=1e-4)


TRACED = """
import torch, surm_lite as sl
x = torch.randn(3, 16)
for method in ("ldr", "toeplitz", "circulant", "symmetric_toeplitz", "lora"):
    model = sl.adapt(torch.nn.Sequential(torch.nn.Linear(16, 16)), method, targets="0")
    for p in sl.trainable_parameters(model):
        torch.nn.init.normal_(p)
    traced = torch.jit.trace(model, x, check_trace=False)
    for rows in (x, torch.randn(7, 16)):
        torch.testing.assert_close(traced(rows), model(rows), rtol=1e-4, atol=1e-4)
print("traced")
"""


def test_trace():
    """In a process of its own: a trace hands on sizes as tensors, which the type checks of these tests would refuse."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", TRACED], capture_output=True, text=True)
    assert done.stdout == "traced\n", done.stderr


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's own rules of forward mode
@pytest.mark.parametrize("method", EVERY)
@pytest.mark.parametrize("rows", [2, 64])
def test_forward_mode(method, rows):
    model = stirred(sl.adapt(net().double(), method, targets="0")).double()
    x, v = X[:rows].double(), torch.randn(rows, 16, dtype=torch.float64)
    y, dy = torch.func.jvp(model, (x,), (v,))
    torch.testing.assert_close(y, model(x))
    h = 1e-5
    torch.testing.assert_close(dy, (model(x + h * v) - model(x - h * v)) / (2 * h), rtol=1e-5, atol=1e-6)
    own = {k: p.detach() for k, p in model.named_parameters() if p.requires_grad}
    by = {k: torch.randn_like(p) for k, p in own.items()}
    _, dy = torch.func.jvp(lambda p: torch.func.functional_call(model, p, (x,)), (own,), (by,))
    up, down = ({k: p + s * h * by[k] for k, p in own.items()} for s in (1, -1))
    if method not in ("dora", "bora"):  # their norms are kept out of the gradient
        slope = (torch.func.functional_call(model, up, (x,)) - torch.func.functional_call(model, down, (x,))) / (2 * h)
        torch.testing.assert_close(dy, slope, rtol=1e-5, atol=1e-6)


def test_a_pruned_adapter_computes_and_is_saved_as_it_is(tmp_path):
    model = stirred(sl.adapt(net(), "lora", targets="0"))
    prune.l1_unstructured(model[0], "A", 0.5)
    mask = model[0].A_mask
    assert (model[0].A == 0).sum() == mask.numel() // 2
    torch.testing.assert_close(model(X), F.linear(X, model[0].weight, model[0].bias))
    sl.save_adapter(model, tmp_path / "a.st")
    again = sl.load_adapter(net(), tmp_path / "a.st")
    assert torch.equal(again[0].A, model[0].A)
    with pytest.raises(ValueError, match="tensor 'A' of an adapter is pruned or parametrised"):
        sl.load_adapter(model, tmp_path / "a.st")


@pytest.mark.parametrize("method", EVERY)
def test_a_replica_holds_its_tensors_as_attributes(method):
    model = stirred(sl.adapt(net(), method, targets="0"))
    adapter = model[0]
    replica = adapter._replicate_for_data_parallel()
    for name in adapter._parameters:  # what DataParallel leaves on each device
        vars(replica).pop(name, None)
        replica._parameters.pop(name, None)
        setattr(replica, name, adapter._parameters[name].detach().clone())
    torch.testing.assert_close(replica(X), model(X))


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("method", ["toeplitz", "dora"])
def test_old_weight_norm_is_read_fresh(method):
    def base():
        return net(torch.nn.utils.weight_norm(nn.Linear(16, 16)))

    model = sl.adapt(base(), method, targets="0")
    with torch.no_grad():
        model(X)
        model[0].linear.weight_g.mul_(3)  # as load_state_dict does
    stirred(model)
    y = model(X)
    with torch.no_grad():
        model[0].linear.weight_g.mul_(2)
    merged = sl.merge(model)(X)
    assert not torch.allclose(merged, y)
    torch.testing.assert_close(sl.unmerge(model)(X), merged, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", EVERY)
def test_a_model_that_reads_the_weight_gets_a_tensor(method):
    model = sl.adapt(net().to(torch.bfloat16), method, targets="0")
    assert model[0].weight.dtype == torch.bfloat16
    assert model[0].weight.shape == (16, 16)


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize(
    ("layer", "name"),
    [(nn.Conv2d(1, 4, 2), "0"), (nn.Embedding(5, 4), "0"), (nn.MultiheadAttention(8, 2), "0.out_proj")],
)
def test_other_layers_are_refused_in_a_sentence(layer, name):
    with pytest.raises(ValueError, match=r"targets: .* which cannot be adapted; only a called linear layer can"):
        sl.adapt(nn.Sequential(layer, nn.Linear(4, 4)), "lora", targets=name)


BAD = [
    (lambda: sl.adapt(net(), None, "0"), TypeError, "method is None; it must be a name"),
    (lambda: sl.adapt(net(), "lora", 3), TypeError, "targets is 3; it must be a name pattern"),
    (lambda: sl.adapt(net(), "lora", "0", keep=3), TypeError, "keep is 3; it must be a name pattern"),
    (lambda: sl.adapt(net(), "lora", "0", seed=2**70), ValueError, "seed is 1180591620717411303424; it must lie"),
    (lambda: sl.adapt(net(), "lora", "0", alpha=10**30), ValueError, "alpha of method 'lora' is 1000"),
    (lambda: sl.adapt(net(), "toeplitz", "0", alpha=1e39), ValueError, "alpha of method 'toeplitz' is 1e[+]39"),
    (lambda: sl.merge(sl.adapt(net(), "lora", "0"), dtype=torch.int8), TypeError, "dtype is torch.int8"),
]


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize(("call", "kind", "said"), BAD)
def test_bad_arguments(call, kind, said):
    with pytest.raises(kind, match=said):
        call()


def test_the_largest_seeds_and_numbers_work():
    for seed in (2**62 - 1, 1 - 2**62):
        sl.adapt(net(), "lora", "0", seed=seed)
    assert sl.adapt(net(), "toeplitz", "0", alpha=1e30)(X).isfinite().all()
