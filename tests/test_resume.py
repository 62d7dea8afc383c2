"""Checkpoints: a run that was killed ends as if it never had been, and a wrong file changes nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import json
import os
import random
import resource
import time
from functools import partial

import pytest
import resumable
import torch
from resumable import SETTINGS, STEPS, network, outcome, pictures, pipe, run_and_keep, same, start, still
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from surm_lite.data import LabelledSet
from surm_lite.tasks import Task
from surm_lite.training import checkpoint as files
from surm_lite.training import refuse
from surm_lite.training.train import train

QUIET = {"progress": False, "device": "cpu"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    process = start(run_and_keep, out)
    process.join()
    assert process.exitcode == 0
    return outcome(out)


def killed_and_resumed(folder, seed: int) -> tuple:
    """Kills a run twice, each time somewhere in or after a random step, and lets the third process finish."""
    chance = random.Random(seed)
    every = chance.choice([None, 1, 2, 5])
    options = {"checkpoint": folder / "run.ckpt", "checkpoint_every": every, "resume": "auto"}
    for stop in sorted(chance.sample(range(STEPS), 2)):
        here, there = pipe()
        process = start(run_and_keep, folder / "run", there, **options)
        there.close()
        with contextlib.suppress(EOFError):  # the run before had ended before its kill: nothing is left to do
            while here.recv() < stop:
                pass
        time.sleep(chance.uniform(0, 0.02))
        process.kill()
        process.join()
        assert process.exitcode in (-9, 0)  # 0: the last steps were over before the kill
        here.close()
    process = start(run_and_keep, folder / "run", **options)
    process.join()
    assert process.exitcode == 0
    return outcome(folder / "run")


@pytest.mark.parametrize("seed", [0, 1])
def test_a_killed_run_ends_with_the_bits_of_one_that_was_not(seed, tmp_path, undisturbed):
    assert same(killed_and_resumed(tmp_path, seed), undisturbed)


@pytest.mark.slow
def test_twenty_killed_runs_end_with_the_bits_of_one_that_was_not(tmp_path, undisturbed):
    for seed in range(2, 22):
        folder = tmp_path / str(seed)
        folder.mkdir()
        assert same(killed_and_resumed(folder, seed), undisturbed), f"trial {seed}"


def test_a_finished_run_gives_its_record_again(tmp_path):
    file, model, again = tmp_path / "run.ckpt", network(), network()
    record = train(model, pictures(), checkpoint=file, **SETTINGS)
    with torch.no_grad():
        again.head.weight.fill_(0.5)  # where the training starts from does not matter
    resumed = train(again, pictures(), checkpoint=file, resume=True, **SETTINGS)
    assert still(resumed) == still(record)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_checkpoints_do_not_change_a_run(tmp_path, undisturbed):
    model = network()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        record = train(model, pictures(), checkpoint=tmp_path / "run.ckpt", checkpoint_every=5, **SETTINGS)
    finally:
        torch.set_num_threads(threads)
    assert same((model.state_dict(), json.loads(still(record).to_json())), undisturbed)
    assert [path.name for path in tmp_path.iterdir()] == ["run.ckpt"]


def test_the_time_of_all_parts_is_summed(tmp_path, monkeypatch):
    file = tmp_path / "run.ckpt"
    for tick in (100.0, 1.0):  # a clock that is looked at a few times in a run
        monkeypatch.setattr(time, "perf_counter", partial(next, itertools.count(0.0, tick)))
        record = train(network(), pictures(), checkpoint=file, resume="auto", **SETTINGS)
    assert record.seconds > 100


@pytest.fixture
def stopped(tmp_path):
    """The file of a run that stopped in the middle of its second epoch, and the step it stopped at."""

    def stop(images, chance):
        raise KeyboardInterrupt

    file, calls = tmp_path / "run.ckpt", iter(range(100))

    def augment(images, chance):
        return stop(images, chance) if next(calls) == 8 else SETTINGS["augment"](images, chance)

    augment.__name__ = SETTINGS["augment"].__name__
    with pytest.raises(KeyboardInterrupt):
        train(network(), pictures(), checkpoint=file, checkpoint_every=4, **(SETTINGS | {"augment": augment}))
    return file


def refuses(file, words, model=None, data=None, error=ValueError, **options):
    """The run is refused in these words; model and file keep every bit."""
    model = network() if model is None else model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    mode, trained, kept = model.training, [p.requires_grad for p in model.parameters()], file.read_bytes()
    with pytest.raises(error, match=words):
        train(model, data or pictures(), checkpoint=file, **({"resume": True} | SETTINGS | options))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert (mode, trained) == (model.training, [p.requires_grad for p in model.parameters()])
    assert file.read_bytes() == kept


def test_a_checkpoint_holds_what_the_next_step_needs_and_no_pickle(stopped):
    with safe_open(stopped, "pt") as file:
        header, names = json.loads(file.metadata()[files.KEY]), set(file.keys())
    assert header["step"] == 8
    assert header["epoch"] == 1
    assert len(header["record"]["loss"]) == 8
    assert header["methods"][0]["average"] > 0
    kinds = {"model", "optimizer", "chance", "method"}
    assert {name.split("/")[0] for name in names} == kinds
    assert {"model/hidden.mask", "model/norm.running_mean", "model/head.weight", "method/0/chance"} < names
    assert not any("base_layer" in name for name in names)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lr": 1e-4}, "of another run: options.lr is 0.003 in the checkpoint and 0.0001 now"),
        ({"epochs": 3}, "options.epochs is 2 in the checkpoint and 3 now"),
        ({"augment": None}, "options.augment is 'flip_and_shift' in the checkpoint and None now"),
        ({"seed": 4}, "options.seed is 3"),
        ({"accumulate": 1}, "options.accumulate is 2"),
        ({"resume": False}, "exists; go on from it with resume=True"),
    ],
)
def test_other_options_are_refused(options, words, stopped):
    refuses(stopped, words, error=(ValueError, FileExistsError), **options)


def test_other_models_are_refused(stopped):
    refuses(stopped, r"model.head.weight is '\(5, 16\) torch.float32' in the checkpoint and '\(6, 16\)", network(6))
    refuses(stopped, "of another run: frozen weights, sha256 is", network(seed=1))
    other = network()
    other.norm.requires_grad_(False)
    refuses(stopped, r"model.norm.weight is '\(16,\) torch.float32' in the checkpoint and None now", other)
    refuses(
        stopped,
        "methods.0 is {'name': 'drifting', .* in the checkpoint and None now",
        nn.Sequential(nn.Flatten(), nn.Linear(64, 5)),
    )


def test_other_data_are_refused(stopped):
    data = pictures()
    turned = dataclasses.replace(data, train=data.train[torch.arange(len(data.train)).flip(0)])
    refuses(stopped, "data.inputs and labels, sha256", data=turned)
    refuses(stopped, "data.train is 50 in the checkpoint and 45 now", data=pictures(train=45))


def test_other_versions_are_refused(stopped, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "1.0.0")
    refuses(stopped, "versions.torch is '.*' in the checkpoint and '1.0.0' now")
    monkeypatch.undo()
    monkeypatch.setattr(files, "FORMAT", 3)
    refuses(stopped, "format 2; this version reads format 3")


def test_damaged_files_are_refused(stopped, rng):
    good = stopped.read_bytes()
    for size in [0, 7, 100, len(good) // 2, len(good) - 1]:
        stopped.write_bytes(good[:size])
        refuses(stopped, "run.ckpt: damaged, or not a safetensors file")
    for _ in range(40):
        at = int(torch.randint(len(good), (), generator=rng))
        stopped.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        refuses(stopped, "run.ckpt: (damaged|a safetensors file, but no checkpoint|format)")


def test_foreign_files_are_refused(stopped):
    save_file({"weight": torch.ones(3)}, stopped)
    refuses(stopped, "a safetensors file, but no checkpoint")
    stopped.write_text('{"loss": []}')
    refuses(stopped, "damaged, or not a safetensors file")
    save_file({"weight": torch.ones(3)}, stopped, {files.KEY: "[1]"})
    refuses(stopped, "holds a list, need an object")


def full(descriptor):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_where_a_checkpoint_cannot_be(tmp_path, monkeypatch):
    run = lambda **options: train(network(), pictures(), **(SETTINGS | options))  # noqa: E731
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint at .*run.ckpt"):
        run(checkpoint=tmp_path / "run.ckpt", resume=True)
    with pytest.raises(ValueError, match=r"checkpoint: .* is a folder"):
        run(checkpoint=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"checkpoint: the folder .*nowhere does not exist"):
        run(checkpoint=tmp_path / "nowhere" / "run.ckpt")
    with monkeypatch.context() as disk:  # said in the first second
        disk.setattr(os, "fsync", full)
        disk.setattr(Task, "check", lambda *args: pytest.fail("work has started"))
        with pytest.raises(OSError, match=r"checkpoint: .*run.ckpt cannot be written \(No space left on device\)"):
            run(checkpoint=tmp_path / "run.ckpt")
    with pytest.raises(ValueError, match="resume: needs checkpoint"):
        run(resume=True)
    with pytest.raises(ValueError, match="checkpoint_every: needs checkpoint"):
        run(checkpoint_every=3)
    with pytest.raises(ValueError, match="checkpoint_every: got 0"):
        run(checkpoint=tmp_path / "run.ckpt", checkpoint_every=0)
    with pytest.raises(ValueError, match="resume: got 'yes', need True, False or 'auto'"):
        run(checkpoint=tmp_path / "run.ckpt", resume="yes")
    assert list(tmp_path.iterdir()) == []


def step_of(file) -> int:
    return files.read(file)[0]["step"]


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(tmp_path):
    file, calls = tmp_path / "run.ckpt", iter(range(100))

    class Breaks(resumable.Drifting):
        name = "breaks"

        def penalty(self, state):
            return torch.tensor(float("nan") if next(calls) == 7 else 0.0)

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    resumable.adapt(model, Breaks(rank=1), "1", keep=())
    words = r"penalty: is nan at step 7 with lr .*; the checkpoint of step 6 is kept in .*run.ckpt"
    with pytest.raises(FloatingPointError, match=words):
        train(model, pictures(), epochs=4, checkpoint=file, checkpoint_every=3, **QUIET)
    assert step_of(file) == 6


def test_weights_that_are_not_finite_are_never_a_checkpoint(tmp_path):
    file = tmp_path / "run.ckpt"

    class Breaks(resumable.Drifting):
        name = "breaks"

        def after_step(self, state):
            if state.step == 4:
                next(iter(self.layers.values())).A.data.fill_(float("inf"))

    model = resumable.adapt(nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), Breaks(rank=1), "1", keep=())
    with pytest.raises(FloatingPointError, match=r"weights: 1.A is not finite after step 4.*the checkpoint of step 2"):
        train(model, pictures(), checkpoint=file, checkpoint_every=2, **QUIET)
    assert step_of(file) == 2


def limited(out, file, limit):
    """Trains where no file may grow beyond a limit, as on a disk that fills up, and writes down what was said."""
    refuse.check_output = lambda *args: None  # it was not full when the run began
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        train(network(), pictures(), checkpoint=file, resume=True, **SETTINGS)
    except OSError as error:
        out.write_text(str(error))


def test_a_full_disk_keeps_the_last_good_checkpoint(stopped, tmp_path):
    before = stopped.read_bytes()
    process = start(limited, tmp_path / "said", stopped, len(before) // 2)
    process.join()
    said = (tmp_path / "said").read_text()
    assert said.startswith(f"[Errno {errno.EFBIG}] checkpoint: {stopped} could not be written (File too large)")
    assert said.endswith(f"the checkpoint of step 8 is kept in {stopped}")
    assert stopped.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["run.ckpt", "said"]
    assert train(network(), pictures(), checkpoint=stopped, resume=True, **SETTINGS).test_score is not None


def test_what_a_killed_write_left_behind_is_replaced(stopped, tmp_path):
    (tmp_path / "run.ckpt.part").write_bytes(b"half a checkpoint")
    train(network(), pictures(), checkpoint=stopped, resume=True, **SETTINGS)
    assert os.listdir(tmp_path) == ["run.ckpt"]


def empty_class() -> LabelledSet:
    data = pictures()
    return dataclasses.replace(data, train=data.train[data.train.labels != 2])


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        (network, empty_class, "data: the train part of pictures has no example of class 'c'; leave the class out"),
        (network, lambda: pictures(classes=7), r"of another run: .*methods|data|model: gives \(2, 5\)"),
        (network, lambda: pictures(side=9), "of another run: data"),
    ],
)
def test_wrong_data_leave_the_checkpoint_alone(model, data, words, stopped):
    refuses(stopped, words, model(), data())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: pictures(classes=7), r"model: gives \(2, 5\) for 2 examples, but pictures has 7 classes"),
        (
            lambda: pictures(side=9),
            r"model: does not take the examples of pictures, torch.uint8 of shape \(1, 9, 9\) each: .*81",
        ),
        (empty_class, "data: the train part of pictures has no example of class 'c'"),
        (lambda: dataclasses.replace(pictures(), classes=("a", "b")), "has labels from 0 to 4, need 0 to 1"),
        (lambda: dataclasses.replace(pictures(), test=pictures().test[:0]), "the test part of pictures has no example"),
    ],
)
def test_wrong_data_are_refused_before_anything_is_written(data, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        train(network(), data(), checkpoint=tmp_path / "run.ckpt", **SETTINGS)
    assert list(tmp_path.iterdir()) == []
