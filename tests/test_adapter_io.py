"""Adapter files: what is written comes back; anything else is refused by name and changes nothing."""

import contextlib
import copy
import json
import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_adapters import CASES, each
from test_adapters_attach import Model, snapshot
from torch import nn

import surm_lite.adapters.io as io
from surm_lite.adapters import METHODS, adapt, count, load_adapter, merge, save_adapter, trainable_parameters, unmerge
from surm_lite.adapters.lora import LoRA

IMAGE = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def plain():
    torch.manual_seed(0)
    return Model()


def trained(method, targets=("qkv", "fc2"), **options):
    model = adapt(plain(), method, targets, **options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in trainable_parameters(model):
            p.copy_(0.1 * torch.randn(p.shape, generator=generator))
    return model


@pytest.fixture
def path(tmp_path):
    return tmp_path / "adapter.safetensors"


@each(CASES)
def test_comes_back_bit_for_bit(case, path):
    model = trained(case[0], **case[1])
    save_adapter(model, path)
    onto_plain = load_adapter(plain(), path)
    onto_adapted = load_adapter(adapt(plain(), case[0], ("qkv", "fc2"), **case[1]), path)
    for other in (onto_plain, onto_adapted):
        assert torch.equal(other(IMAGE), model(IMAGE))
        assert [p.shape for p in trainable_parameters(other)] == [p.shape for p in trainable_parameters(model)]
    assert sum(t.numel() for t in load_file(path).values()) == count(model).stored


def test_stacked_adapters_come_back(path):
    model = trained("lora", rank=2)
    adapt(model, "toeplitz", ("fc1", "fc2"))
    adapt(model, "lora", ("fc2",), rank=1)
    with torch.no_grad():
        for p in trainable_parameters(model):
            p.add_(0.05)
    save_adapter(model, path)
    other = load_adapter(plain(), path)
    assert torch.equal(other(IMAGE), model(IMAGE))
    assert [a.method.name for a in other.blocks[0].fc2.stack()] == ["lora", "toeplitz", "lora"]


def test_kept_parameters_of_adapted_layers_come_back(path):
    model = trained("circulant", keep=("qkv.bias", "norm"))
    save_adapter(model, path)
    assert "kept:blocks.0.qkv.bias" in load_file(path)
    for other in (plain(), adapt(plain(), "circulant", ("qkv", "fc2"), keep=("qkv.bias", "norm"))):
        load_adapter(other, path)
        assert torch.equal(other(IMAGE), model(IMAGE))
        assert sum(p.numel() for p in trainable_parameters(other)) == count(model).trained


def test_a_layer_under_two_names_comes_back_as_one(path):
    def shared():
        torch.manual_seed(0)
        layer = nn.Linear(4, 4)
        return nn.ModuleDict({"a": layer, "b": layer})

    model = adapt(shared(), "circulant", ("a", "b"))
    with torch.no_grad():
        model["a"].kernel.normal_()
    save_adapter(model, path)
    other = load_adapter(shared(), path)
    assert other["a"] is other["b"]
    assert torch.equal(other["b"].kernel, model["a"].kernel)


def test_frozen_weights_are_not_in_the_file(path):
    save_adapter(trained("circulant"), path)
    names = set(load_file(path))
    layers = {f"blocks.{k}.{t}:0:kernel" for k in range(3) for t in ("qkv", "fc2")}
    assert names == layers | {"kept:head.weight", "kept:head.bias"}


def test_header(path):
    save_adapter(trained("kronecker", a_shape=(4, 2)), path)
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["surm_lite"])
    assert header["format"] == 1
    assert header["methods"] == [{"name": "kronecker", "options": {"a_shape": [4, 2], "alpha": 1.0}}]
    assert header["layers"]["blocks.0.qkv"] == {"shape": [24, 8], "methods": [0]}
    assert header["version"]


def test_a_merged_model_is_saved_as_what_it_was_merged_from(path):
    model = trained("toeplitz")
    y = model(IMAGE)
    save_adapter(merge(model), path)
    other = load_adapter(plain(), path)
    assert torch.equal(other(IMAGE), y)
    with pytest.raises(ValueError, match=r"merged; call unmerge\(model\) first"):
        load_adapter(model, path)
    assert torch.equal(load_adapter(unmerge(model), path)(IMAGE), y)


def test_only_what_the_file_holds_is_trained_after_loading(path):
    save_adapter(trained("lora"), path)
    model = load_adapter(plain(), path)
    trained_names = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained_names == {f"blocks.{k}.{t}.{f}" for k in range(3) for t in ("qkv", "fc2") for f in "AB"} | {
        "head.weight",
        "head.bias",
    }


def test_a_half_precision_model_takes_a_float32_file(path):
    save_adapter(trained("toeplitz"), path)
    model = load_adapter(plain().to(torch.bfloat16), path)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, 500, 0.5, -1])
def test_truncated(path, size):
    save_adapter(trained("toeplitz"), path)
    data = path.read_bytes()
    cut = int(size * len(data)) if isinstance(size, float) else size
    path.write_bytes(data[:cut])
    refused(path, "damaged, or not a safetensors file")


def test_flipped_bytes_in_the_header_never_load_half(path):
    save_adapter(trained("toeplitz"), path)
    data = path.read_bytes()
    for place in range(0, 600, 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x15]) + data[place + 1 :])
        model = plain()
        before = snapshot(model)
        with contextlib.suppress(ValueError):  # a byte of the version, say, may be any byte
            load_adapter(model, path)
            continue
        assert snapshot(model) == before


@pytest.mark.parametrize("data", [b"hello", b"\x80\x04K\x01.", b"\xff" * 64, b"{}" * 100])
def test_foreign_bytes(path, data):
    path.write_bytes(data)
    refused(path, "damaged, or not a safetensors file")


def test_foreign_safetensors(path):
    save_file({"weight": torch.ones(2)}, path)
    refused(path, "not an adapter file: its header has no 'surm_lite' entry")
    save_file({"weight": torch.ones(2)}, path, {"format": "pt"})
    refused(path, "not an adapter file")


def test_missing_file(path):
    with pytest.raises(FileNotFoundError, match=r"no adapter file at .*adapter.safetensors"):
        load_adapter(plain(), path)


def rewritten(path, header=None, tensors=None):
    """The file with its header or tensors edited."""
    with safe_open(path, "pt") as file:
        old = json.loads(file.metadata()["surm_lite"])
    held = load_file(path)
    if header:
        header(old)
    if tensors:
        tensors(held)
    save_file(held, path, {"surm_lite": json.dumps(old)})


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda h: h.update(format=2), "format 2; this version reads format 1"),
        (lambda h: h.pop("format"), "format None"),
        (lambda h: h.pop("methods"), "malformed header .*methods"),
        (lambda h: h.pop("layers"), "malformed header .*layers"),
        (lambda h: h.update(layers=[1]), "malformed header"),
        (lambda h: h["methods"][0].update(name="teoplitz"), "unknown method 'teoplitz'; did you mean 'toeplitz'"),
        (lambda h: h["methods"][0]["options"].update(beta=1), "unknown option of method 'toeplitz' 'beta'"),
        (lambda h: h["methods"][0]["options"].update(alpha="much"), "alpha of method 'toeplitz' is 'much'"),
        (lambda h: h["methods"][0].update(name="circulant"), "tensor .* is in the"),
        (lambda h: h["layers"].pop("blocks.0.qkv"), "tensor 'blocks.0.qkv:0:column' is in the file only"),
        (lambda h: h["layers"]["blocks.0.qkv"].update(shape=[8, 8]), "'blocks.0.qkv' is 8 x 8 in the file and 24 x 8"),
        (lambda h: h["layers"]["blocks.0.qkv"].update(methods=[3]), "malformed header"),
        (
            lambda h: h["layers"]["blocks.0.qkv"].update(methods=[]),
            "tensor 'blocks.0.qkv:0:column' is in the file only",
        ),
        (lambda h: h["layers"].update({"blocks.9.qkv": h["layers"]["blocks.0.qkv"]}), "no linear layer 'blocks.9.qkv'"),
        (lambda h: h["layers"].update({"embed": h["layers"]["blocks.0.qkv"]}), "no linear layer 'embed'"),
    ],
)
def test_wrong_headers(path, edit, message):
    save_adapter(trained("toeplitz"), path)
    rewritten(path, header=edit)
    refused(path, message)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.pop("blocks.0.qkv:0:row"), "tensor 'blocks.0.qkv:0:row' is in the model only"),
        (lambda t: t.update(extra=torch.ones(1)), "tensor 'extra' is in the file only"),
        (lambda t: t.update({"blocks.0.qkv:0:row": torch.ones(8)}), r"'blocks.0.qkv:0:row' has shape \(8,\) .* \(7,\)"),
        (lambda t: t.update({"kept:nohead.weight": torch.ones(1)}), "the model has no parameter 'nohead.weight'"),
        (lambda t: t.update({"kept:head.weight": torch.ones(6, 8)}), r"'kept:head.weight' has shape \(6, 8\)"),
    ],
)
def test_wrong_tensors(path, edit, message):
    save_adapter(trained("toeplitz"), path)
    rewritten(path, tensors=edit)
    refused(path, message)


def test_files_of_another_model(path):
    save_adapter(trained("toeplitz"), path)
    refused(path, "'blocks.0.qkv' is 24 x 8 in the file and 36 x 12 in the model", Model(12))
    refused(path, "no linear layer 'blocks.0.qkv'", nn.Sequential(nn.Linear(8, 24)))


def test_files_of_other_adapters(path):
    save_adapter(trained("lora", rank=4), path)
    refused(path, r"'blocks.0.qkv' has \[LoRA\(rank=2.* in the model and \[LoRA\(rank=4", trained("lora", rank=2))
    refused(path, r"has \[ToeplitzUpdate.* in the model and \[LoRA", trained("toeplitz"))
    refused(path, "layer 'blocks.0.fc1' has .* in the model and None", trained("lora", ("qkv", "fc1", "fc2"), rank=4))
    refused(path, "layer 'blocks.0.fc2' has None in the model", trained("lora", ("qkv",), rank=4))


def refused(path, message, model=None):
    """A ValueError that names the file and the reason, and leaves the model as it was."""
    model = plain() if model is None else model
    before = snapshot(model)
    with pytest.raises(ValueError, match=message) as caught:
        load_adapter(model, path)
    assert str(path) in str(caught.value)
    assert snapshot(model) == before


def test_nothing_to_save(path):
    with pytest.raises(ValueError, match="the model has no adapter to save"):
        save_adapter(plain(), path)
    assert not path.exists()


def test_a_method_outside_the_registry_cannot_be_saved(path):
    class Mine(LoRA):
        name = "mine"

    with pytest.raises(ValueError, match="method 'mine' is not in the registry"):
        save_adapter(adapt(plain(), Mine()), path)
    METHODS["mine"] = Mine
    try:
        model = adapt(plain(), "mine")
        save_adapter(model, path)
        assert torch.equal(load_adapter(plain(), path)(IMAGE), model(IMAGE))
    finally:
        del METHODS["mine"]


def test_a_failed_write_leaves_the_old_file_and_no_litter(path, monkeypatch):
    model = trained("toeplitz")
    save_adapter(model, path)
    old = path.read_bytes()

    def broken(*args):
        raise OSError("disk full")

    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(io.os, step, broken)
            with pytest.raises(OSError, match="disk full"):
                save_adapter(trained("lora"), path)
        assert path.read_bytes() == old
        assert os.listdir(path.parent) == [path.name]
    with pytest.raises(FileNotFoundError):
        save_adapter(model, path.parent / "nowhere" / "a.safetensors")


def test_permissions_are_those_of_an_ordinary_file(path):
    save_adapter(trained("toeplitz"), path)
    ordinary = path.with_suffix(".txt")
    ordinary.touch()
    assert path.stat().st_mode == ordinary.stat().st_mode


def test_saving_and_loading_leave_a_copy_alone(path):
    model = trained("toeplitz")
    twin = copy.deepcopy(model)
    save_adapter(model, path)
    assert snapshot(model)[1] == [
        (n, id(p), *rest) for (n, p), (_, _, *rest) in zip(model.named_parameters(), snapshot(twin)[1])
    ]
