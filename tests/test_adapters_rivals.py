"""DoRA, SingLoRA and GoRA: their identities in float64, and peft as an oracle where it has the method."""

import inspect
import io
import tokenize
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from surm_lite.adapters import METHODS, Additive, adapt, adapters_of, load_adapter, methods_of, save_adapter

DOUBLE = {"dtype": torch.float64}
SHAPES = [(8, 8), (12, 8), (6, 10)]


def adapted(method, m, n, **options):
    torch.manual_seed(0)
    model = adapt(nn.Sequential(nn.Linear(n, m, **DOUBLE)), method, "0", **options)
    model[0].method.stir(model[0], torch.Generator().manual_seed(0))
    return model[0]


@pytest.mark.parametrize("name", ["dora", "gora", "singlora"])
def test_a_method_is_at_most_sixty_lines_without_docstrings(name):
    """Of the class itself, no empty lines and no comments either."""
    source = inspect.getsource(METHODS[name])
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines, before = set(), tokenize.NEWLINE
    for token in tokens:
        docstring = token.type == tokenize.STRING and before in (tokenize.NEWLINE, tokenize.INDENT)
        if token.type not in skipped and not docstring:
            lines |= {*range(token.start[0], token.end[0] + 1)}
        before = token.type if token.type not in (tokenize.NL, tokenize.COMMENT) else before
    assert 20 < len(lines) <= 60


class TestDoRA:
    @pytest.mark.parametrize(("m", "n"), SHAPES)
    def test_peft_gives_the_same_outputs_and_gradients(self, m, n):
        peft = pytest.importorskip("peft", reason="needs the extra [hf]")
        ours = adapted("dora", m, n, rank=3, alpha=6.0)
        base = nn.Linear(n, m, **DOUBLE)
        base.load_state_dict(ours.linear.state_dict())
        config = peft.LoraConfig(r=3, lora_alpha=6, use_dora=True, target_modules=["0"])
        theirs = peft.get_peft_model(nn.Sequential(base), config).double().base_model.model[0]
        A, B = theirs.lora_A["default"].weight, theirs.lora_B["default"].weight
        magnitude = theirs.lora_magnitude_vector["default"].weight
        with torch.no_grad():
            for mine, his in ((ours.A, A), (ours.B, B), (ours.magnitude, magnitude)):
                his.copy_(mine)
        x, g = torch.randn(5, n, **DOUBLE, requires_grad=True), torch.randn(5, m, **DOUBLE)
        y, z = ours(x), theirs(x)
        torch.testing.assert_close(y, z, rtol=1e-12, atol=1e-12)
        got = torch.autograd.grad(y, [x, ours.A, ours.B, ours.magnitude], g)
        for a, b in zip(got, torch.autograd.grad(z, [x, A, B, magnitude], g)):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)

    @pytest.mark.parametrize(("axis", "dim"), [("out", 1), ("in", 0)])
    @pytest.mark.parametrize("detach", [True, False])
    @pytest.mark.parametrize(("m", "n"), SHAPES)
    def test_gradient_formulas(self, m, n, axis, dim, detach):
        adapter = adapted("dora", m, n, rank=2, axis=axis, detach=detach)
        W0 = adapter.linear.weight.detach()
        V = (W0 + 8 / 2 * adapter.B @ adapter.A).detach().requires_grad_()
        c = V.detach().norm(dim=dim, keepdim=True)
        v, scale = V.detach() / c, adapter.magnitude.detach().unsqueeze(dim) / c
        W = adapter.weight
        torch.testing.assert_close(W.detach(), scale * V.detach())
        torch.testing.assert_close(W.norm(dim=dim), adapter.magnitude.abs())
        G = torch.randn(m, n, **DOUBLE)
        for_V = scale * (G if detach else G - v * (v * G).sum(dim, keepdim=True))
        want = [4 * for_V @ adapter.A.mT, 4 * adapter.B.mT @ for_V, (G * v).sum(dim)]
        got = torch.autograd.grad(W, [adapter.B, adapter.A, adapter.magnitude], G)
        for a, b in zip(got, want):
            torch.testing.assert_close(a, b)

    @pytest.mark.parametrize(("axis", "dim"), [("out", 1), ("in", 0)])
    def test_the_scale_of_a_direction_plays_no_part(self, axis, dim):
        method = METHODS["dora"](rank=2, axis=axis)
        W0, tensors = (
            torch.randn(6, 10, **DOUBLE),
            {"A": torch.randn(2, 10, **DOUBLE), "B": torch.randn(6, 2, **DOUBLE)},
        )
        tensors["magnitude"] = torch.randn(6 if axis == "out" else 10, **DOUBLE)
        t = (torch.rand(len(tensors["magnitude"]), **DOUBLE) + 0.5).unsqueeze(dim)
        scaled = {
            "A": tensors["A"] * (t if axis == "in" else 1),
            "B": tensors["B"] * (t if axis == "out" else 1),
            "magnitude": tensors["magnitude"],
        }
        torch.testing.assert_close(method.whole(t * W0, None, scaled)[0], method.whole(W0, None, tensors)[0])

    def test_a_row_of_zeros_stays_one(self):
        model = nn.Sequential(nn.Linear(4, 3))
        with torch.no_grad():
            model[0].weight[1] = 0
        adapt(model, "dora", "0", rank=1)
        assert torch.equal(model[0].weight[1], torch.zeros(4))
        model(torch.randn(2, 4)).sum().backward()
        assert all(p.grad.isfinite().all() for p in model[0].parameters(recurse=False))


class TestSingLoRA:
    def test_gradient_and_positive_definiteness(self):
        adapter = adapted("singlora", 8, 8, rank=3, alpha=6.0)
        adapter.faded.fill_(0.25)
        G = torch.randn(8, 8, **DOUBLE)
        (got,) = torch.autograd.grad(adapter.operator().to_dense(), adapter.A, G)
        torch.testing.assert_close(got, 0.25 * 2 * (G + G.mT) @ adapter.A)
        S = adapter.operator().to_dense().detach()
        torch.testing.assert_close(S, S.mT)
        values = torch.linalg.eigvalsh(S)
        assert values[0] > -1e-14
        assert (values > 1e-12).sum() == 3

    @pytest.mark.parametrize(("m", "n"), [(12, 8), (6, 10)])
    def test_a_rectangle_takes_the_first_rows(self, m, n):
        adapter = adapted("singlora", m, n, rank=2, alpha=4.0)
        assert adapter.A.shape == (max(m, n), 2)
        torch.testing.assert_close(adapter.operator().to_dense(), 2 * adapter.A[:m] @ adapter.A[:n].mT)

    def test_the_ramp_rises_and_then_stays(self):
        adapter, seen = adapted("singlora", 4, 4, rank=1, ramp=0.25), []
        for step in range(40):
            adapter.method.before_step(SimpleNamespace(step=step, total_steps=40))
            seen.append(adapter.faded.item())
        torch.testing.assert_close(torch.tensor(seen[:10]), torch.arange(1, 11) / 10)
        assert set(seen[10:]) == {1.0}

    @pytest.mark.parametrize("rule", [torch.optim.SGD, torch.optim.Adam])
    def test_descent_does_not_see_a_rotation_of_its_columns_and_adam_does(self, rule):
        target, weights = torch.randn(8, 8, **DOUBLE), []
        Q = torch.linalg.qr(torch.randn(3, 3, **DOUBLE)).Q
        for rotation in (torch.eye(3, **DOUBLE), Q):
            adapter = adapted("singlora", 8, 8, rank=3)
            with torch.no_grad():
                adapter.A.copy_(adapter.A @ rotation)
            optimizer = rule([adapter.A], lr=0.02)
            for _ in range(5):
                optimizer.zero_grad()
                (adapter.operator().to_dense() - target).square().mean().backward()
                optimizer.step()
            weights.append(adapter.operator().to_dense().detach())
        apart = (weights[0] - weights[1]).norm() / weights[0].norm()
        assert apart < 1e-12 if rule is torch.optim.SGD else apart > 1e-3

    def test_minus_the_identity_is_out_of_reach(self):
        """The nearest positive semi-definite matrix to -I is 0: no A is better than none."""
        adapter = adapted("singlora", 6, 6, rank=6)
        optimizer = torch.optim.Adam([adapter.A], lr=0.05)
        for _ in range(200):
            loss = (adapter.operator().to_dense() + torch.eye(6, **DOUBLE)).square().sum()
            assert loss > 6
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert loss < 6.01


def layers(shapes=((8, 8), (12, 8), (6, 8))):
    torch.manual_seed(0)
    return nn.ModuleDict({f"l{k}": nn.Linear(n, m, **DOUBLE) for k, (m, n) in enumerate(shapes)})


def gora(model, gradients, **options):
    """GoRA after a look at losses whose gradients are those given."""

    def loss():
        return sum((model[name].weight * G).sum() for name, G in gradients.items())

    return adapt(model, "gora", "*", keep=(), losses=[loss, loss], **options)


def random_gradients(model):
    return {name: torch.randn_like(layer.weight).detach() for name, layer in model.items()}


class TestGoRA:
    def test_the_first_update_is_the_step_that_A_can_say(self):
        model = layers()
        G = random_gradients(model)
        gora(model, G, rank=4, gamma=0.1, alpha=16.0)
        for name, adapter in adapters_of(model).items():
            A, B, r, n = adapter.A.detach(), adapter.B.detach(), len(adapter.A), adapter.in_features
            best = torch.linalg.lstsq(A.mT, -G[name].mT).solution.mT  # of min |B A + G|
            torch.testing.assert_close(B, 0.1 * n**0.5 / 16 * best)
            P = torch.linalg.pinv(A) @ A
            S = adapter.operator().to_dense().detach()
            torch.testing.assert_close(S, -0.1 * (n / r) ** 0.5 * G[name] @ P)
            change = (G[name] * S).sum()
            assert change < 0
            torch.testing.assert_close(change, -0.1 * (n / r) ** 0.5 * (G[name] @ P).square().sum())

    def test_of_full_rank_it_is_a_step_of_gradient_descent(self):
        model = layers([(12, 8)])
        G = random_gradients(model)
        gora(model, G, rank=8, rank_min=8, gamma=0.3)
        torch.testing.assert_close(model["l0"].operator().to_dense(), -0.3 * G["l0"])

    def test_equal_importances_give_the_mean_rank(self):
        model = layers([(8, 8)] * 3)
        for layer in model.values():
            layer.load_state_dict(model["l0"].state_dict())
        G = torch.randn(8, 8, **DOUBLE)
        gora(model, dict.fromkeys(model, G), rank=5, rank_min=1)
        assert set(methods_of(model)[0].ranks.values()) == {5}

    def test_ranks_follow_the_importances_within_their_bounds(self):
        model = layers([(8, 8), (8, 8), (8, 8)])
        for layer in model.values():
            nn.init.ones_(layer.weight)
        ones = torch.ones(8, 8, **DOUBLE)
        gora(model, {"l0": 3 * ones, "l1": 2 * ones, "l2": ones}, rank=3, rank_min=0)
        assert methods_of(model)[0].ranks == {"l0": 4, "l1": 3, "l2": 2}  # 9 in shares of 3, 2, 1; 4.5 is rounded to 4

    def test_a_rank_is_at_most_that_of_the_layer(self):
        model = layers([(3, 8), (8, 8)])
        gora(model, {"l0": torch.ones(3, 8, **DOUBLE)}, rank=6, rank_min=1)
        assert methods_of(model)[0].ranks == {"l0": 3, "l1": 1}

    def test_a_gradient_of_zero_everywhere_gives_the_mean_rank_and_no_step(self):
        model = layers()
        gora(model, {name: torch.zeros_like(layer.weight) for name, layer in model.items()}, rank=4)
        assert set(methods_of(model)[0].ranks.values()) == {4}
        assert not any(adapter.B.any() for adapter in adapters_of(model).values())

    def test_gamma_zero_is_rslora_of_those_ranks(self):
        model = layers()
        gora(model, random_gradients(model), rank=4, gamma=0.0)
        for adapter in adapters_of(model).values():
            assert not adapter.B.any()
            assert adapter.method.of("l0").rslora

    def test_rank_zero_leaves_the_layer_plain_also_from_a_file(self, tmp_path):
        model = layers([(8, 8), (8, 8)])
        gora(model, {"l0": torch.randn(8, 8, **DOUBLE)}, rank=3, rank_min=0)
        assert list(adapters_of(model)) == ["l0"]
        assert type(model["l1"]) is nn.Linear
        save_adapter(model, tmp_path / "gora.safetensors")
        again = load_adapter(layers([(8, 8), (8, 8)]), tmp_path / "gora.safetensors")
        x = torch.randn(3, 8, **DOUBLE)
        assert methods_of(again)[0].ranks == {"l0": 6, "l1": 0}
        assert type(again["l1"]) is nn.Linear
        assert isinstance(again["l0"], Additive)
        assert torch.equal(again["l0"](x), model["l0"](x))
        assert not torch.allclose(again["l0"](x), F.linear(x, model["l0"].linear.weight, model["l0"].linear.bias))
