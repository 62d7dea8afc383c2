"""While training: callbacks, the log, early stopping and the best epoch, augmentation by name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from resumable import Counting, pictures
from torch import nn

import surm_lite as sl
from surm_lite.adapters import methods_of
from surm_lite.commands import main as cli
from surm_lite.data import AUGMENTATIONS, flip_and_shift
from surm_lite.training.processes import Processes
from surm_lite.training.record import Record

RUN = {"lr": 3e-3, "schedule": "constant", "batch_size": 16, "device": "cpu", "progress": False}


def model(method: str = "lora", **options) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.GELU(), nn.Linear(16, 5))
    return sl.adapt(plain, method, targets=None if method == "full" else "1", keep=("2", "4"), **options)


def numbers(one: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in one.state_dict().items()}


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(numbers(one).values(), numbers(other).values(), strict=True))


def told(monkeypatch, scores):
    """Validation scores, as they are to come; the last of them is that of the test."""
    left = iter(scores)
    monkeypatch.setattr(Processes, "score", lambda *_, **__: next(left))


def test_a_callback_hears_of_every_epoch_once():
    heard = []
    record = sl.train(model(), pictures(), epochs=3, evaluate_every=2, callbacks=[heard.append, lambda p: None], **RUN)
    assert [one.epoch for one in heard] == [1, 2, 3]
    assert [(one.epochs, one.step, len(one.loss)) for one in heard] == [(3, 4, 4), (3, 8, 4), (3, 12, 4)]
    assert [loss for one in heard for loss in one.loss] == record.loss
    assert [one.train_score for one in heard] == record.train_score
    assert [one.validation_score for one in heard] == [None, record.validation_score[2], record.validation_score[3]]
    assert all(one.lr == 3e-3 for one in heard)
    assert 0 <= heard[0].seconds <= heard[1].seconds <= heard[2].seconds <= record.seconds


def test_a_run_ends_where_a_callback_says_so_and_is_then_as_long_as_it_was():
    short, long = model(), model()
    record = sl.train(long, pictures(), epochs=9, callbacks=[lambda p: p.epoch == 2, lambda p: "yes"], **RUN)
    wanted = sl.train(short, pictures(), epochs=2, **RUN)
    assert same(short, long)
    assert (record.loss, record.validation_score, record.test_score) == (
        wanted.loss, wanted.validation_score, wanted.test_score
    )  # fmt: skip
    assert record.best_epoch is None


def test_callbacks_change_nothing_else():
    one, other = model(), model()
    sl.train(one, pictures(), epochs=2, callbacks=[lambda p: torch.rand(3)], **RUN)
    sl.train(other, pictures(), epochs=2, **RUN)
    assert same(one, other)


@pytest.mark.parametrize("callbacks", [print, [3], "log", None])
def test_what_is_no_list_of_functions_is_refused(callbacks, own_errors):
    with pytest.raises(TypeError, match=r"callbacks: got .*need a list of functions of a Progress"):
        sl.train(model(), pictures(), epochs=1, callbacks=callbacks, **RUN)


@pytest.mark.parametrize("method", ["lora", "full", "circulant"])
def test_patience_leaves_the_model_at_its_best_epoch_bit_for_bit(method, monkeypatch):
    """Buffers of a batch norm included. Epoch 3 is the best: after two that are no better the run ends."""
    best = model(method)
    sl.train(best, pictures(), epochs=3, **RUN)
    long = model(method)
    told(monkeypatch, [0.1, 0.3, 0.5, 0.5, 0.4, 0.9])
    record = sl.train(long, pictures(), epochs=9, patience=2, **RUN)
    assert record.validation_score == {1: 0.1, 2: 0.3, 3: 0.5, 4: 0.5, 5: 0.4}
    assert (record.best_epoch, record.test_score, len(record.loss)) == (3, 0.9, 20)
    assert same(best, long)
    assert Record.from_json(record.to_json()) == record


@pytest.mark.parametrize("stops", [True, False])
def test_state_that_is_no_tensor_is_put_back_too(stops, tmp_path, monkeypatch):
    """Epoch 1 is the best; four batches an epoch, so its count is 4, through a checkpoint as well."""
    scores, kept = [0.5, 0.4, 0.3, 0.9], {"epochs": 9, "patience": 2} | RUN
    if stops:
        kept |= {"checkpoint": tmp_path / "c", "resume": "auto"}
        told(monkeypatch, scores)
        with pytest.raises(ZeroDivisionError):
            sl.train(model().append(Counting()), pictures(), callbacks=[lambda p: p.epoch == 2 and 1 / 0], **kept)
        scores = scores[2:]
    told(monkeypatch, scores)
    counted = model().append(Counting())
    assert sl.train(counted, pictures(), **kept).best_epoch == 1
    assert counted[-1].calls == 4


def test_the_last_epoch_may_be_the_best_and_a_run_may_come_to_its_end(monkeypatch):
    last = model()
    sl.train(last, pictures(), epochs=3, **RUN)
    for scores, best, length in (([0.1, 0.2, 0.3], 3, 3), ([0.1, 0.3, 0.2], 2, 3), ([0.4, 0.3, 0.2, 0.1], 1, 4)):
        with monkeypatch.context() as patch:
            told(patch, [*scores, 0.9])
            one = model()
            record = sl.train(one, pictures(), epochs=length, patience=9, **RUN)
        assert (record.best_epoch, len(record.train_score)) == (best, length)
        assert same(one, last) == (best == 3)


def test_patience_counts_looks(monkeypatch):
    told(monkeypatch, [0.5, 0.4, 0.3, 0.9])
    record = sl.train(model(), pictures(), epochs=9, patience=2, evaluate_every=2, **RUN)
    assert (record.best_epoch, len(record.train_score)) == (2, 6)


def test_patience_survives_a_resume(tmp_path, monkeypatch):
    """Stopped after epoch 3, when 2 was the best; and called again after the run has ended."""
    scores = [0.1, 0.5, 0.4, 0.3, 0.2]
    whole, parts = model(), model()
    with monkeypatch.context() as patch:
        told(patch, [*scores[:4], 0.9])
        record = sl.train(whole, pictures(), epochs=9, patience=2, **RUN)
    assert (record.best_epoch, len(record.train_score)) == (2, 4)

    class Stopped(Exception):
        pass

    def stop(progress):
        if progress.epoch == 3:
            raise Stopped

    kept = {"epochs": 9, "patience": 2, "checkpoint": tmp_path / "c", "resume": "auto"} | RUN
    with monkeypatch.context() as patch:
        told(patch, scores)
        with pytest.raises(Stopped):
            sl.train(parts, pictures(), callbacks=[stop], **kept)
    for rest in ([0.3, 0.9], [0.9]):
        again = model()
        with monkeypatch.context() as patch:
            told(patch, rest)
            found = sl.train(again, pictures(), **kept)
        assert same(again, whole)
        assert replace(found, seconds=0.0, peak_memory=0) == replace(record, seconds=0.0, peak_memory=0)
    with pytest.raises(ValueError, match=r"options\.patience is 2 in the checkpoint and 3 now"):
        sl.train(model(), pictures(), **kept | {"patience": 3})


@pytest.mark.parametrize("method", ["trp", "cuttlefish", "ardlora"])
def test_patience_is_refused_where_layers_change(method):
    digits = pictures()
    changing = sl.adapt(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Linear(16, 5)), method, targets="1")
    with pytest.raises(ValueError, match=f"patience: got 2, but method '{method}' changes layers"):
        sl.train(changing, digits, epochs=1, patience=2, **RUN)
    assert methods_of(changing)[0].name == method


@pytest.mark.parametrize("patience", [0, -1, 1.5, True, "2"])
def test_a_patience_that_is_none(patience, own_errors):
    with pytest.raises((ValueError, TypeError), match="patience: got"):
        sl.train(model(), pictures(), epochs=1, patience=patience, **RUN)


def test_a_log_has_a_line_for_each_epoch_and_goes_on_after_a_resume(tmp_path):
    log = sl.JsonLog(tmp_path / "log.jsonl")
    seen = []
    record = sl.train(
        model(), pictures(), epochs=3, callbacks=[log, lambda p: seen.append(log.path.read_text().count("\n"))], **RUN
    )
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert seen == [1, 2, 3]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert [loss for line in lines for loss in line["loss"]] == record.loss
    assert {line["epoch"]: line["validation_score"] for line in lines} == record.validation_score
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl"]

    kept = {"epochs": 4, "checkpoint": tmp_path / "c", "resume": "auto"} | RUN
    with pytest.raises(ZeroDivisionError):
        sl.train(model(), pictures(), callbacks=[log, lambda p: 1 / (p.epoch - 2)], **kept)
    assert log.path.read_text().count("\n") == 2
    sl.train(model(), pictures(), callbacks=[sl.JsonLog(log.path)], **kept)
    assert [json.loads(line)["epoch"] for line in log.path.read_text().splitlines()] == [1, 2, 3, 4]


def test_a_log_that_cannot_be_written_is_refused_before_the_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"path: the folder .* does not exist"):
        sl.JsonLog(tmp_path / "nowhere" / "log")
    with pytest.raises(ValueError, match=r"path: .* is a folder"):
        sl.JsonLog(tmp_path)


def test_augmentation_by_name_is_the_function():
    for name, function in (("flip_and_shift", flip_and_shift), ("shift", AUGMENTATIONS["shift"])):
        one, other, plain = model(), model(), model()
        record = sl.train(one, pictures(), epochs=2, augment=name, **RUN)
        sl.train(other, pictures(), epochs=2, augment=function, **RUN)
        sl.train(plain, pictures(), epochs=2, **RUN)
        assert same(one, other)
        assert not same(one, plain)
        assert record.options["augment"] == name
    batch = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8).expand(50, -1, -1, -1)
    moved = AUGMENTATIONS["shift"](batch, torch.Generator().manual_seed(0))
    rows = moved[:, 0, 3, 3:5].int()
    assert (rows[:, 1] > rows[:, 0]).all()  # nothing is mirrored


@pytest.mark.parametrize("augment", ["flip", "", 3])
def test_an_augmentation_that_nobody_knows(augment, own_errors):
    with pytest.raises((ValueError, TypeError), match=r"augment: got .*flip_and_shift"):
        sl.train(model(), pictures(), epochs=1, augment=augment, **RUN)


def test_from_the_shell(tmp_path, capsys):
    record, log = tmp_path / "r.json", tmp_path / "log.jsonl"
    words = ["train", "--model", "tiny_vit", "--data", "digits", "--device", "cpu", "--examples", "64", "--lr", "0.02"]
    words += ["--epochs", "12", "--patience", "1", "--augment", "shift", "--json-log", str(log), "--out", str(record)]
    assert cli.main(words) == 0
    kept = Record.from_json(record)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == len(kept.train_score) < 12
    assert kept.options["augment"] == "shift"
    best = max(kept.validation_score, key=lambda epoch: (kept.validation_score[epoch], -epoch))
    assert kept.best_epoch == best
    said = capsys.readouterr().out
    assert re.search(rf"validation {kept.validation_score[best]:.3f}, test .*; of epoch {best}, the best of", said)
    for wrong, told in (
        (["--patience", "0"], "patience: got 0"),
        (["--augment", "flip"], "augment: got 'flip', need one of flip_and_shift, shift"),
        (["--json-log", str(record), "--out", str(record)], "--out, --json-log: are both"),
        (["--json-log", "nowhere/log"], "--json-log: the folder"),
        (["--method", "trp", "--patience", "2"], "patience: got 2, but method 'trp'"),
    ):
        assert cli.main([*words[:9], *wrong]) == 2
        assert told in capsys.readouterr().err


@pytest.mark.slow
def test_several_processes_end_together_and_one_of_them_writes(tmp_path):
    """As torchrun starts them: it must not take one of our options for one of its own."""
    words = ["-m", "surm_lite", "train", "--data", "digits", "--model", "tiny_vit", "--device", "cpu", "--quiet"]
    words += ["--examples", "64", "--lr", "0.02", "--epochs", "12", "--patience", "1"]
    words += ["--json-log", "log.jsonl", "--out", "r.json"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run([*torchrun, *words], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    record = Record.from_json(tmp_path / "r.json")
    assert record.processes == 2
    assert record.best_epoch == len(record.train_score) - 1 < 12
    assert (tmp_path / "log.jsonl").read_text().count("\n") == len(record.train_score)
