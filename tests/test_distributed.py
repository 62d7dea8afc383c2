"""Two processes that train together, started as a user would start them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import together
import torch
from resumable import outcome, pictures
from safetensors.torch import load_file

from surm_lite.record import Record
from surm_lite.train import train
from surm_lite.training.processes import processes

pytestmark = pytest.mark.slow
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ACCELERATE = [
    "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
    "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
]  # fmt: skip
CLI = [
    "surm_lite.cli",
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
    build, accumulate = together.CASES[name]
    model = build()
    alone = train(model, pictures(train=together.PICTURES), accumulate=accumulate, **together.COMMON)
    assert record["processes"] == 2
    assert record["loss"] == pytest.approx(alone.loss, rel=1e-4)
    assert record["train_accuracy"] == alone.train_accuracy
    assert record["test_accuracy"] == alone.test_accuracy
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(first[key], tensor, rtol=1e-3, atol=1e-5)


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
    assert done.stdout.count("accuracy: train") == 1  # process 0 alone reports
    assert done.stdout.count("in 2 processes") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)
    together = Record.from_json(tmp_path / "out")
    assert together.loss == pytest.approx(alone.loss, rel=1e-3)
    assert together.test_accuracy == pytest.approx(alone.test_accuracy, abs=0.021)  # one of 50 images


def test_alone_there_is_nothing_to_join():
    with processes("cpu") as group:
        assert (group.rank, group.size, group.device.type) == (0, 1, "cpu")
    assert not torch.distributed.is_initialized()
