"""One step: pieces of a batch, schedules, nothing that waits for the device, and compiled models."""

from __future__ import annotations

import pytest
import torch
from adapter_cases import READY
from resumable import SETTINGS, compiled_and_keep, network, outcome, pictures, small, start, still
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from surm_lite.adapters import METHODS, adapt, methods_of
from surm_lite.data import flip_and_shift
from surm_lite.device import device
from surm_lite.models import ViT, ViTConfig
from surm_lite.training import loop
from surm_lite.training.optimizer import build_optimizer
from surm_lite.training.processes import Processes
from surm_lite.training.record import Record
from surm_lite.training.run import Run, State
from surm_lite.training.schedule import schedule_factor
from surm_lite.training.settings import Settings
from surm_lite.training.train import train

QUIET = {"progress": False, "device": "cpu"}


def vit(method: str = "toeplitz") -> ViT:
    model = ViT(ViTConfig(width=16, depth=2, heads=2, num_classes=5), generator=torch.Generator().manual_seed(0))
    return adapt(model, method, ("qkv",))


@pytest.mark.parametrize("accumulate", [2, 3, 100])
def test_pieces_of_a_batch_give_the_step_of_the_whole(accumulate):
    whole, pieces = (
        train(vit(), pictures(), epochs=3, lr=1e-2, accumulate=k, augment=flip_and_shift, **QUIET)
        for k in (1, accumulate)
    )
    assert pieces.loss == pytest.approx(whole.loss, rel=1e-4)
    assert pieces.loss != whole.loss
    assert pieces.train_score == whole.train_score


def test_pieces_really_are_smaller():
    seen = []
    model = vit()
    model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])) if module.training else None)
    train(model, pictures(), epochs=1, batch_size=20, accumulate=3, **QUIET)
    assert seen == [6, 7, 7, 6, 7, 7, 3, 3, 4]


@pytest.mark.parametrize(
    ("size", "pieces", "count"), [(1, 1, 7), (1, 4, 7), (2, 1, 7), (3, 2, 7), (4, 3, 5), (8, 1, 3)]
)
def test_shares_cover_a_batch_once(size, pieces, count):
    parts = [Processes(torch.device("cpu"), rank, size).shares(count, pieces) for rank in range(size)]
    real = [part for mine in parts for part in mine if part[1] > 0]
    assert [k for part, _ in real for k in range(count)[part]] == list(range(count))
    assert sum(weight for _, weight in real) == pytest.approx(1.0)
    assert all(parts)  # every process has something to compute
    assert [part for mine in parts for part in mine if part[1] == 0] == [(slice(0, 1), 0.0)] * max(0, size - count)


def test_warmup():
    for name in ("onecycle", "cosine", "constant"):
        rising = [schedule_factor(name, step / 100, warmup=0.2) for step in range(21)]
        assert rising == sorted(rising)
        assert rising[-1] == 1.0
        assert rising[0] == pytest.approx(0.04)
    assert schedule_factor("cosine", 0.4, warmup=0.3) == schedule_factor("onecycle", 0.4)
    assert schedule_factor("onecycle", 0.0, warmup=0.0) == 1.0
    record = train(vit(), pictures(), epochs=1, schedule="cosine", warmup=0.5, **QUIET)
    assert record.options["warmup"] == 0.5
    assert record.loss != train(vit(), pictures(), epochs=1, schedule="cosine", **QUIET).loss


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"accumulate": 0}, "accumulate: got 0"),
        ({"warmup": 1.0}, "warmup: got 1.0, need a share of the steps, at least 0 and below 1"),
        ({"warmup": -0.1}, "warmup: got -0.1"),
    ],
)
def test_an_option_out_of_range_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        train(vit(), pictures(), **(QUIET | options))


class Waits(TorchDispatchMode):
    """Notes every operation that a GPU would have to finish before the host can go on."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            self.seen.append(function)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", sorted(READY))
def test_nothing_in_a_step_waits_for_the_device(method):
    """But for the step counters of AdamW, which live on the CPU: without a learning rate to apply there are none."""
    model, data = vit(method), pictures()
    optimizer = build_optimizer(model, methods_of(model), lr=1e-3, head_lr=1e-3, weight_decay=0.1)
    optimizer.step = lambda: None
    state = State(model, optimizer, total_steps=4)
    run = Run(state, methods_of(model), Record({}, [], {}, "cpu"), Processes(torch.device("cpu")), data.task)
    whole = {name: None for name in Settings.__dataclass_fields__}
    settings = Settings(**whole | {
        "epochs": 1, "lr": 1e-3, "batch_size": 8, "accumulate": 2, "weight_decay": 0.1, "schedule": "cosine",
        "seed": 0, "precision": "float32", "clip": 1.0,
    })  # fmt: skip
    with Waits() as waits:
        for k in range(3):
            run.step(data.train[8 * k : 8 * k + 8], settings)
        assert waits.seen == []
        assert run.record.loss == []
        run.look()
        assert len(run.record.loss) == 3


def test_a_look_names_the_first_bad_step(monkeypatch):
    """As on a GPU, where many steps pass between two looks."""
    calls = iter(range(100))

    class Breaks(METHODS["lora"]):
        name = "breaks"

        def penalty(self, state):
            return torch.tensor(float("nan") if next(calls) >= 1 else 0.0)

    model = adapt(nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), Breaks(rank=1), "1", keep=())
    monkeypatch.setattr(loop, "LOOK_EVERY", {"cpu": 4})
    with pytest.raises(FloatingPointError, match=r"penalty: is nan at step 1 with lr 0\.00"):
        train(model, pictures(), epochs=4, batch_size=8, **QUIET)
    assert next(calls) == 4  # it went on until the look


def test_looking_seldom_changes_nothing(monkeypatch):
    often = train(network(), pictures(), **SETTINGS)
    monkeypatch.setattr(loop, "LOOK_EVERY", {"cpu": 5})
    assert still(train(network(), pictures(), **SETTINGS)) == still(often)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["toeplitz", "lora"])
def test_a_compiled_model_trains_to_the_same_weights(method, tmp_path):
    """In a process of its own: the shape checker of the tests is not part of what is compiled."""
    process = start(compiled_and_keep, tmp_path / "run", method)
    model = small(method)
    record = train(model, pictures(), epochs=2, batch_size=25, lr=1e-2, **QUIET)
    process.join()
    assert process.exitcode == 0
    weights, resumed = outcome(tmp_path / "run")
    assert resumed["loss"] == pytest.approx(record.loss, abs=1e-6)
    assert resumed["test_score"] == record.test_score
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
def test_no_host_sync_on_cuda():
    if device().type != "cuda":
        pytest.skip("no CUDA device")
    model, data = vit("circulant"), pictures()
    train(model, data, epochs=1, progress=False)  # plans and workspaces are made
    whole = Run.step

    def watched(self, batch, settings):
        torch.cuda.set_sync_debug_mode("error")
        try:
            whole(self, batch, settings)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "step", watched)
        train(model, data, epochs=1, clip=1.0, accumulate=2, precision="bfloat16", progress=False)
