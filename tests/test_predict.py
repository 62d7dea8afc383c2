"""Asking a trained model: in Python, from a shell, from a file, in a new process."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from dataclasses import replace

import drawn
import pytest
import torch
from PIL import Image
from torch import nn

import surm_lite as sl
from surm_lite.adapters.attached import tell
from surm_lite.commands import main as cli
from surm_lite.data import from_folder, load
from surm_lite.files import read_sealed, write_sealed
from surm_lite.models import ViT, ViTConfig, logits, split_qkv, tiny_vit
from surm_lite.tasks import Reconstruction

RUN = {"epochs": 25, "lr": 3e-3, "head_lr": 1e-2, "batch_size": 16, "device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny ViT that tells three shapes apart, its adapter file, its pictures and some that it has not seen."""
    place = tmp_path_factory.mktemp("trained")
    data = from_folder(drawn.folder(place / "shapes", 12), size=28)
    model = sl.adapt(split_qkv(tiny_vit(num_classes=3)), "circulant")
    sl.train(model, data, **RUN)
    sl.save_adapter(model, place / "a.safetensors")
    drawn.folder(place / "new", 3, seed=5)
    return model, place


def files(place):
    return sorted(path for path in (place / "new").rglob("*.*"))


def test_it_names_what_it_was_trained_on_and_says_how_sure_it_is(trained):
    model, place = trained
    found = sl.predict(model, place / "new")
    assert [one.name for one in found] == [str(path) for path in files(place)]
    right = sum(one.label == path.parent.name for one, path in zip(found, files(place)))
    assert right >= 8
    for one in found:
        labels, shares = zip(*one.guesses)
        assert sorted(labels) == ["bar", "disc", "ring"]
        assert list(shares) == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1, abs=1e-5)
    (first,) = sl.predict(model, str(files(place)[0]), top=1)
    assert first.guesses == found[0].guesses[:1]
    assert str(first) == f"{first.name}: {first.label} {100 * first.guesses[0][1]:.1f} %"


def test_files_and_training_see_the_same_pixels(trained):
    """The pictures of a folder, asked as files, give the very outputs that they give as a data set."""
    model, place = trained
    data = from_folder(place / "shapes", size=28)
    whole = torch.cat([part.inputs for part in data.parts.values()])
    as_tensor = sl.predict(model, whole)
    as_files = sl.predict(model, place / "shapes")
    assert [one.name for one in as_tensor] == [str(k) for k in range(36)]
    tops = [sorted(round(one.guesses[0][1], 4) for one in some) for some in (as_tensor, as_files)]
    assert tops[0] == pytest.approx(tops[1], abs=2e-4)


def test_batches_change_nothing_and_the_model_is_left_as_it_was(trained):
    model, place = trained
    model.train()
    many = sl.predict(model, place / "new")
    few = sl.predict(model, [place / "new" / "bar", *map(str, files(place)[3:])], batch_size=2)
    assert model.training
    assert [one.name for one in few] == [one.name for one in many]
    for one, other in zip(few, many):
        assert one.guesses[0][1] == pytest.approx(other.guesses[0][1], abs=1e-5)


def test_a_loaded_adapter_says_the_same(trained):
    model, place = trained
    again = sl.load_adapter(tiny_vit(num_classes=3), place / "a.safetensors")
    assert sl.predict(again, place / "new") == sl.predict(model, place / "new")


def test_without_names_classes_are_numbers():
    model = ViT(ViTConfig(image_size=8, patch_size=4, width=8, depth=1, heads=2, num_classes=4))
    (one,) = sl.predict(model, torch.zeros(1, 1, 8, 8, dtype=torch.uint8), top=9)
    assert sorted(label for label, _ in one.guesses) == ["0", "1", "2", "3"]


def test_a_plain_model_remembers_what_it_was_trained_on():
    digits = replace(load("digits", train=40, validation=20, test=20), classes=tuple("abcdefghij"))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    sl.train(model, digits, epochs=1, progress=False, device="cpu")
    assert sl.predict(model, digits.test.inputs[:3])[0].label in digits.classes


def test_what_does_not_fit_is_refused(trained, tmp_path, own_errors):
    model, place = trained
    broken = tmp_path / "broken.png"
    broken.write_bytes(files(place)[0].read_bytes()[:200])
    small = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)

    def refused(words, *given, error=ValueError, **options):
        with pytest.raises(error, match=words):
            sl.predict(*given, **options)

    refused(r"things: .*broken\.png: damaged", model, broken)
    refused("things: no file can be used: .*broken", model, tmp_path)
    refused("things: there is no file .*nowhere", model, "nowhere.jpg", error=FileNotFoundError)
    refused("things: there is no file to predict", model, [])
    refused("things: got shape", model, small[:0])
    refused(r"things: got floats from 2 to 2, need bytes", model, small.float() + 2)
    refused(r"things: got torch\.int64, need bytes", model, small.long())
    assert sl.predict(model, small.float()) == sl.predict(model, small.numpy())
    refused(r"things: the model does not take torch\.int64", model, torch.ones(2, 5, dtype=torch.int64))
    refused("top: got 0", model, small, top=0)
    refused("batch_size: got 0", model, small, batch_size=0)
    refused("need paths, or pictures", model, 3, error=TypeError)
    refused("model: got", "a.safetensors", small, error=TypeError)
    refused("model: has no image_format", nn.Linear(2, 2), broken)
    refused(r"model: gives \(1, 1, 28, 28\) for 1 examples", nn.Identity(), small)
    bad = tiny_vit(num_classes=2)
    nn.init.constant_(bad.head.bias, float("nan"))
    refused("model: gives numbers that are not finite for 0", bad, small)
    fewer = sl.load_adapter(tiny_vit(num_classes=3), place / "a.safetensors")
    fewer.head = nn.Linear(128, 2)
    refused("need numbers for its 3 classes", fewer, small)
    tell(fewer, classes=5)
    refused("model: says that its classes are 5, need a list of names", fewer, small)


def test_a_few_files_of_a_folder_are_left_out_with_a_warning(trained, tmp_path):
    model, _ = trained
    drawn.folder(tmp_path, 2)
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.warns(UserWarning, match=r"folder: 1 of 7 files cannot be used: .*notes\.txt"):
        assert len(sl.predict(model, tmp_path)) == 6


def test_a_model_that_was_trained_for_something_else_is_refused():
    digits = replace(load("digits", train=20, validation=10, test=10), task=Reconstruction())
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64))
    sl.train(model, digits, epochs=1, progress=False, device="cpu")
    with pytest.raises(ValueError, match="model: was trained for Reconstruction"):
        sl.predict(model, digits.test.inputs)


def test_a_classifier_of_transformers():
    from types import SimpleNamespace

    class Classifier(nn.Module):
        config = SimpleNamespace(image_size=2, num_channels=1, id2label={0: "low", 1: "high"})

        def forward(self, x):
            return SimpleNamespace(logits=x.flatten(1)[:, :2])

    pictures = torch.tensor([[0, 255, 0, 0], [255, 0, 0, 0]], dtype=torch.uint8).reshape(2, 1, 2, 2)
    assert [one.label for one in sl.predict(logits(Classifier()), pictures)] == ["high", "low"]
    with pytest.raises(ValueError, match=r"gives a SimpleNamespace and no tensor; `surm_lite\.models\.logits`"):
        sl.predict(Classifier(), pictures)


def said(capsys) -> str:
    return capsys.readouterr().out


def test_the_shell_asks_an_adapter_and_a_merged_model(trained, capsys, tmp_path):
    model, place = trained
    picture = str(files(place)[0])
    want = "\n".join(map(str, sl.predict(model, place / "new", top=2)))
    assert cli.main(["predict", str(place / "a.safetensors"), str(place / "new"), "--top", "2"]) == 0
    assert said(capsys) == f"{want}\n"
    assert cli.main(["predict", str(place / "a.safetensors"), picture, "--json"]) == 0
    (one,) = json.loads(said(capsys))
    assert (one["name"], one["guesses"][0]["class"]) == (picture, sl.predict(model, picture)[0].label)
    assert cli.main(["export", str(place / "a.safetensors"), str(tmp_path / "m.safetensors"), "--quiet"]) == 0
    assert cli.main(["predict", str(tmp_path / "m.safetensors"), str(place / "new"), "--top", "1"]) == 0
    assert [line.split(": ")[1].split()[0] for line in said(capsys).splitlines()] == [
        one.label for one in sl.predict(model, place / "new")
    ]


def test_the_shell_refuses_in_one_line(trained, capsys, tmp_path):
    _, place = trained
    adapter, picture = str(place / "a.safetensors"), str(files(place)[0])
    (tmp_path / "cut").write_bytes((place / "a.safetensors").read_bytes()[:-7])
    plain = tmp_path / "plain.safetensors"
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, plain)
    for name, header in (("deep", "[" * 200_000), ("three", '{"model": 3}'), ("list", "[]")):
        save_file({"a": torch.zeros(2)}, tmp_path / name, {"surm_lite": header})
    model = {"name": "tiny_vit", "classes": 5}
    header, tensors, _ = read_sealed(place / "a.safetensors", "surm_lite", "adapter file", 1)
    write_sealed(tmp_path / "five", "surm_lite", {**header, "model": model}, tensors)
    write_sealed(tmp_path / "merged", "surm_lite", {"model": model}, {"a": torch.zeros(2)})
    write_sealed(tmp_path / "small", "surm_lite", {"model": {"name": "tiny_vit"}}, {"a": torch.zeros(2)})
    sl.export(trained[0], tmp_path / "lora", "lora", rank=1)
    lora = str(tmp_path / "lora" / "adapter_model.safetensors")
    for words, told in (
        ([str(tmp_path / "deep"), picture], "deep: damaged, or no JSON (maximum recursion"),
        ([str(tmp_path / "three"), picture], "three: malformed header (its model is 3, need an object)"),
        ([str(tmp_path / "list"), picture], "list: holds a list, need an object"),
        ([str(tmp_path / "five"), picture], "five: says that its classes are 5, need a list of names"),
        ([str(tmp_path / "merged"), picture], "merged: says that its classes are 5, need a list of names"),
        ([str(tmp_path / "small"), picture], "small: does not fit the model: 81 tensors differ, 'cls_token' is the"),
        ([lora, picture], f"{lora}: a LoRA in the format of peft, for peft to read; give the adapter file that it was"),
        ([str(tmp_path / "no"), picture], "there is no adapter file or merged model at"),
        ([str(tmp_path / "cut"), picture], "damaged, or not a safetensors file"),
        ([str(plain), picture], "a safetensors file, but no adapter file"),
        ([picture, adapter], "damaged, or not a safetensors file"),
        ([adapter, adapter], "no PNG, JPEG or WebP picture"),
        ([adapter, picture, "--top", "0"], "--top: got 0"),
        ([adapter, picture, "--model", "tiny"], "unknown model 'tiny'; did you mean 'tiny_vit'"),
        ([adapter, picture, "--model", "vit_s14"], "layer 'blocks.0.attn.qkv.q_proj' is 128 x 128 in the file"),
        ([adapter, picture, "--tpo", "3"], "unknown argument '--tpo'; did you mean '--top'"),
    ):
        assert cli.main(["predict", *words]) == 2, words
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1
        assert len(error) < 400


@pytest.mark.slow
def test_the_first_hour(tmp_path):
    """Five commands in a fresh folder, each in a process of its own, as the README shows them."""
    drawn.folder(tmp_path / "myimages", 20)
    picture = tmp_path / "photo.jpg"
    (tmp_path / "myimages" / "disc" / "1.jpg").rename(picture)
    for broken in ("bar/broken.jpg", "ring/broken.png"):
        (tmp_path / "myimages" / broken).write_bytes(b"\x89PNG\r\n\x1a\n but not for long")

    def run(*words: str) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "surm_lite", *words], capture_output=True, text=True, cwd=tmp_path, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    out, error = run("train", "--data", "myimages", "--model", "tiny_vit", "--epochs", "20", "--save", "a.safetensors")
    assert "LabelledSet('myimages': " in out
    assert "surm-lite: warning: myimages: 2 of 61 files cannot be used" in error
    answer, _ = run("predict", "a.safetensors", "photo.jpg")
    assert answer.startswith("photo.jpg: disc ")
    run("export", "a.safetensors", "merged.safetensors")
    run("export", "a.safetensors", "lora", "--form", "lora")
    assert json.loads((tmp_path / "lora" / "adapter_config.json").read_text())["peft_type"] == "LORA"
    again, _ = run("predict", "merged.safetensors", "photo.jpg")
    assert again.split("%")[0] == answer.split("%")[0]


def test_a_grey_picture_is_the_same_as_its_three_equal_channels(trained, tmp_path):
    model, _ = trained
    grey = Image.new("L", (28, 28), 120)
    grey.save(tmp_path / "grey.png")
    grey.convert("RGB").save(tmp_path / "rgb.png")
    one, other = sl.predict(model, tmp_path)
    assert one.guesses == other.guesses


def test_old_files_without_a_task_are_still_read(trained, tmp_path):
    """Files from before the header said what was trained for."""
    model, place = trained
    from surm_lite.adapters.attached import attachment
    from surm_lite.adapters.io import KEY

    header, tensors, _ = read_sealed(place / "a.safetensors", KEY, "adapter file", 1)
    assert header["model"].pop("task") == "Classification"
    write_sealed(tmp_path / "old", KEY, header, tensors)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        old = sl.load_adapter(tiny_vit(num_classes=3), tmp_path / "old")
    assert "task" not in attachment(old).about
    assert sl.predict(old, place / "new") == sl.predict(model, place / "new")
