"""A method that replaces its layers in mid-training: it trains a copy of W, and then two factors of it."""

from dataclasses import dataclass, field

import pytest
import torch
from resumable import pictures, small
from torch import nn

from surm_lite.adapters import (
    METHODS,
    Rewrite,
    adapters_of,
    count,
    load_adapter,
    methods_of,
    register,
    save_adapter,
    thin,
)
from surm_lite.checks import METHOD_CHECKS, check_method
from surm_lite.training.train import train

SHAPES = ((8, 8), (12, 8), (6, 9))


@dataclass
class Halve(Rewrite):
    name, paper = "halve", "a toy"
    rank: int = 2
    epoch: int = 1
    ranks: dict[str, int] | None = field(default=None, repr=False)

    def n_params(self, m, n):
        return m * n if self.ranks is None else self.rank * (m + n)

    def n_deployed(self, m, n):
        return 0 if self.ranks is None else self.rank * (m + n) - m * n

    def factor(self, W):
        U, s, Vh = torch.linalg.svd(W.detach(), full_matrices=False)
        return {"B": U[:, : self.rank] * s[: self.rank], "A": Vh[: self.rank].clone()}

    def begin(self, name, weight, generator):
        return {"full": weight.clone()} if self.ranks is None else self.factor(weight)

    def whole(self, weight, bias, tensors):
        return tensors["full"] if "full" in tensors else tensors["B"] @ tensors["A"], bias

    def factors(self, tensors):
        return None if "full" in tensors else (tensors["B"], tensors["A"])

    def after_epoch(self, state):
        return self.ranks is None and state.epoch == self.epoch and self.swap()

    def swap(self):
        for adapter in self.layers.values():
            for name, tensor in self.factor(adapter.full).items():
                adapter.register_parameter(name, nn.Parameter(tensor))
            del adapter.full
            adapter.names = ("B", "A")
        self.ranks = dict.fromkeys(self.layers, self.rank)
        return True

    def state_dict(self):
        return {"ranks": self.ranks}

    def load_state_dict(self, state):
        if state["ranks"] is not None and self.ranks is None:
            self.swap()


def test_it_keeps_the_contract_and_resumes_on_both_sides_of_the_swap():
    check_method(Halve, shapes=SHAPES).raise_if_failed()


@pytest.mark.parametrize("check", [name for name in METHOD_CHECKS if name not in ("start", "sizes", "draws")])
def test_it_keeps_the_contract_after_the_swap(check):
    swapped = Halve(ranks=dict.fromkeys(("0", "first", "second"), 2))
    check_method(swapped, shapes=SHAPES, only=[check]).raise_if_failed()


def test_trained_past_the_swap_it_is_counted_saved_loaded_and_thinned(tmp_path):
    register(Halve)
    try:
        model = small("halve")
        record = train(model, pictures(), epochs=2, batch_size=25, lr=1e-2, device="cpu", progress=False)
        (adapter,) = adapters_of(model).values()
        assert methods_of(model)[0].ranks == {"1": 2}
        assert count(model).deployed == 2 * (32 + 64) - 32 * 64 < 0
        assert record.parameters["deployed"] == count(model).deployed
        assert adapter.weight.detach().svd().S[2] < 1e-5
        path, x = tmp_path / "halve.safetensors", torch.rand(3, 1, 8, 8)
        save_adapter(model, path)
        plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 5))
        plain[1].load_state_dict(adapter.linear.state_dict())
        y = model(x)
        assert torch.equal(load_adapter(plain, path)(x), y)
        thin(model)
        torch.testing.assert_close(model(x), y, rtol=1e-5, atol=1e-5)
        assert [tuple(p.shape) for p in model[1].parameters()] == [(2, 64), (32, 2), (32,)]
    finally:
        del METHODS["halve"]
