"""Files that are truncated, foreign or do not fit: refused by name, and the model stays as it was."""

import json

import pytest
import torch
from adapter_cases import Model, plain, snapshot, trained
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from surm_lite.adapters import load_adapter, save_adapter
from surm_lite.files import write_sealed


@pytest.fixture
def path(tmp_path):
    return tmp_path / "adapter.safetensors"


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, 500, 0.5, -1])
def test_truncated(path, size):
    save_adapter(trained("toeplitz"), path)
    data = path.read_bytes()
    cut = int(size * len(data)) if isinstance(size, float) else size
    path.write_bytes(data[:cut])
    refused(path, "damaged, or not a safetensors file")


def test_any_flipped_bit_is_refused_by_name(path):
    save_adapter(trained("toeplitz"), path)
    data, model = path.read_bytes(), plain()
    before = snapshot(model)
    for place in [*range(8, len(data), 37), len(data) - 1]:
        bad = bytearray(data)
        bad[place] ^= 1 << place % 8
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"adapter\.safetensors: "):
            load_adapter(model, path)
    assert snapshot(model) == before


def test_a_number_changed_in_the_header_is_refused(path):
    save_adapter(trained("lora"), path)
    data = path.read_bytes()
    assert data.count(b"8.0") == 1
    path.write_bytes(data.replace(b"8.0", b"9.0"))
    refused(path, "damaged: its contents are not those that were written")
    path.write_bytes(data.replace(b"sha256", b"sha257"))
    refused(path, "damaged: its digest is missing")


@pytest.mark.parametrize("data", [b"hello", b"\x80\x04K\x01.", b"\xff" * 64, b"{}" * 100])
def test_foreign_bytes(path, data):
    path.write_bytes(data)
    refused(path, "damaged, or not a safetensors file")


def test_foreign_safetensors(path):
    save_file({"weight": torch.ones(2)}, path)
    refused(path, "no adapter file: its header has no 'surm_lite' entry")
    save_file({"weight": torch.ones(2)}, path, {"format": "pt"})
    refused(path, "no adapter file")


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
    write_sealed(path, "surm_lite", old, held)


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
        (lambda t: t.update({"kept:nohead.weight": torch.ones(1)}), "tensor 'kept:nohead.weight' is in the file only"),
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
    refused(path, r"the model has \[LoRA\(rank=2.* and the file \[LoRA\(rank=4", trained("lora", rank=2))
    refused(path, r"has \[ToeplitzUpdate.* and the file \[LoRA", trained("toeplitz"))
    refused(path, r"layer 'blocks.0.fc1' has .* in the model and \[\]", trained("lora", ("qkv", "fc1", "fc2"), rank=4))
    refused(path, r"layer 'blocks.0.fc2' has \[\] in the model", trained("lora", ("qkv",), rank=4))


def test_a_tensor_spread_over_processes_is_not_saved(path):
    dist = torch.distributed
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import distribute_tensor

        model = trained("toeplitz")
        model.head.weight = nn.Parameter(distribute_tensor(model.head.weight.detach(), init_device_mesh("cpu", (1,))))
        with pytest.raises(ValueError, match=r"kept:head\.weight is a DTensor, of which each process holds a part"):
            save_adapter(model, path)
    finally:
        dist.destroy_process_group()
    assert not path.exists()


def refused(path, message, model=None):
    """A ValueError that names the file and the reason, and leaves the model as it was."""
    model = plain() if model is None else model
    before = snapshot(model)
    with pytest.raises(ValueError, match=message) as caught:
        load_adapter(model, path)
    assert str(path) in str(caught.value)
    assert snapshot(model) == before
