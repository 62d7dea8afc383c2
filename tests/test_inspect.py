"""What a file holds, in words."""

from __future__ import annotations

import shutil

import pytest
import torch
from resumable import pictures
from safetensors import safe_open
from safetensors.torch import save_file

import surm_lite as sl
from surm_lite.commands import main as cli
from surm_lite.comparison import Arm, Plan, compare
from surm_lite.models import ViT, ViTConfig, split_qkv


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """One of each kind."""
    folder = tmp_path_factory.mktemp("files")
    config = ViTConfig(image_size=8, patch_size=4, width=8, depth=2, heads=2, num_classes=5)
    model = split_qkv(ViT(config, generator=torch.Generator().manual_seed(0)))
    sl.adapt(model, "lora", rank=2)
    record = sl.train(model, pictures(), epochs=3, progress=False, device="cpu", checkpoint=folder / "run.ckpt")
    record.to_json(folder / "record.json")
    sl.save_adapter(model, folder / "a.safetensors")
    sl.export(model, folder / "merged.safetensors")
    sl.export(model, folder / "lora", "lora", rank=1)
    plan = Plan(
        "digits", {"head": Arm("linear head", (1e-2,), "head", seeds=(0,))}, model="tiny_vit", examples=(40,), epochs=1
    )
    compare(plan, folder / "runs", progress=False).to_json(folder / "comparison.json")
    return folder


def said(place, name, capsys) -> str:
    assert cli.main(["inspect", str(place / name)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "a.safetensors",
            ["a.safetensors: an adapter, ", "(ViT, depth 2, width 8, heads 2)", "5: a, b, c, d, e", "8 x 8, 1 channels",
             "queries, keys and values apart", "lora(rank=2, alpha=8.0", "on 6 layers of 8 x 8",
             "237, 45 of them in head.bias, head.weight", "right: the contents", "Classification"],
        ),
        ("merged.safetensors", ["a merged model", "5: a, b, c, d, e", "1,445 in 32 tensors"]),
        ("lora", ["lora/adapter_model.safetensors: a LoRA in the format of peft", "relative error of the update"]),
        (
            "run.ckpt",
            ["a checkpoint; the same call of train, with resume=True", "3 of 3 epochs done", "lora(rank=2",
             "to train on, task Classification", "lr 0.001", "right: the contents", "torch"],
        ),
        ("record.json", ["the record of a training run", "steps, loss", "validation 0.", "test 0."]),
        (
            "comparison.json",
            ["a comparison", "digits: 397 for validation, 400 for the test", "Alpaydin", "tiny_vit, 1 epochs",
             "1, 1 at the chosen rate", "linear head", "frozen: nearest neighbours"],
        ),
    ],
)  # fmt: skip
def test_it_says_what_a_file_holds(place, name, words, capsys):
    told = said(place, name, capsys)
    for word in words:
        assert word in told
    assert all(len(line) == len(line.rstrip()) for line in told.splitlines())


def test_numbers_are_those_of_the_model(place, capsys):
    model = split_qkv(ViT(ViTConfig(image_size=8, patch_size=4, width=8, depth=2, heads=2, num_classes=5)))
    with pytest.warns(UserWarning, match="another|trained on a base model"):
        sl.load_adapter(model, place / "a.safetensors")
    assert f"{sl.count(model).stored:,}, {sl.count(model).kept:,} of them" in said(place, "a.safetensors", capsys)
    assert f"{sl.count(model).base:,} in" in said(place, "merged.safetensors", capsys)


@pytest.mark.parametrize("name", ["a.safetensors", "run.ckpt", "comparison.json"])
def test_damage_is_found(place, name, tmp_path, capsys):
    content = bytearray((place / name).read_bytes())
    at = len(content) * 3 // 4
    content[at] ^= 1
    (tmp_path / name).write_bytes(content)
    assert cli.main(["inspect", str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert str(tmp_path / name) in error
    assert "damaged" in error
    (tmp_path / name).write_bytes((place / name).read_bytes()[:-9])
    assert cli.main(["inspect", str(tmp_path / name)]) == 2
    assert "damaged" in capsys.readouterr().err


def test_an_adapter_without_a_digest_is_told(place, tmp_path, capsys):
    """As version 0.1.0 wrote them."""
    with safe_open(place / "a.safetensors", "pt") as file:
        entries, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, tmp_path / "old", {"surm_lite": entries["surm_lite"]})
    assert "digest        none, so damage cannot be told" in said(tmp_path, "old", capsys)


def test_other_files_are_refused(tmp_path, capsys):
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    (tmp_path / "other.json").write_text('{"a": 1}')
    save_file({"a": torch.zeros(2)}, tmp_path / "deep", {"surm_lite": "[" * 200_000})
    save_file({"a": torch.zeros(2)}, tmp_path / "three", {"surm_lite": '{"model": 3}'})
    save_file({"a": torch.zeros(2)}, tmp_path / "list", {"surm_lite": "[]"})
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").write_text("")
    shutil.copy(__file__, tmp_path / "test.py")
    for name, words in (
        ("other.safetensors", "a safetensors file of 1 tensors, but none that surm_lite wrote"),
        ("other.json", "is not a training record"),
        ("text", "damaged, or not a safetensors file"),
        ("empty", "damaged, or not a safetensors file"),
        ("test.py", "damaged, or not a safetensors file"),
        ("nothing", "there is no file"),
        (".", "there is no file"),
        ("deep", "damaged, or no JSON"),
        ("three", "malformed header (its model is 3, need an object)"),
        ("list", "holds a list, need an object"),
    ):
        assert cli.main(["inspect", str(tmp_path / name)]) == 2
        captured = capsys.readouterr()
        assert words in captured.err
        assert captured.err.count("\n") == 1
        assert captured.out == ""
