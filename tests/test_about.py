"""An adapter file says what its outputs mean and which pictures it was trained on; what reads it follows."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from resumable import pictures
from safetensors import safe_open
from torch import nn

import surm_lite as sl
from surm_lite.data.images import ImageFormat

RUN = {"epochs": 1, "max_steps": 1, "device": "cpu", "progress": False}
FORM = {"size": 28, "channels": 1, "mean": [0.5], "std": [0.5]}


def vit(**changes) -> sl.models.ViT:
    config = sl.models.ViTConfig(**{"width": 8, "depth": 1, "heads": 2, "num_classes": 5} | changes)
    return sl.models.ViT(config, generator=torch.Generator().manual_seed(0))


def said(path) -> dict:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["surm_lite"])["model"]


def test_training_tells_the_file_and_loading_and_export_pass_it_on(tmp_path):
    model = sl.adapt(vit(), "toeplitz")
    sl.train(model, pictures(), **RUN)
    paths = [tmp_path / name for name in "abcd"]
    sl.save_adapter(model, paths[0])
    again = sl.load_adapter(vit(), paths[0])
    sl.save_adapter(again, paths[1])
    sl.export(again, paths[2])
    sl.export(again, paths[3], "lora", rank=1)
    for path in (*paths[:3], paths[3] / "adapter_model.safetensors"):
        assert said(path)["classes"] == list("abcde")
        assert said(path)["image_format"] == FORM
        assert said(path)["config"]["width"] == 8


def test_a_part_that_is_adapted_hears_of_it_too(tmp_path):
    """A classifier of transformers is adapted itself, and trained in a wrapper that knows the pictures."""

    class Classifier(nn.Module):
        config = SimpleNamespace(image_size=8, num_channels=1)

        def __init__(self) -> None:
            super().__init__()
            self.query = nn.Linear(64, 5)

        def forward(self, pixels):
            return SimpleNamespace(logits=self.query(pixels.flatten(1)))

    model = sl.adapt(Classifier(), "toeplitz")
    sl.train(sl.models.logits(model, mean=(0.25,), std=(2.0,)), pictures(), **RUN)
    sl.save_adapter(model, tmp_path / "a")
    assert said(tmp_path / "a")["classes"] == list("abcde")
    plain = Classifier()
    plain.load_state_dict({"query.weight": model.query.linear.weight, "query.bias": model.query.linear.bias})
    again = sl.load_adapter(plain, tmp_path / "a")
    assert sl.models.logits(again).image_format == ImageFormat(8, 1, (0.25,), (2.0,))
    assert sl.models.logits(again, mean=(0.0,)).image_format == ImageFormat(8, 1, (0.0,), (2.0,))
    assert sl.models.logits(Classifier()).image_format == ImageFormat(8, 1, (0.5,), (0.5,))


def test_other_pictures_are_told(tmp_path):
    sl.save_adapter(sl.adapt(vit(), "toeplitz"), tmp_path / "a")
    with pytest.warns(UserWarning, match=r"a: trained on pictures of the format .*0\.5.*; this model takes .*0\.25"):
        sl.load_adapter(vit(mean=(0.25,)), tmp_path / "a")


def test_a_task_without_classes_says_none(tmp_path):
    from dataclasses import replace

    from surm_lite.tasks import Reconstruction

    model = sl.adapt(nn.Sequential(nn.Flatten(), nn.Linear(64, 64)), "toeplitz", targets="1")
    sl.train(model, replace(pictures(), task=Reconstruction()), **RUN)
    sl.save_adapter(model, tmp_path / "a")
    assert said(tmp_path / "a") == {"class": "Sequential", "task": "Reconstruction"}
