"""Two processes that train together, started as a user would start them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import together
import torch
from resumable import outcome, pictures, start
from safetensors.torch import load_file
from torch import nn

from surm_lite.adapters import adapt
from surm_lite.training.processes import Processes, processes
from surm_lite.training.record import Record
from surm_lite.training.train import train

pytestmark = pytest.mark.slow
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ACCELERATE = [
    "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
    "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
]  # fmt: skip
CLI = [
    "surm_lite",
    "train",
    "--model",
    "tiny_vit",
    "--data",
    "digits",
    "--device",
    "cpu",
    "--quick",
    "--method",
    "circulant",
]


def launch(*words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", *words], env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    done = launch(*TORCHRUN, together.__file__, str(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", together.CASES)
def test_two_processes_train_the_model_of_one(name, folder):
    (first, record), (second, other) = (outcome(folder / f"{name}.{rank}") for rank in (0, 1))
    assert record == other
    assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())
    build, options = together.CASES[name]
    model = build()
    alone = train(model, pictures(train=together.PICTURES), **(together.COMMON | options))
    assert record["processes"] == 2
    assert record["loss"] == pytest.approx(alone.loss, rel=1e-4)
    assert record["train_score"] == alone.train_score
    assert record["test_score"] == alone.test_score
    for key, tensor in model.state_dict().items():
        # By norms: an entry whose gradient is rounding alone gets steps of Adam of either sign, on some processors.
        apart = (first[key].double() - tensor.double()).norm()
        assert apart <= 5e-4 * tensor.double().norm(), key


def test_a_resumed_run_of_two_ends_with_the_same_bits(folder):
    for rank in (0, 1):
        whole, interrupted = (load_file(folder / f"{name}.{rank}.weights") for name in ("whole", "interrupted"))
        assert all(torch.equal(tensor, interrupted[key]) for key, tensor in whole.items())


def test_a_checkpoint_of_two_processes_is_refused_by_one(folder):
    file = {"checkpoint": folder / "run.ckpt", "checkpoint_every": 3, "resume": True}
    with pytest.raises(ValueError, match="processes is 2 in the checkpoint and 1 now"):
        train(together.network(), pictures(), **(together.RESUMED | file))


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Record:
    out = tmp_path_factory.mktemp("alone") / "out"
    assert launch(*CLI, "--out", str(out)).returncode == 0
    return Record.from_json(out)


@pytest.mark.parametrize("launcher", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate"])
def test_the_command_line_in_two_processes(launcher, alone, tmp_path):
    if launcher is ACCELERATE:
        pytest.importorskip("accelerate", reason="comes with peft (the hf extra)")
    files = {name: str(tmp_path / name) for name in ("out", "save", "checkpoint")}
    words = [word for name, path in files.items() for word in (f"--{name}", path)]
    done = launch(*launcher, "-m", *CLI, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("score: train") == 1  # process 0 alone reports
    assert done.stdout.count("in 2 processes") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)
    together = Record.from_json(tmp_path / "out")
    assert together.loss == pytest.approx(alone.loss, rel=1e-3)
    assert together.test_score == pytest.approx(alone.test_score, abs=0.021)  # one of 50 images


def agreeing(rank: int, kind: str, place: Path) -> None:
    """One of two processes: where their models differ, both say so; else both have the numbers of the first."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{place}/join", rank=rank, world_size=2)
    torch.manual_seed(rank)
    models = {
        "numbers": lambda: nn.Linear(3, 3),
        "shapes": lambda: nn.Linear(3, 3 + rank),
        "names": lambda: nn.ModuleDict({"ab"[rank]: nn.Linear(3, 3)}),
        "buffers": lambda: nn.BatchNorm1d(3, track_running_stats=rank == 0),
    }
    model = models[kind]()
    try:
        Processes(torch.device("cpu"), rank, 2).agree_on(model)
        said = str(sum(float(p.detach().sum()) for p in model.parameters()))
    except RuntimeError as error:
        said = str(error)
    (place / str(rank)).write_text(said)
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("kind", ["numbers", "shapes", "names", "buffers"])
def test_two_processes_agree_on_a_model_or_refuse(kind, tmp_path):
    both = [start(agreeing, rank, kind, tmp_path) for rank in (0, 1)]
    for process in both:
        process.join()
        assert process.exitcode == 0
    one, other = ((tmp_path / str(rank)).read_text() for rank in (0, 1))
    assert one == other
    refused = one.startswith("model: names and shapes of its tensors, crc32: the processes have ")
    assert refused == (kind != "numbers")


def test_alone_there_is_nothing_to_join():
    with processes("cpu") as group:
        assert (group.rank, group.size, group.device.type) == (0, 1, "cpu")
    assert not torch.distributed.is_initialized()


def looking(rank: int, place: Path) -> None:
    """One of two processes, whose looks at data found ranks of their own."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{place}/join", rank=rank, world_size=2)
    model = adapt(nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), "lora", "1", rank=1 + rank)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        train(model, pictures(), epochs=1, device="cpu", progress=False)
        said = "trained"
    except RuntimeError as error:
        said = str(error)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    (place / str(rank)).write_text(said)
    torch.distributed.destroy_process_group()


def test_processes_that_found_other_ranks_refuse_by_name(tmp_path):
    both = [start(looking, rank, tmp_path) for rank in (0, 1)]
    for process in both:
        process.join()
        assert process.exitcode == 0
    for rank in (0, 1):
        assert (tmp_path / str(rank)).read_text().startswith("model: names and shapes of its tensors, crc32")
