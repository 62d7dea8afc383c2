"""TRP, Cuttlefish, LoRD and LoRAE: weights that come down to low rank, in float64."""

import copy
import dataclasses
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from resumable import pictures, small
from torch import nn

from surm_lite.adapters import METHODS, adapt, adapters_of, count, load_adapter, merge, methods_of, save_adapter, thin
from surm_lite.adapters.methods.cuttlefish import is_flat, stable_rank
from surm_lite.adapters.methods.trp import keeps
from surm_lite.checks import check_method
from surm_lite.tasks import Reconstruction
from surm_lite.training.run import State
from surm_lite.training.train import train

DOUBLE = {"dtype": torch.float64}
SHAPES = [(8, 8), (12, 7), (5, 11)]
CUT = ("forward", "counts", "merging", "state", "file", "resume")
QUIET = {"device": "cpu", "progress": False}


def layer(method, m, n, **options):
    torch.manual_seed(0)
    return adapt(nn.Sequential(nn.Linear(n, m, **DOUBLE)), method, "0", keep=(), **options)


def of_rank(m, n, s):
    """A matrix with these singular values."""
    U, V = (torch.linalg.qr(torch.randn(k, len(s), **DOUBLE)).Q for k in (m, n))
    return U * torch.tensor(s, **DOUBLE) @ V.mT


@pytest.mark.parametrize("method", ["trp", "cuttlefish"])
def test_they_keep_the_contract_after_the_cut(method):
    ranks = {"0": 2, "first": 2, "second": None}
    cut = METHODS[method](ranks=ranks)
    check_method(cut, shapes=((12, 8), (6, 9)), only=CUT).raise_if_failed()


@pytest.mark.parametrize(("method", "options"), [("trp", {"period": 3}), ("cuttlefish", {"epoch": 1, "scaled": False})])
def test_a_run_resumes_on_both_sides_of_a_cut(method, options):
    check_method(method, shapes=((12, 8), (6, 9)), only=["resume"], **options).raise_if_failed()


@pytest.mark.parametrize(
    ("method", "options"),
    [("trp", {"period": 2, "energy": 0.7}), ("cuttlefish", {"epoch": 1, "scaled": False, "decay": 0.1})],
)
def test_trained_past_the_cut_they_are_counted_saved_loaded_and_thinned(method, options, tmp_path):
    model = small(method, **options)
    plain = nn.Sequential(nn.Flatten(), copy.deepcopy(model[1].linear), nn.GELU(), copy.deepcopy(model[3]))
    record = train(model, pictures(), epochs=2, batch_size=25, lr=1e-3, weight_decay=0.1, **QUIET)
    rank = methods_of(model)[0].ranks["1"]
    assert 1 <= rank < 21
    assert count(model).deployed == rank * 96 - 32 * 64 == record.parameters["deployed"]
    save_adapter(model, tmp_path / "cut.safetensors")
    x = torch.rand(3, 1, 8, 8)
    y = model(x)
    assert torch.equal(load_adapter(plain, tmp_path / "cut.safetensors")(x), y)
    thin(model)
    torch.testing.assert_close(model(x), y, rtol=1e-5, atol=1e-5)
    assert [tuple(p.shape) for p in model[1].parameters()] == [(rank, 64), (32, rank), (32,)]


class TestTRP:
    @pytest.mark.parametrize("energy", [0.3, 0.8, 0.99, 1.0])
    def test_the_smallest_head_with_enough_energy(self, energy):
        s = torch.linalg.svdvals(torch.randn(9, 7, generator=torch.Generator().manual_seed(0), **DOUBLE))
        k = int(keeps(s, energy).sum())
        assert keeps(s, energy).tolist() == [1.0] * k + [0.0] * (7 - k)
        share = s.square().cumsum(0) / s.square().sum()
        assert share[k - 1] >= energy - 1e-12
        assert k == 1 or share[k - 2] < energy

    @pytest.mark.parametrize(("m", "n"), SHAPES)
    def test_every_few_steps_the_weight_is_cut_and_pays_for_its_nuclear_norm(self, m, n):
        model = layer("trp", m, n, energy=0.8, period=3, nuclear=0.25)
        method, W = model[0].method, model[0].full
        for step in range(7):
            before = W.detach().clone()
            method.before_step(SimpleNamespace(step=step))
            W.grad = torch.zeros_like(W)
            method.after_backward(SimpleNamespace(step=step))
            if step not in (3, 6):
                assert torch.equal(W, before)
                assert not W.grad.any()
                continue
            U, s, Vh = torch.linalg.svd(before, full_matrices=False)
            k = int(keeps(s, 0.8).sum())
            assert k < len(s) or step == 6  # what was cut may have too few parts to be cut again
            torch.testing.assert_close(W.detach(), U[:, :k] * s[:k] @ Vh[:k])
            torch.testing.assert_close(W.grad, 0.25 * U[:, :k] @ Vh[:k])
            torch.testing.assert_close((W.grad * W).sum(), 0.25 * torch.linalg.matrix_norm(W, "nuc"))

    def test_the_gradient_of_the_nuclear_norm(self):
        W = of_rank(7, 5, [3.0, 2.0, 1.5, 1.0, 0.5]).requires_grad_()
        (got,) = torch.autograd.grad(torch.linalg.matrix_norm(W, "nuc"), W)
        U, _, Vh = torch.linalg.svd(W.detach(), full_matrices=False)
        torch.testing.assert_close(got, U @ Vh)
        s = torch.linalg.svdvals(W.detach() - 0.75 * got)
        torch.testing.assert_close(s, torch.tensor([2.25, 1.25, 0.75, 0.25, 0.25], **DOUBLE))  # the last overshoots

    def test_never_cut_it_is_plain_training(self):
        plain, cut = (nn.Sequential(nn.Flatten(), nn.Linear(64, 5)) for _ in range(2))
        plain.load_state_dict(cut.state_dict())
        plain[1].bias.requires_grad_(False)
        adapt(cut, "trp", "1", keep=(), period=1000, energy=1.0)
        for model in (plain, cut):
            train(model, pictures(), epochs=2, batch_size=25, lr=1e-2, **QUIET)
        torch.testing.assert_close(cut[1].weight, plain[1].weight, rtol=1e-5, atol=1e-6)
        assert cut[1].method.ranks == {"1": None}

    def test_at_the_end_each_layer_gets_the_rank_of_its_last_cut(self):
        torch.manual_seed(0)
        model = adapt(nn.Sequential(nn.Linear(9, 12, **DOUBLE), nn.Linear(12, 4, **DOUBLE)), "trp", "*", keep=())
        one, other = model
        W = of_rank(12, 9, [5.0, 4.0, 1.0, 0.1])
        one.full.data.copy_(W)
        other.full.data.copy_(of_rank(4, 12, [1.0, 1.0, 1.0, 1e-3]))
        one.method.finish(model)
        assert one.method.ranks == {"0": 2, "1": None}  # 41 of 42.01 is enough; 3 (4 + 12) is no less than 4 * 12
        U, s, Vh = torch.linalg.svd(W)
        torch.testing.assert_close(one.weight.detach(), U[:, :2] * s[:2] @ Vh[:2])
        assert torch.linalg.svdvals(other.weight.detach())[3] < 1e-12  # cut all the same
        one.method.finish(model)
        assert one.factors()[0].shape == (12, 2)

    def test_bad_options_are_named(self):
        for options, words in (
            ({"energy": 0.0}, r"energy of method 'trp' is 0\.0; it must be above 0 and at most 1"),
            ({"nuclear": -1.0}, r"nuclear of method 'trp' is -1\.0"),
            ({"period": 0}, "period of method 'trp' is 0"),
        ):
            with pytest.raises(ValueError, match=words):
                METHODS["trp"](**options)
        with pytest.raises(ValueError, match="0: ranks of method 'trp' names 1, and not this layer"):
            layer("trp", 4, 4, ranks={"1": 2})


class TestCuttlefish:
    def test_stable_ranks(self):
        W = torch.randn(9, 6, generator=torch.Generator().manual_seed(0), **DOUBLE)
        assert 1 <= stable_rank(W) <= 6
        assert stable_rank(3 * W) == pytest.approx(stable_rank(W))
        assert stable_rank(of_rank(9, 6, [2.0] * 6)) == pytest.approx(6)
        assert stable_rank(of_rank(9, 6, [2.0])) == pytest.approx(1)
        assert stable_rank(of_rank(9, 6, [2.0, 1.0])) == pytest.approx(1.25)
        assert stable_rank(0 * W) == 1

    def epoch(self, model, number=1, **options):
        return model[0].method.after_epoch(SimpleNamespace(epoch=number))

    def test_a_weight_that_did_not_move_has_scaled_rank_min_m_n_and_stays_whole(self):
        model = layer("cuttlefish", 12, 7, epoch=1)
        assert not self.epoch(model)
        assert model[0].method.ranks == {"0": None}

    @pytest.mark.parametrize("scaled", [True, False])
    def test_the_rank_is_the_stable_rank_rounded_up_and_the_factors_are_balanced(self, scaled):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(9, 12, **DOUBLE))
        model[0].weight.data.copy_(of_rank(12, 9, [4.0] * 2 + [2.0] * 2 + [0.1] * 5))  # 40.05 / 16
        adapt(model, "cuttlefish", "0", keep=(), epoch=2, scaled=scaled)
        W = of_rank(12, 9, [5.0, 3.0, 1.0, 0.5])  # 35.25 / 25: 1.41, and scaled 9 / 2.503 times as much, 5.07
        model[0].full.data.copy_(W)
        assert not self.epoch(model, 1)
        if scaled:
            assert not self.epoch(model, 2)  # 6 (12 + 9) is no less than 12 * 9
            assert model[0].method.ranks == {"0": None}
            return
        assert self.epoch(model, 2)
        B, A = model[0].factors()
        s = torch.diag(torch.tensor([5.0, 3.0], **DOUBLE))
        torch.testing.assert_close(B.mT @ B, s)
        torch.testing.assert_close(A @ A.mT, s)
        torch.testing.assert_close((B @ A - W).square().sum().detach(), torch.tensor(1.25, **DOUBLE))
        assert not self.epoch(model, 3)

    def test_scaled_ranks(self):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(20, 24, **DOUBLE))
        model[0].weight.data.copy_(of_rank(24, 20, [2.0] * 10 + [1.0] * 10))  # 12.5 of 20
        adapt(model, "cuttlefish", "0", keep=(), epoch=1)
        model[0].full.data.copy_(of_rank(24, 20, [3.0, 3.0, 3.0, 1.5]))  # 3.25, times 1.6: 5.2
        assert self.epoch(model)
        assert model[0].method.ranks == {"0": 6}

    def test_a_cut_at_the_numerical_rank_changes_no_answer(self):
        model = layer("cuttlefish", 9, 8, epoch=1, scaled=False)
        model[0].full.data.copy_(of_rank(9, 8, [2.0, 2.0]))
        x = torch.randn(3, 8, **DOUBLE)
        y = model(x)
        assert self.epoch(model)
        torch.testing.assert_close(model(x), y)

    def test_the_decay_is_that_of_the_product(self):
        model = layer("cuttlefish", 9, 8, ranks={"0": 2}, decay=0.3)
        B, A = model[0].factors()
        B.grad, A.grad = torch.ones_like(B), torch.ones_like(A)
        want = torch.autograd.grad(0.3 / 2 * (B @ A).square().sum(), [B, A])
        model[0].method.after_backward(None)
        for t, more in zip((B, A), want):
            torch.testing.assert_close(t.grad, 1 + more)
        (group,) = model[0].method.param_groups(model)
        assert group["weight_decay"] == 0
        assert {id(p) for p in group["params"]} == {id(B), id(A)}

    def test_flat_is_flat(self):
        assert not is_flat([7.0] * 3, 3, 0.1)
        assert is_flat([7.0] * 4, 3, 0.0)
        falling = [8.0 * 0.5**k for k in range(12)]
        assert not is_flat(falling, 3, 0.3)
        assert is_flat(falling + [1.0] * 9, 3, 0.05)
        assert not is_flat([*[7.0] * 8, 9.0], 3, 0.01)  # the average moves by 1 of 8 in one of three epochs
        assert is_flat([*[7.0] * 8, 9.0], 3, 0.05)

    def test_it_cuts_when_all_layers_are_flat_and_never_before(self):
        model = layer("cuttlefish", 9, 8, window=2, eps=0.01, scaled=False)
        model[0].full.data.copy_(of_rank(9, 8, [2.0, 2.0]))
        assert [self.epoch(model, k) for k in (1, 2, 3)] == [False, False, True]
        model = layer("cuttlefish", 9, 8, window=2, eps=0.01, scaled=False)
        for k in (1, 2, 3, 4):
            model[0].full.data.copy_(of_rank(9, 8, [2.0, 0.4 * k]))
            assert not self.epoch(model, k)
        assert len(model[0].method.history["0"]) == 4


def outputs(model, x):
    """Losses that reach the layers with these inputs."""
    return [lambda part=part: model(part).square().sum() for part in x.split(7)]


def lord(m, n, rank, bias=True, method="lord"):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(n, m, bias=bias, **DOUBLE))
    x = torch.randn(40, n, **DOUBLE) @ torch.randn(n, n, **DOUBLE) + torch.randn(n, **DOUBLE)
    y = model(x).detach()
    return adapt(model, method, "0", keep=(), losses=outputs(model, x), rank=rank), x, y


class TestLoRD:
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize(("m", "n"), SHAPES)
    def test_the_error_is_the_sum_of_the_other_eigenvalues(self, m, n, bias):
        model, x, y = lord(m, n, 3, bias)
        mean = y.mean(0) if bias else torch.zeros(m, **DOUBLE)
        values = torch.linalg.eigvalsh((y - mean).mT @ (y - mean) / len(y))
        error = (model(x) - y).square().sum(1).mean()
        torch.testing.assert_close(error.detach(), values[:-3].sum(), rtol=1e-9, atol=1e-12)
        assert model[0].method.ranks == {"0": 3}
        assert model[0].method.centred == (("0",) if bias else ())
        assert count(model).trained == 3 * (m + n) + m * bias

    @pytest.mark.parametrize(("m", "n"), SHAPES)
    def test_it_is_the_whitened_truncation_and_beats_that_of_the_weight(self, m, n):
        model, x, y = lord(m, n, 2)
        W, d = model[0].linear.weight.detach(), x - x.mean(0)
        L = torch.linalg.cholesky(d.mT @ d / len(x))
        U, s, Vh = torch.linalg.svd(W @ L, full_matrices=False)
        torch.testing.assert_close(model[0].weight.detach(), U[:, :2] * s[:2] @ Vh[:2] @ torch.linalg.inv(L))
        U, s, Vh = torch.linalg.svd(W, full_matrices=False)
        plain = d @ (U[:, :2] * s[:2] @ Vh[:2]).mT + y.mean(0)
        assert (model(x) - y).square().sum() < (plain - y).square().sum()

    def test_full_rank_is_exact_and_the_bias_is_merged(self):
        model, x, y = lord(7, 9, 100)
        torch.testing.assert_close(model(x), y)
        model, x, _ = lord(7, 9, 2)
        before = model(x)
        assert not torch.allclose(model[0].bias, model[0].linear.bias)
        merge(model)
        torch.testing.assert_close(model(x), before)

    def test_on_another_adapter_it_takes_the_outputs_of_both(self):
        torch.manual_seed(0)
        model, x = nn.Sequential(nn.Linear(6, 7, **DOUBLE)), torch.randn(30, 6, **DOUBLE)
        adapt(model, "lora", "0", keep=(), rank=2)
        model[0].B.data.normal_()
        y = model(x).detach()
        adapt(model, "lord", "0", keep=(), losses=outputs(model, x), rank=6)
        torch.testing.assert_close(model(x), y)

    def test_a_look_leaves_no_hook_and_a_layer_without_outputs_is_named(self):
        model, _, _ = lord(5, 6, 2)
        assert not model[0].linear._forward_hooks
        two = nn.ModuleDict({"used": nn.Linear(4, 4), "idle": nn.Linear(4, 4)})
        with pytest.raises(ValueError, match="no batch reaches idle"):
            adapt(two, "lord", "*", keep=(), losses=[lambda: two["used"](torch.ones(2, 4)).sum()])
        assert not two["used"]._forward_hooks
        assert not adapters_of(two)


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
