"""Adapting a model and a part of it, in either order: each keeps what the other trains, and a file knows both."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import surm_lite as sl

X = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        chance = torch.Generator().manual_seed(1)
        self.body = nn.ModuleDict({"a": nn.Linear(8, 8), "b": nn.Linear(8, 8), "norm": nn.BatchNorm1d(8)})
        self.norm, self.b, self.head = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 3)
        for p in self.parameters():
            nn.init.normal_(p, generator=chance)

    def forward(self, x):
        return self.head(self.norm(self.b(self.body["norm"](self.body["b"](self.body["a"](x))))))


def trained(model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def comes_back(model: nn.Module, path) -> None:
    """Saved and loaded onto a plain model it computes, trains, counts and saves the same."""
    with torch.no_grad():
        for p in sl.trainable_parameters(model):
            p.add_(0.1)
    model.train()(X)  # statistics of the norm
    sl.save_adapter(model.eval(), path)
    again = sl.load_adapter(Net(), path).eval()
    assert torch.equal(again(X), model(X))
    assert trained(again) == trained(model)
    assert sl.count(again) == sl.count(model)
    second = path.with_name("b.st")
    sl.save_adapter(again, second)
    assert second.read_bytes() == path.read_bytes()


def test_the_whole_and_then_a_part(tmp_path):
    model = sl.adapt(Net(), "lora", targets="a", keep=("body.norm", "head"))
    first = trained(model)
    sl.adapt(model.body, "toeplitz", targets="b", keep=())
    assert trained(model) == first | {"body.b.column", "body.b.row"}
    comes_back(model, tmp_path / "a.st")


def test_a_part_and_then_the_whole(tmp_path):
    """What the part keeps is its own: another module of that name stays frozen."""
    model = Net()
    sl.adapt(model.body, "toeplitz", targets="b", keep="norm")
    sl.adapt(model, "lora", targets="a", keep=())
    assert trained(model) == {
        "body.b.column",
        "body.b.row",
        "body.norm.weight",
        "body.norm.bias",
        "body.a.A",
        "body.a.B",
    }
    comes_back(model, tmp_path / "a.st")


def test_a_method_that_trains_a_part_whole(tmp_path):
    model = Net()
    sl.adapt(model.body, "full", keep=())
    sl.adapt(model, "lora", targets=".b", keep=())
    assert trained(model) == {"b.A", "b.B", *(f"body.{name}" for name, _ in Net().body.named_parameters())}
    comes_back(model, tmp_path / "a.st")


def test_statistics_that_changed_between_two_calls_are_in_the_file(tmp_path):
    model = sl.adapt(Net(), "lora", targets="a")
    model.train()(X)
    sl.adapt(model.body, "toeplitz", targets="b")
    comes_back(model, tmp_path / "a.st")


def test_a_part_that_knows_not_all_of_its_adapters_is_not_saved(tmp_path):
    model = sl.adapt(Net(), "lora", targets="a")
    sl.adapt(model.body, "toeplitz", targets="b")
    with pytest.raises(ValueError, match=r"layer 'a' has LoRA\(.*\) of a larger model that this one is part of"):
        sl.save_adapter(model.body, tmp_path / "a.st")
    sl.adapt(Net().body, "toeplitz", targets="b")


def test_a_file_of_a_part_that_is_not_there(tmp_path):
    model = Net()
    sl.adapt(model.body, "full", keep=())
    sl.save_adapter(model, tmp_path / "a.st")
    with pytest.raises(ValueError, match="the model has no part 'body', to which the file's methods were attached"):
        sl.load_adapter(nn.Sequential(nn.Linear(8, 8)), tmp_path / "a.st")


def test_a_dot_in_front_holds_a_pattern_against_the_whole_name():
    model = sl.adapt(Net(), "lora", targets=".b", keep=".norm")
    assert trained(model) == {"b.A", "b.B", "norm.weight", "norm.bias"}
    assert trained(sl.adapt(Net(), "lora", targets="b", keep="norm")) == trained(model) | {
        "body.b.A", "body.b.B", "body.norm.weight", "body.norm.bias"
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"unknown targets pattern '\.a'; did you mean 'a'"):
        sl.adapt(Net(), "lora", targets=".a")
