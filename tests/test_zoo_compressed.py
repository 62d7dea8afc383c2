"""LoRAE: a waist of low rank, in float64."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from resumable import pictures
from torch import nn

from surm_lite.adapters import METHODS, adapt, merge
from surm_lite.tasks import Reconstruction
from surm_lite.training.run import State
from surm_lite.training.train import train

DOUBLE = {"dtype": torch.float64}
SHAPES = [(8, 8), (12, 7), (5, 11)]
QUIET = {"device": "cpu", "progress": False}


def layer(method, m, n, **options):
    torch.manual_seed(0)
    return adapt(nn.Sequential(nn.Linear(n, m, **DOUBLE)), method, "0", keep=(), **options)


class TestLoRAE:
    @pytest.mark.parametrize(("m", "n"), SHAPES)
    def test_weight_bias_and_the_gradient_of_the_penalty(self, m, n):
        model = layer("lorae", m, n, nuclear=0.3)
        adapter = model[0]
        torch.testing.assert_close(adapter.weight, adapter.M @ adapter.linear.weight)
        torch.testing.assert_close(adapter.bias, adapter.M @ adapter.linear.bias)
        assert adapter.M.abs().max() <= m**-0.5
        U, s, Vh = torch.linalg.svd(adapter.M.detach())
        penalty = adapter.method.penalty(None)
        torch.testing.assert_close(penalty.detach(), 0.3 * s.sum())
        torch.testing.assert_close(torch.autograd.grad(penalty, adapter.M)[0], 0.3 * U @ Vh)
        x = torch.randn(3, n, **DOUBLE)
        z = F.linear(F.linear(x, adapter.full, adapter.linear.bias), adapter.M)
        torch.testing.assert_close(model(x), z)

    def test_from_the_identity_it_starts_at_the_base_model(self):
        model, x = layer("lorae", 7, 9, init="identity"), torch.randn(3, 9, **DOUBLE)
        assert torch.equal(model(x), model[0].linear(x))

    def test_the_recorded_loss_has_no_penalty_in_it_and_nothing_is_deployed(self):
        torch.manual_seed(0)
        data = dataclasses.replace(pictures(), task=Reconstruction())
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 64))
        adapt(model, "lorae", "1", keep="3", nuclear=100.0)
        first = model[1].M.detach().clone()
        record = train(model, data, epochs=1, lr=1e-3, **QUIET)
        assert record.loss[0] < 5 < record.penalty[0]
        assert record.penalty[0] == pytest.approx(100 * torch.linalg.matrix_norm(first, "nuc").item(), rel=1e-5)
        assert record.parameters["deployed"] == 0
        merge(model)
        assert type(model[1]) is nn.Linear

    def test_of_data_with_three_factors_it_keeps_three(self):
        torch.manual_seed(0)
        x = torch.randn(60, 3, **DOUBLE) @ torch.randn(3, 10, **DOUBLE)
        found = {}
        for nuclear in (0.0, 3e-2):
            torch.manual_seed(1)
            model = nn.Sequential(nn.Linear(10, 8, **DOUBLE), nn.Linear(8, 10, **DOUBLE))
            adapt(model, "lorae", "0", keep="1", nuclear=nuclear)
            optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
            state = State(model, optimizer, total_steps=400)
            for _ in range(400):
                optimizer.zero_grad()
                ((model(x) - x).square().mean() + model[0].method.penalty(state)).backward()
                optimizer.step()
            s = torch.linalg.svdvals(model[0].M.detach())
            found[nuclear] = int((s > 0.05 * s[0]).sum()), (model(x) - x).square().mean() / x.square().mean()
        assert found[3e-2][0] == 3 < found[0.0][0]
        assert found[3e-2][1] < 0.05

    def test_bad_options_are_named(self):
        with pytest.raises(ValueError, match=r"nuclear of method 'lorae' is -1\.0; it must be 0 or more"):
            METHODS["lorae"](nuclear=-1.0)
        with pytest.raises(ValueError, match="init of method 'lorae' 'identiy'; did you mean 'identity'"):
            METHODS["lorae"](init="identiy")
