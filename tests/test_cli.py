"""The command line, as a person would use it."""

from __future__ import annotations

import errno
import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from surm_lite import data, files
from surm_lite.adapters import adapt, load_adapter, save_adapter, trainable_parameters
from surm_lite.commands import compare, doctor, export, train
from surm_lite.commands import main as cli
from surm_lite.commands.base import base
from surm_lite.data import load
from surm_lite.evaluate import accuracy
from surm_lite.matrices import FAMILIES, Circulant
from surm_lite.models import split_qkv, tiny_vit
from surm_lite.training.record import Record, versions
from surm_lite.training.run import Run

SMALL = ["train", "--model", "tiny_vit", "--data", "digits", "--device", "cpu"]


@pytest.mark.slow
def test_train_end_to_end(tmp_path, capsys):
    record, adapter = tmp_path / "record.json", tmp_path / "adapter.safetensors"
    words = [
        *SMALL,
        "--method",
        "ldr",
        "--rank",
        "2",
        "--epochs",
        "2",
        "--lr",
        "3e-3",
        "--examples",
        "64",
        "--seed",
        "5",
    ]
    assert cli.main([*words, "--out", str(record), "--save", str(adapter)]) == 0
    said = capsys.readouterr().out
    assert "64 train, 397 validation, 400 test" in said
    assert "Alpaydin" in said
    assert "score: train" in said
    kept = Record.from_json(record)
    assert kept.methods[0]["name"] == "ldr"
    assert kept.methods[0]["options"]["rank"] == 2
    assert len(kept.methods[0]["layers"]) == 18  # queries, keys and values of six blocks
    assert kept.options["seed"] == 5
    model = split_qkv(tiny_vit(num_classes=10))
    load_adapter(model, adapter)
    assert accuracy(model, load("digits").test) == kept.test_score


@pytest.mark.slow
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
        (["--data", "mnist"], "unknown data set 'mnist'; did you mean 'mnist5k'"),
        (["--model", "vit_s"], "unknown model 'vit_s'; did you mean 'vit_s14'"),
        (["--targets", "blocks.*.atn"], "atn"),
        (["--schedule", "linear"], "schedule: got 'linear'"),
        (["--device", "quantum"], "device: got 'quantum'"),
        (["--method", "lora", "--rnak", "4"], "unknown argument '--rnak'; did you mean '--rank'"),
        (["--method", "lora", "--rank", "4", "--rank", "2"], "--rank: is given twice"),
        (["--eporchs", "4"], "unknown argument '--eporchs'; did you mean '--epochs'"),
        (["--seed", "1" + 23 * "0"], "--seed: got 100000000000000000000000, need a whole number below 2**42"),
        (["--epochs", "-1"], "epochs: got -1"),
        (["--quick", "--epochs", "-1"], "epochs: got -1"),
        (["--quick", "--examples", "0"], "train: got 0"),
        (["--batch-size", "0"], "batch_size: got 0"),
        (["--targets", ""], "it must be a name pattern"),
        (["--method", "head", "--lr", "1", "--head-lr", "2"], "the head is all that is trained"),
        (["--method", "head", "--targets", "qkv"], "method 'head' wraps no layer"),
        (["--out", "same", "--save", "same"], "--out, --save: are both same"),
        (["--method", "lora", "--rank", "0"], "rank"),
        (["--method", "lora", "--rank", "four"], "--rank: got 'four'"),
        (["--method", "lora", "--rank"], "--rank: needs a value"),
        (["--lr", "0"], "lr: got 0.0"),
        (["--examples", "0"], "train: got 0"),
        (["--out", "nowhere/record.json"], "--out: the folder"),
        (["--checkpoint", "nowhere/run.ckpt"], "--checkpoint: the folder"),
        (["--out", "."], "--out: . is a folder"),
        (["--save", "."], "--save: . is a folder"),
        (["--checkpoint", "."], "--checkpoint: . is a folder"),
        (["--save", "/dev/null"], "--save: /dev/null is no ordinary file"),
        (["--resume"], "resume: needs checkpoint"),
        (["--checkpoint", "missing.ckpt", "--resume"], "there is no checkpoint at missing.ckpt"),
        (["--checkpoint", "missing.ckpt", "--resume", "maybe"], "resume: got 'maybe', need True, False or 'auto'"),
        (["--warmup", "2"], "warmup: got 2.0"),
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
    assert "surm-lite: error: training stopped: loss: is" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def stopped(*args, **options):
    raise KeyboardInterrupt


def full(fd):
    raise OSError(errno.ENOSPC, "No space left on device")


PLACES = [
    ["train", "--out"],
    ["train", "--save"],
    ["train", "--checkpoint"],
    ["export", "a.st"],
    ["export", "a.st", "--form", "lora"],
    ["compare", "--methods", "head", "--out"],
    ["compare", "--methods", "head", "--figure"],
]


@pytest.mark.parametrize("words", PLACES, ids=" ".join)
def test_where_output_goes_is_tried_before_work_starts(words, tmp_path, monkeypatch, capsys):
    for module, name in ((data, "load"), (train, "train"), (compare, "compare"), (export, "adapted")):
        monkeypatch.setattr(module, name, lambda *args, **options: pytest.fail("work has started"))
    place = tmp_path / ("x.svg" if "--figure" in words else "x")
    with monkeypatch.context() as disk:
        disk.setattr(files.os, "fsync", full)
        assert cli.main([*words, str(place)]) == 1
    assert f"{place} cannot be written (No space left on device)" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    locked = "/proc/x.svg"  # nobody can write there, not even root
    assert cli.main([*words, locked]) in (1, 2)
    assert f"{locked} cannot be written" in capsys.readouterr().err
    if "--form" in words or (words[-1:] == ["--out"] and words[0] == "compare"):
        place.write_text("")
        said = f"{place} is no folder"
    else:
        place.mkdir()
        said = f"{place} is a folder"
    assert cli.main([*words, str(place)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_result_that_cannot_be_written_does_not_take_the_other_with_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train.adapters, "save_adapter", lambda model, path: full(0))
    record = tmp_path / "record.json"
    assert cli.main([*SMALL, "--quick", "--save", str(tmp_path / "a.st"), "--out", str(record)]) == 1
    said = capsys.readouterr().err
    assert said.endswith(f"error: --save: {tmp_path / 'a.st'} could not be written (No space left on device)\n")
    assert Record.from_json(record).test_score is not None


@pytest.mark.slow
def test_ctrl_c_ends_in_one_sentence_that_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    checkpoint = tmp_path / "run.ckpt"
    words = [*SMALL, "--quick", "--epochs", "2", "--checkpoint", str(checkpoint), "--checkpoint-every", "1"]
    steps = iter(range(9))
    original = Run.step
    monkeypatch.setattr(Run, "step", lambda *args: stopped() if next(steps) == 3 else original(*args))
    assert cli.main([*words, "--quiet"]) == 130
    caught = capsys.readouterr()
    assert caught.out == ""
    assert caught.err == (f"surm-lite: stopped; the same command with --resume auto goes on from {checkpoint}\n")
    assert cli.main([*words, "--resume", "auto"]) == 0
    monkeypatch.setattr(train, "train", stopped)
    capsys.readouterr()
    assert cli.main([*SMALL, "--quick", "--quiet"]) == 130
    assert "nothing is kept; with --checkpoint FILE" in capsys.readouterr().err
    monkeypatch.setattr(compare, "compare", stopped)
    folder = tmp_path / "runs"
    assert cli.main(["compare", "--methods", "head", "--out", str(folder), "--quiet"]) == 130
    assert capsys.readouterr().err == (
        f"surm-lite: stopped; finished runs are kept in {folder}, and the same command goes on from there\n"
    )


def test_quick_is_a_start_that_options_change(monkeypatch):
    asked = []

    def load(name, **options):
        asked.append(options)
        raise ValueError("enough")

    monkeypatch.setattr(data, "load", load)
    for words, count in (([], 100), (["--examples", "64"], 64)):
        assert cli.main([*SMALL, "--quick", *words]) == 2
        assert (asked[-1]["train"], asked[-1]["validation"], asked[-1]["test"]) == (count, 50, 50)


@pytest.mark.parametrize("flag", ["--lr", "--head-lr"])
def test_the_rate_of_the_head_is_the_one_that_is_given(flag, tmp_path):
    record = tmp_path / "record.json"
    assert cli.main([*SMALL, "--quick", "--quiet", "--method", "head", flag, "0.02", "--out", str(record)]) == 0
    assert Record.from_json(record).options["head_lr"] == 0.02


@pytest.mark.slow
def test_a_method_that_looks_at_data_trains_from_the_command_line(tmp_path, capsys):
    record, adapter = tmp_path / "record.json", tmp_path / "gora.st"
    words = [*SMALL, "--quick", "--method", "gora", "--rank", "2", "--rank_min", "1"]
    assert cli.main([*words, "--out", str(record), "--save", str(adapter)]) == 0
    ranks = Record.from_json(record).methods[0]["options"]["ranks"]
    assert len(ranks) == 18
    assert len(set(ranks.values())) > 1


def fused():
    return adapt(tiny_vit(num_classes=3), "toeplitz", targets=("attn.qkv", "attn.proj"))


def parted():
    return adapt(split_qkv(tiny_vit(num_classes=3)), "toeplitz")


@pytest.mark.parametrize("build", [fused, parted])
def test_export_makes_the_base_that_the_adapter_was_trained_on(build, tmp_path, capsys):
    """The file says whether queries, keys and values are one layer, and how many outputs the head has."""
    model = build()
    with torch.no_grad():
        for tensor in trainable_parameters(model):
            tensor.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    save_adapter(model, tmp_path / "a.st")
    assert cli.main(["export", str(tmp_path / "a.st"), str(tmp_path / "whole.st"), "--model", "tiny_vit"]) == 0
    plain = tiny_vit(num_classes=3)  # whatever was trained, a merged export fits the plain model
    plain.load_state_dict(load_file(tmp_path / "whole.st"))
    x = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(plain.eval()(x), model.eval()(x), rtol=1e-4, atol=1e-4)
    capsys.readouterr()
    assert cli.main(["export", str(tmp_path / "whole.st"), str(tmp_path / "again.st")]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / 'whole.st'}: a merged model already, whose weights hold the update; give the adapter" in error


def test_a_file_that_says_nothing_of_classes_is_of_ten():
    """As those of version 0.1.0 are, where the head was not trained."""
    assert base("tiny_vit", {}, None).head.out_features == 10


def test_a_failed_export_does_not_speak_of_training(tmp_path, monkeypatch, capsys):
    save_adapter(fused(), tmp_path / "a.st")
    monkeypatch.setattr(export.adapters, "export", lambda *args, **options: full(0))
    assert cli.main(["export", str(tmp_path / "a.st"), str(tmp_path / "b.st"), "--model", "tiny_vit"]) == 1
    assert capsys.readouterr().err == "surm-lite: error: No space left on device\n"
    assert cli.main(["export", str(tmp_path / "no.st"), str(tmp_path / "b.st")]) == 2
    assert capsys.readouterr().err == f"surm-lite: error: there is no adapter file at {tmp_path / 'no.st'}\n"


def test_argparse_errors_and_help_have_their_status(capsys):
    assert cli.main([]) == 2
    assert cli.main(["train", "--epochs", "many"]) == 2
    assert cli.main(["train", "--root", "nowhere"]) == 2
    assert "argument --root: got 'nowhere', need a folder that exists" in capsys.readouterr().err
    assert cli.main(["trian"]) == 2
    assert capsys.readouterr().err == "surm-lite: error: unknown command 'trian'; did you mean 'train'?\n"
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"surm-lite {versions()['surm_lite']}\n"
    assert cli.main(["--help"]) == 0
    assert "doctor" in capsys.readouterr().out


@pytest.mark.parametrize(
    "families",
    [
        pytest.param({"circulant": Circulant}, id="one"),
        pytest.param(FAMILIES, id="all", marks=pytest.mark.slow),  # each of their contracts is a test of its own too
    ],
)
def test_doctor_is_content_with_this_installation(families, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "FAMILIES", families)
    assert cli.main(["doctor", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "all is well" in said
    assert f"torch        {torch.__version__}" in said
    assert all(name in said for name in families)


class Transposed(Circulant):
    """A family with a defect: apply uses the transpose."""

    def _product(self, x):
        return Circulant(self.column).T._product(x)


def test_doctor_finds_a_wrong_family_and_a_changed_file(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "FAMILIES", {"circulant": Circulant, "transposed": Transposed})
    assert cli.main(["doctor", "--device", "cpu"]) == 1
    said = capsys.readouterr().out
    assert "transposed           FAIL" in said
    assert "circulant            ok" in said
    assert "all is well" not in said

    def changed():
        raise ValueError("tiny_vit.safetensors: sha256 is ...")

    monkeypatch.setattr(doctor, "FAMILIES", {"circulant": Circulant})
    monkeypatch.setattr(doctor.models, "tiny_vit", changed)
    assert cli.main(["doctor", "--device", "cpu"]) == 1
    assert "tiny_vit.safetensors: sha256 is" in capsys.readouterr().out


def test_doctor_refuses_words_it_does_not_know(capsys):
    assert cli.main(["doctor", "--rank", "4"]) == 2
    assert "unknown argument '--rank'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_installed_command_runs():
    done = subprocess.run([sys.executable, "-m", "surm_lite", *SMALL, "--quick"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "score: train" in done.stdout
