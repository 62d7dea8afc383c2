"""The command line, as a person would use it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import torch

from surm_lite import cli
from surm_lite.adapters import load_adapter
from surm_lite.data import load
from surm_lite.evaluate import accuracy
from surm_lite.matrices import FAMILIES, Circulant
from surm_lite.models import split_qkv, tiny_vit
from surm_lite.record import Record

SMALL = ["train", "--model", "tiny_vit", "--data", "digits", "--device", "cpu"]


def test_train_end_to_end(tmp_path, capsys):
    record, adapter = tmp_path / "record.json", tmp_path / "adapter.safetensors"
    words = [*SMALL, "--method", "ldr", "--rank", "2", "--epochs", "2", "--lr", "3e-3", "--images", "64", "--seed", "5"]
    assert cli.main([*words, "--out", str(record), "--save", str(adapter)]) == 0
    said = capsys.readouterr().out
    assert "64 train, 397 validation, 400 test" in said
    assert "Alpaydin" in said
    assert "accuracy: train" in said
    kept = Record.from_json(record)
    assert kept.methods[0]["name"] == "ldr"
    assert kept.methods[0]["options"]["rank"] == 2
    assert len(kept.methods[0]["layers"]) == 18  # queries, keys and values of six blocks
    assert kept.options["seed"] == 5
    model = split_qkv(tiny_vit(num_classes=10))
    load_adapter(model, adapter)
    assert accuracy(model, load("digits").test) == kept.test_accuracy


def test_a_run_that_is_resumed_says_the_same(tmp_path, capsys):
    kept = ["--quick", "--method", "circulant", "--checkpoint", str(tmp_path / "run.ckpt"), "--checkpoint-every", "3"]
    assert cli.main([*SMALL, *kept, "--resume", "auto"]) == 0  # there is none yet
    said = capsys.readouterr().out
    assert cli.main([*SMALL, *kept, "--resume"]) == 0
    clock = re.compile(r"\d+\.\d s on .*")
    assert clock.sub("", capsys.readouterr().out) == clock.sub("", said)
    assert cli.main([*SMALL, *kept]) == 2
    assert "exists; go on from it with resume=True, or remove it" in capsys.readouterr().err
    assert cli.main([*SMALL, *kept, "--resume", "--lr", "0.5"]) == 2
    assert "options.lr is 0.001 in the checkpoint and 0.5 now" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["head", "full"])
def test_train_without_an_adapter(method, tmp_path, capsys):
    record = tmp_path / "record.json"
    assert cli.main([*SMALL, "--method", method, "--quick", "--out", str(record)]) == 0
    trained = Record.from_json(record).parameters["trained"]
    assert trained == {"head": 1290, "full": 805_130}[method]
    assert "digits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "toeplits"], "unknown method 'toeplits'; did you mean 'toeplitz'"),
        (["--data", "mnist"], "name: got 'mnist'; did you mean 'mnist5k'?"),
        (["--model", "vit_s"], "unknown model 'vit_s'; did you mean 'vit_s14'"),
        (["--targets", "blocks.*.atn"], "atn"),
        (["--schedule", "linear"], "schedule: got 'linear'"),
        (["--device", "quantum"], "device: got 'quantum'"),
        (["--method", "lora", "--rnak", "4"], "unknown argument '--rnak'; `surm-lite train --help` lists all"),
        (["--method", "lora", "--rank", "0"], "rank"),
        (["--method", "lora", "--rank", "four"], "--rank: got 'four'"),
        (["--method", "lora", "--rank"], "--rank: needs a value"),
        (["--lr", "0"], "lr: got 0.0"),
        (["--images", "0"], "train: got 0"),
        (["--out", "nowhere/record.json"], "--out: the folder"),
        (["--checkpoint", "nowhere/run.ckpt"], "--checkpoint: the folder"),
        (["--resume"], "resume: needs checkpoint"),
        (["--checkpoint", "missing.ckpt", "--resume"], "there is no file missing.ckpt"),
        (["--checkpoint", "missing.ckpt", "--resume", "maybe"], "resume: got 'maybe', need True, False or 'auto'"),
        (["--warmup", "2"], "warmup: got 2.0"),
        (["--method", "full", "--save", "x.safetensors"], "--save: writes adapters"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_answered_by_one_line_and_status_2(words, said, capsys):
    assert cli.main([*SMALL, *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("surm-lite: error: ")
    assert said in captured.err
    assert captured.err.count("\n") == 1 or "step" in captured.err


def test_a_run_that_diverges_ends_with_status_1_and_writes_nothing(tmp_path, capsys):
    record = tmp_path / "record.json"
    words = [*SMALL, "--method", "full", "--quick", "--lr", "1e25", "--schedule", "constant", "--out", str(record)]
    assert cli.main(words) == 1
    assert "training stopped: loss: is" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_argparse_errors_and_help_have_their_status(capsys):
    assert cli.main([]) == 2
    assert cli.main(["train", "--epochs", "many"]) == 2
    assert cli.main(["--help"]) == 0
    assert "doctor" in capsys.readouterr().out


def test_doctor_is_content_with_this_installation(capsys):
    assert cli.main(["doctor", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "all is well" in said
    assert f"torch        {torch.__version__}" in said
    assert all(name in said for name in FAMILIES)


class Transposed(Circulant):
    """A family with a defect: apply uses the transpose."""

    def _product(self, x):
        return Circulant(self.column).T._product(x)


def test_doctor_finds_a_wrong_family_and_a_changed_file(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "FAMILIES", {"circulant": Circulant, "transposed": Transposed})
    assert cli.main(["doctor", "--device", "cpu"]) == 1
    said = capsys.readouterr().out
    assert "transposed           FAIL" in said
    assert "circulant            ok" in said
    assert "all is well" not in said

    def changed():
        raise ValueError("tiny_vit.safetensors: sha256 is ...")

    monkeypatch.setattr(cli, "FAMILIES", {"circulant": Circulant})
    monkeypatch.setattr(cli.models, "tiny_vit", changed)
    assert cli.main(["doctor", "--device", "cpu"]) == 1
    assert "tiny_vit.safetensors: sha256 is" in capsys.readouterr().out


def test_doctor_refuses_words_it_does_not_know(capsys):
    assert cli.main(["doctor", "--rank", "4"]) == 2
    assert "unknown argument '--rank'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_installed_command_runs():
    done = subprocess.run([sys.executable, "-m", "surm_lite.cli", *SMALL, "--quick"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "accuracy: train" in done.stdout
