"""The ViT: shapes, names, seeds, and the same numbers as transformers' Dinov2Model."""

from __future__ import annotations

import pytest
import torch

from surm_lite.models import ViT, ViTConfig, resize_positions, split_qkv
from surm_lite.models.pretrained import timm_names


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


SMALL = ViTConfig(image_size=28, patch_size=14, channels=3, num_classes=0, width=24, depth=3, heads=3, mlp_ratio=4.0,
                  layer_scale=1.0, mean=(0.5,) * 3, std=(0.5,) * 3)  # fmt: skip


def test_equals_dinov2_of_transformers_with_random_weights():
    transformers = pytest.importorskip("transformers", reason="needs the hf extra")
    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=3, mlp_ratio=4, image_size=28, patch_size=14
    )
    theirs = transformers.Dinov2Model(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():  # LayerScale, biases and norms too: a forgotten one must show
            parameter.copy_(torch.randn(parameter.shape, generator=generator()) * 0.3)
    ours = ViT(SMALL).eval()
    loaded = ours.load_state_dict(timm_names(theirs.state_dict()), strict=False)
    assert loaded.missing_keys == []
    assert loaded.unexpected_keys == ["embeddings.mask_token"]
    images = torch.randn(2, 3, 28, 28, generator=generator(1))
    with torch.inference_mode():
        torch.testing.assert_close(ours.tokens(images), theirs(images).last_hidden_state, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours(images), theirs(images).pooler_output, atol=1e-5, rtol=1e-5)


def test_parameter_names_are_timms():
    names = set(ViT(ViTConfig(depth=1, layer_scale=0.1)).state_dict())
    stems = {name.rpartition(".")[0] or name for name in names}
    assert stems == {
        "cls_token", "pos_embed", "patch_embed.proj", "norm", "head",
        *(f"blocks.0.{part}" for part in
          ("norm1", "attn.qkv", "attn.proj", "ls1", "norm2", "mlp.fc1", "mlp.fc2", "ls2")),
    }  # fmt: skip
    assert {"blocks.0.ls1.gamma", "blocks.0.ls2.gamma"} < names
    assert not any("ls1" in name for name in ViT(ViTConfig(depth=1)).state_dict())


def test_start_weights_follow_the_generator_and_leave_the_global_stream_alone():
    one, same, other = (ViT(ViTConfig(depth=1), generator=generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(one.blocks[0].mlp.fc1.weight, same.blocks[0].mlp.fc1.weight)
    assert not torch.equal(one.blocks[0].mlp.fc1.weight, other.blocks[0].mlp.fc1.weight)
    before = torch.get_rng_state()
    ViT(ViTConfig(depth=1), generator=generator()).reset_classifier(3, generator=generator())
    assert torch.equal(before, torch.get_rng_state())


def test_reset_classifier():
    model = ViT(ViTConfig(depth=1), generator=generator())
    model.reset_classifier(7, generator=generator())
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 7)
    assert model.config.num_classes == 7
    model.reset_classifier(0)
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 128)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_size": 30}, "image_size: got 30"),
        ({"heads": 5}, "heads: got 5"),
        ({"mean": (0.1, 0.2)}, "mean: got"),
        ({"channels": 3}, "mean: got"),
        ({"depth": 0}, "depth: got 0"),
        ({"num_classes": -1}, "num_classes: got -1"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        ViTConfig(**change)


@pytest.mark.parametrize("shape", [(2, 3, 28, 28), (2, 1, 32, 32), (1, 28, 28)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"images: got shape .* need \(batch, 1, 28, 28\)"):
        ViT(ViTConfig(depth=1))(torch.zeros(shape))


def test_positions_keep_the_class_token_and_what_is_constant():
    positions = torch.randn(1, 1 + 25, 4, generator=generator())
    assert resize_positions(positions, 5) is positions
    small = resize_positions(positions, 3)
    assert small.shape == (1, 10, 4)
    assert torch.equal(small[:, 0], positions[:, 0])
    constant = torch.ones(1, 26, 4)
    torch.testing.assert_close(resize_positions(constant, 3), torch.ones(1, 10, 4))


def test_positions_that_are_no_square_are_refused():
    with pytest.raises(ValueError, match="pos_embed"):
        resize_positions(torch.zeros(1, 1 + 6, 4), 3)


def test_split_qkv_computes_the_same_and_names_three_layers():
    model = ViT(SMALL, generator=generator()).eval()
    images = torch.randn(2, 3, 28, 28, generator=generator())
    with torch.inference_mode():
        before = model(images)
        torch.testing.assert_close(split_qkv(model)(images), before, atol=1e-6, rtol=1e-6)
    assert model.blocks[2].attn.qkv.v_proj.weight.shape == (24, 24)
    with pytest.raises(ValueError, match="SplitQKV"):
        split_qkv(model)
