"""Adapter files: what is written comes back; anything else is refused by name and changes nothing."""

import copy
import json
import os

import pytest
import torch
from adapter_cases import CASES, each, plain, snapshot, trained
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

import surm_lite.adapters.io as io
from surm_lite.adapters import METHODS, adapt, count, load_adapter, merge, save_adapter, trainable_parameters, unmerge
from surm_lite.adapters.methods.lora import LoRA

IMAGE = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "adapter.safetensors"


@pytest.mark.thin(30)
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
    kinds = {p.dtype for n, p in model.named_parameters() if n.endswith((".column", ".row"))}
    assert kinds == {torch.float32}, "adapters stay in float32"
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16, torch.float32}


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
