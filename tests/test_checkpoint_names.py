"""A checkpoint knows tensors by what modules are: wrappers leave no trace in it, and a model may use any name."""

from __future__ import annotations

import pytest
import torch
from resumable import pictures, small, still
from torch import nn
from torch.optim.swa_utils import AveragedModel

from surm_lite.models import ViT, ViTConfig
from surm_lite.training import checkpoint
from surm_lite.training.train import train

RUN = {"epochs": 1, "batch_size": 25, "lr": 1e-2, "device": "cpu", "progress": False}
WRAPPERS = {
    "compile": lambda m: torch.compile(m, backend="eager"),
    "DataParallel": nn.DataParallel,
    "averaged": AveragedModel,
    "twice": lambda m: nn.DataParallel(torch.compile(m, backend="eager")),
}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_a_wrapped_model_and_the_plain_one_share_checkpoints(kind, tmp_path):
    wrapped, plain = WRAPPERS[kind](small("lora")), small("lora")
    with torch.compiler.set_stance("force_eager"):
        record = train(wrapped, pictures(), checkpoint=tmp_path / "a", **RUN)
    assert still(train(plain, pictures(), checkpoint=tmp_path / "a", resume=True, **RUN)) == still(record)
    names = {f"model/{name}" for name, p in plain.named_parameters() if p.requires_grad}
    assert {name for name in checkpoint.read(tmp_path / "a")[1] if name.startswith("model/")} == names


class Odd(nn.Module):
    """Words of torch's own as names of a model's own: left out, two tensors would be one."""

    def __init__(self) -> None:
        super().__init__()
        chance = torch.Generator().manual_seed(0)
        self.out = nn.Linear(64, 5)
        self._orig_mod = nn.ModuleDict({"out": nn.Linear(5, 5)})
        self.register_buffer("seen_extra_state", torch.zeros(1))
        for p in self.parameters():
            nn.init.normal_(p, std=0.1, generator=chance)

    def forward(self, x):
        self.seen_extra_state += len(x)
        return self._orig_mod["out"](self.out(x.flatten(1)))


def test_any_name_that_python_allows(tmp_path):
    model, again = Odd(), Odd()
    record = train(model, pictures(), checkpoint=tmp_path / "a", **RUN)
    assert model.seen_extra_state == 92  # two examples to try it, then training, validation and test: the last two
    with torch.no_grad():
        again._orig_mod.requires_grad_(True)["out"].weight.zero_()  # where it starts from does not matter
    assert still(train(again, pictures(), checkpoint=tmp_path / "a", resume=True, **RUN)) == still(record)
    for name, tensor in model.named_parameters():
        assert torch.equal(tensor, again.get_parameter(name)), name
    assert again.seen_extra_state == 92


def test_a_wrapped_model_gets_its_own_pictures():
    """A wrapper has no image format; what is in it does."""

    def vit() -> ViT:
        return ViT(ViTConfig(width=8, depth=1, heads=2, num_classes=5), generator=torch.Generator().manual_seed(0))

    record = train(nn.DataParallel(vit()), pictures(), **RUN)
    assert record.loss == train(vit(), pictures(), **RUN).loss
