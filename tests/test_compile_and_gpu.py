"""An adapted model under `torch.compile`, and on another device than the CPU."""

import copy
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from adapter_cases import CASES, CONTRACT, MERGEABLE, SMALL, each, ids, plain, trained
from real_models import KINDS, TARGETS, answer, inputs, move, real
from resumable import pictures
from torch import nn

import surm_lite as sl
from surm_lite.adapters import METHODS


def images(n=3):
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(3))


def same_answers_and_gradients(one, other, tolerance=1e-5):
    """Outputs and gradients of the trained numbers of two models with the same names."""
    outputs, grads = [], []
    for model in (one, other):
        y = model(images().to(next(model.parameters()).device))
        outputs.append(y.detach().cpu())
        grads.append([g.cpu() for g in torch.autograd.grad(y.square().sum(), sl.trainable_parameters(model))])
    torch.testing.assert_close(*outputs, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(*grads, rtol=10 * tolerance, atol=10 * tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "methods"), [("aot_eager", [*METHODS]), ("inductor", ["toeplitz"])])
def test_compiled_in_one_graph(backend, methods):
    """Every method, forward and backward, without a break of the graph or a warning; one down to machine code."""
    program = Path(__file__).with_name("compiled.py")
    run = subprocess.run([sys.executable, program, backend, *methods], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [ids(case) for case in CONTRACT if case[0] in methods]


@pytest.fixture
def accelerator():
    """The machine's GPU; the tests that ask for it are left out where there is none."""
    found = sl.device()
    if found.type == "cpu":
        pytest.skip("needs a CUDA or MPS device")
    return found


@pytest.mark.gpu
@each(CASES)
def test_gpu_is_cpu(case, accelerator):
    model = trained(case[0], **case[1])
    same_answers_and_gradients(copy.deepcopy(model).to(accelerator), model, tolerance=1e-4)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("where", ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def test_every_method_looks_at_data_trains_and_ends_there(name, where, request):
    """All hooks, from the look at data to the end, on another device: the losses are those of the CPU."""
    on = torch.device("cpu") if where == "cpu" else request.getfixturevalue("accelerator")
    losses = [_losses(name, device) for device in {torch.device("cpu"), on}]
    assert all(map(math.isfinite, losses[0]))
    torch.testing.assert_close(losses[0], losses[-1], rtol=1e-2, atol=1e-3)


def _losses(name, device):
    data, model = pictures(), nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 5))
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1, generator=chance)
    model.to(device)
    method = METHODS[name](**SMALL.get(name, {}))
    looks = {} if method.ready() else {"losses": data.task.losses(model, data, count=2, batch_size=10)}
    sl.adapt(model, method, "1" if method.wraps else None, keep="3", seed=0, **looks)
    how = {"epochs": 2, "lr": 1e-3, "batch_size": 10, "device": device, "progress": False}
    return sl.train(model, data, **how).loss


@pytest.mark.gpu
@each(CASES)
def test_adapters_are_made_where_the_model_is(case, accelerator):
    model = sl.adapt(plain().to(accelerator), case[0], ("qkv", "fc2"), **case[1])
    assert {p.device.type for p in model.parameters()} == {accelerator.type}


@pytest.mark.gpu
@each(MERGEABLE)
def test_merge_save_load_export_on_gpu(case, accelerator, tmp_path):
    model = trained(case[0], **case[1]).to(accelerator)
    x = images().to(accelerator)
    live = model(x)
    sl.save_adapter(model, tmp_path / "a.safetensors")
    torch.testing.assert_close(sl.load_adapter(plain().to(accelerator), tmp_path / "a.safetensors")(x), live)
    sl.export(model, tmp_path / "lora", "lora")
    torch.testing.assert_close(sl.merge(model)(x), live, rtol=1e-4, atol=1e-4)
    assert torch.equal(sl.unmerge(model)(x), live)


@pytest.mark.gpu
@each(CASES)
def test_no_host_sync_in_a_step(case, accelerator):
    """Nothing in forward, backward and the optimiser waits for the GPU."""
    if accelerator.type != "cuda":
        pytest.skip("only CUDA can watch for synchronisation")
    model = trained(case[0], **case[1]).to(accelerator)
    optimizer = torch.optim.AdamW(sl.trainable_parameters(model), fused=True)
    x, labels = images().to(accelerator), torch.tensor([0, 1, 2], device=accelerator)

    def step():
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@each(CASES)
def test_half_on_gpu(case, dtype, accelerator):
    """Weights in half precision, and float32 weights under autocast: finite, and near the float32 answer."""
    model = trained(case[0], **case[1])
    exact, x = model(images()), images().to(accelerator)
    model.to(accelerator)
    with torch.autocast(accelerator.type, dtype):
        torch.testing.assert_close(model(x).float().cpu(), exact, rtol=0.1, atol=0.1)
    model.to(dtype)
    y = model(x.to(dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y.float().cpu(), exact, rtol=0.1, atol=0.1)
    grads = torch.autograd.grad(y.float().square().sum(), sl.trainable_parameters(model))
    assert all(g.isfinite().all() for g in grads)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_real_models_on_gpu(kind, accelerator):
    model = sl.adapt(real(kind).to(accelerator), "toeplitz", TARGETS[kind])
    move(sl.trainable_parameters(model))
    here = {name: value.to(accelerator) for name, value in inputs(kind).items()}
    with torch.no_grad():
        out = model(**here)
    out = out if isinstance(out, torch.Tensor) else out["logits" if "logits" in out else "pooler_output"]
    torch.testing.assert_close(out.cpu(), answer(model.cpu(), kind), rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
def test_peft_on_gpu(accelerator):
    peft = pytest.importorskip("peft", reason="needs the extra [hf]")
    from surm_lite.hf import SurmConfig

    base = nn.Sequential(nn.Linear(12, 8)).to(accelerator)
    model = peft.get_peft_model(base, SurmConfig(structure="ldr", target_modules=["0"]))
    assert {p.device.type for p in model.parameters()} == {accelerator.type}
    move(p for p in model.parameters() if p.requires_grad)
    x = torch.randn(5, 12, device=accelerator)
    live = model(x)
    torch.testing.assert_close(model.merge_and_unload()(x), live, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
def test_compiled_on_gpu(accelerator):
    torch._dynamo.reset()
    model = trained("toeplitz", ("blocks.0.qkv",)).to(accelerator)
    same_answers_and_gradients(torch.compile(model), model, tolerance=1e-4)
