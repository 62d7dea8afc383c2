"""AdaLoRA, ElaLoRA and ARD-LoRA: ranks that move, in float64; peft as an oracle of AdaLoRA."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from surm_lite.adapters import METHODS, adapt, adapters_of, methods_of
from surm_lite.checks import check_method
from surm_lite.training.run import State

DOUBLE = {"dtype": torch.float64}
SHAPES = [(8, 8), (12, 7), (5, 11)]


class Two(nn.Module):
    """Two layers, and a loss."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(7, 11, **DOUBLE), nn.Linear(11, 5, **DOUBLE)

    def forward(self, x, y):
        return SimpleNamespace(loss=(self.two(torch.tanh(self.one(x))) - y).square().mean())


def two(method, **options):
    torch.manual_seed(0)
    model = adapt(Two(), method, ("one", "two"), keep=(), **options)
    return model, methods_of(model)[0]


def run(model, method, steps, total=None, lr=0.05, factory=torch.optim.SGD, each=None):
    """A training with the hooks of the method."""
    optimizer = factory([p for p in model.parameters() if p.requires_grad], lr=lr)
    state = State(model, optimizer, total_steps=total or steps)
    chance = torch.Generator().manual_seed(1)
    x, y = torch.randn(9, 7, generator=chance, **DOUBLE), torch.randn(9, 5, generator=chance, **DOUBLE)
    for _ in range(steps):
        method.before_step(state)
        optimizer.zero_grad()
        (model(x, y).loss + method.penalty(state)).backward()
        method.after_backward(state)
        optimizer.step()
        state.step += 1
        method.after_step(state)
        if each is not None:
            each(state, x, y)
    return state


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adalora", {"init_r": 3, "target_r": 1, "deltaT": 2}),
        ("elalora", {"rank": 2, "slack": 2, "warmup": 0.0, "final": 0.1, "mask_interval": 2}),
        ("ardlora", {"rank": 2, "rank_max": 3, "heads": 3}),
    ],
)
def test_a_run_that_stops_while_ranks_move_goes_on_unchanged(name, options):
    """The defaults move no rank in the few steps of the contract."""
    check_method(name, shapes=((12, 8), (6, 9)), only=["resume"], **options).raise_if_failed()


class TestAdaLoRA:
    @pytest.mark.parametrize(("m", "n"), SHAPES)
    def test_peft_gives_the_same_outputs_gradients_and_penalty(self, m, n):
        peft = pytest.importorskip("peft", reason="needs the extra [hf]")
        torch.manual_seed(0)
        base = nn.Linear(n, m, **DOUBLE)
        ours = nn.Sequential(nn.Linear(n, m, **DOUBLE))
        ours[0].load_state_dict(base.state_dict())
        config = peft.AdaLoraConfig(init_r=3, target_r=2, lora_alpha=6, total_step=9, target_modules=["0"])
        theirs = peft.get_peft_model(nn.Sequential(base), config).double().base_model.model[0]
        mine = adapt(ours, "adalora", "0", init_r=3, target_r=2, alpha=6 * 3 / (3 + 1e-5))[0]
        P, E, Q = (getattr(theirs, f"lora_{k}")["default"] for k in "BEA")
        with torch.no_grad():
            for a, b in ((mine.P, P), (mine.values, E), (mine.Q, Q)):
                b.normal_()
                a.copy_(b.view_as(a))
        x, g = torch.randn(5, n, **DOUBLE, requires_grad=True), torch.randn(5, m, **DOUBLE)
        y, z = mine(x), theirs(x)
        torch.testing.assert_close(y, z, rtol=1e-12, atol=1e-12)
        got = torch.autograd.grad(y, [x, mine.P, mine.values, mine.Q], g)
        for a, b in zip(got, torch.autograd.grad(z, [x, P, E, Q], g)):
            torch.testing.assert_close(a, b.view_as(a), rtol=1e-11, atol=1e-12)

    def test_peft_cuts_the_same_triplets_in_the_same_steps(self):
        peft = pytest.importorskip("peft", reason="needs the extra [hf]")
        model, method = two("adalora", init_r=4, target_r=2, tinit=0.1, tfinal=0.3, deltaT=2, alpha=6 * 4 / (4 + 1e-5))
        base = Two()
        base.load_state_dict({key.replace("base_layer.", ""): t for key, t in model.state_dict().items()}, strict=False)
        config = peft.AdaLoraConfig(
            init_r=4, target_r=2, tinit=2, tfinal=6, deltaT=2, lora_alpha=6, total_step=20, orth_reg_weight=0.5,
            target_modules=["one", "two"],
        )  # fmt: skip
        theirs = peft.get_peft_model(base, config).double().base_model
        his = {name: getattr(theirs.model, name) for name in ("one", "two")}
        with torch.no_grad():
            for name, adapter in adapters_of(model).items():
                his[name].lora_B["default"].copy_(adapter.P)
                his[name].lora_A["default"].copy_(adapter.Q)
                his[name].lora_E["default"].zero_()
        optimizer = torch.optim.SGD([p for p in theirs.parameters() if p.requires_grad], lr=0.05)
        seen = []

        def each(state, x, y):
            optimizer.zero_grad()
            theirs(x, y).loss.backward()
            optimizer.step()
            theirs.update_and_allocate(state.step)
            for name, adapter in adapters_of(model).items():
                for mine, other in ((adapter.values, "lora_E"), (adapter.P, "lora_B"), (adapter.Q, "lora_A")):
                    torch.testing.assert_close(
                        mine.detach(), getattr(his[name], other)["default"].view_as(mine), rtol=1e-7, atol=1e-10
                    )
            seen.append(sum(method.ranks().values()))

        run(model, method, 20, each=each)
        assert seen[2:] == [8, 6, 8, 5, 8, 4, 8, 4, 8, 4, 8, 4, 4, 4, 4, 4, 4, 4]  # between two cuts all are back

    @pytest.mark.parametrize("total", [1, 2, 7, 40])
    def test_live_triplets_are_the_budget_which_falls_to_its_target(self, total):
        model, method = two("adalora", init_r=6, target_r=2, deltaT=1, tinit=0.25, tfinal=0.25)
        seen = []

        def each(state, x, y):
            seen.append(method.budget(state.step, total))
            if state.step > int(0.25 * total):
                assert sum(method.ranks().values()) == seen[-1]

        run(model, method, total, each=each)
        assert seen[-1] == 2 * 2
        assert seen == sorted(seen, reverse=True)
        assert all(b == 12 for b in seen[: int(0.25 * total)])

    def test_without_a_task_the_penalty_makes_P_and_Q_orthonormal(self):
        model, method = two("adalora", init_r=3, target_r=3, orth_reg_weight=1.0)
        for k in range(200):
            model.zero_grad()
            method.penalty(None).backward()
            for p in model.parameters():
                if p.grad is not None:
                    p.data -= 0.5 * 0.97**k * p.grad
        for adapter in adapters_of(model).values():
            torch.testing.assert_close(adapter.P.mT @ adapter.P, torch.eye(3, **DOUBLE), rtol=0, atol=1e-2)
            torch.testing.assert_close(adapter.Q @ adapter.Q.mT, torch.eye(3, **DOUBLE), rtol=0, atol=1e-2)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"target_r": 13}, "target_r of method 'adalora' is 13; it must be at most init_r, 12"),
            ({"tinit": 200.0}, r"tinit of method 'adalora' is 200\.0; it must be at least 0 and below 1"),
            ({"tinit": 0.5, "tfinal": 0.5}, "they are shares of all steps, and their sum must be below 1"),
            ({"beta1": 1.0}, "beta1 of method 'adalora'"),
            ({"orth_reg_weight": -0.1}, r"orth_reg_weight of method 'adalora' is -0\.1; it must be 0 or more"),
        ],
    )
    def test_bad_options_are_named(self, options, words):
        with pytest.raises(ValueError, match=words):
            METHODS["adalora"](**options)


def live_sum(model):
    """The update of each layer, from its live triplets alone."""
    found = {}
    for name, a in adapters_of(model).items():
        on, s = a.live.bool(), a.method.alpha / a.method.rank
        found[name] = (s * a.P[:, on] * a.values[on] @ a.Q[on]).detach()
    return found


class TestElaLoRA:
    def test_ranks_move_and_their_sum_does_not(self):
        model, method = two("elalora", rank=3, slack=2, b=2, k=2, mask_interval=3, warmup=0.1, final=0.2)
        seen = []

        def each(state, x, y):
            seen.append(method.ranks())
            for name, update in live_sum(model).items():
                torch.testing.assert_close(model.get_submodule(name).operator().to_dense().detach(), update)

        run(model, method, 60, each=each)
        assert all(sum(ranks.values()) == 6 for ranks in seen)
        assert all(1 <= r <= 5 for ranks in seen for r in ranks.values())
        assert len({tuple(ranks.values()) for ranks in seen}) > 1
        assert seen[5] == {"one": 3, "two": 3}  # the first move is the one after step 9
        assert len({tuple(ranks.values()) for ranks in seen[48:]}) == 1

    def test_a_move_takes_away_the_weakest_triplets_and_changes_nothing_else(self):
        model, method = two("elalora", rank=3, slack=3, b=2, k=2, mask_interval=1000)
        state = run(model, method, 8, total=80, factory=torch.optim.Adam, lr=0.05)
        worth = {name: method.worth(name) for name in method.layers}
        offered = sorted((w[j].item(), name, j) for name, w in worth.items() for j in w[:3].argsort()[:2].tolist())
        before = {name: a.operator().to_dense().detach() for name, a in adapters_of(model).items()}
        old = {name: (a.P.detach().clone(), a.Q.detach().clone()) for name, a in adapters_of(model).items()}
        lost = {name: torch.zeros_like(W) for name, W in before.items()}
        for _, name, j in offered[:2]:
            a = model.get_submodule(name)
            lost[name] += (method.alpha / 3 * a.P[:, j, None] * a.values[j] * a.Q[j]).detach()
        method._move(2, state)
        gained = dict.fromkeys(method.layers, 0)
        for _, name, _ in offered[2:]:
            gained[name] += 1
        for name, a in adapters_of(model).items():
            torch.testing.assert_close(a.operator().to_dense(), before[name] - lost[name], rtol=1e-12, atol=1e-14)
            given = sum(other == name for _, other, _ in offered[:2])
            assert method.ranks()[name] == 3 - given + gained[name]
            new = [j for j in range(6) if not torch.equal(a.P[:, j], old[name][0][:, j])]
            assert len(new) == gained[name]
            for j in new:
                others = a.live.bool() & (torch.arange(6) != j)
                assert a.values[j] == 0 != a.live[j]
                for v, rest in ((a.P[:, j], a.P[:, others]), (a.Q[j], a.Q[others].mT)):
                    torch.testing.assert_close(v.norm(), torch.ones((), **DOUBLE))
                    assert (v @ rest).abs().max() < 1e-14
                for key, index in (("P", (slice(None), j)), ("values", j), ("Q", j)):
                    moments = state.optimizer.state[a.tensors()[key]]
                    assert not moments["exp_avg"][index].any()
                    assert not moments["exp_avg_sq"][index].any()
                    assert moments["exp_avg"].any()
                    assert not method.averages[f"{name}/{key}/mean"][index].any()
                    assert not method.averages[f"{name}/{key}/spread"][index].any()

    def test_new_vectors_where_there_is_no_room(self):
        torch.manual_seed(0)
        model = adapt(nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1)), "elalora", "*", keep=(), rank=2, slack=2, k=1)
        method = methods_of(model)[0]
        method._move(1, State(model, torch.optim.SGD(model.parameters()), total_steps=10))
        assert sorted(method.ranks().values()) == [1, 3]
        assert all(p.isfinite().all() for p in model.parameters())

    def test_a_full_layer_gains_nothing_and_nobody_loses(self):
        model, method = two("elalora", rank=3, slack=0, b=2, k=2)
        run(model, method, 2, total=50)
        method._move(2, State(model, torch.optim.SGD(model.parameters()), total_steps=50))
        assert method.ranks() == {"one": 3, "two": 3}

    def test_without_moves_it_is_adalora_without_cuts(self):
        one, ela = two("elalora", rank=3, slack=2, b=0, mask_interval=1, orth_reg_weight=0.3)
        other, ada = two("adalora", init_r=3, target_r=3, orth_reg_weight=0.3)
        with torch.no_grad():
            for a, b in zip(adapters_of(one).values(), adapters_of(other).values()):
                b.P.copy_(a.P[:, :3])
                b.Q.copy_(a.Q[:3])
        for model, method in ((one, ela), (other, ada)):
            run(model, method, 12)
        for a, b in zip(adapters_of(one).values(), adapters_of(other).values()):
            assert a.values.any()
            torch.testing.assert_close(a.weight, b.weight, rtol=1e-12, atol=1e-14)
            torch.testing.assert_close(a.P[:, :3], b.P, rtol=1e-12, atol=1e-14)

    def test_fewer_and_fewer_ranks_move(self):
        method = METHODS["elalora"](b=4, warmup=0.1, final=0.3)
        asked = {}
        method.observe, method._move = lambda state: None, lambda b, state: asked.update({state.step: b})
        for step in range(1, 101):
            method.after_step(SimpleNamespace(step=step, total_steps=100))
        assert asked == {20: 4, 30: 4, 40: 4, 50: 3, 60: 2}  # round(4 (1 - (step - 10)^3 / 60^3))

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"k": 0}, "k of method 'elalora' is 0; it must be an integer of at least 1"),
            ({"slack": -1}, "slack of method 'elalora' is -1; it must be an integer of at least 0"),
            ({"b": False}, "b of method 'elalora' is False; it must be an integer of at least 0"),
            ({"warmup": 0.75}, r"warmup and final of method 'elalora' are 0\.75 and 0\.25; they are shares"),
        ],
    )
    def test_bad_options_are_named(self, options, words):
        with pytest.raises(ValueError, match=words):
            METHODS["elalora"](**options)


class TestARDLoRA:
    @pytest.mark.parametrize(("m", "n"), [(8, 8), (12, 7), (6, 11)])
    def test_whole_numbers_are_lora_of_that_rank(self, m, n):
        torch.manual_seed(0)
        layer = adapt(nn.Sequential(nn.Linear(n, m, **DOUBLE)), "ardlora", "0", rank=2, rank_max=4, heads=2)[0]
        with torch.no_grad():
            layer.B.normal_()
            layer.shift.copy_(torch.tensor([1, 3]) / 2 - 1)
        assert layer.method.ranks() == {"0": [1, 3]}
        assert layer.method.gates(layer.shift).tolist() == [[1, 0, 0, 0], [1, 1, 1, 0]]
        blocks = [layer.B[: m // 2, :1] @ layer.A[:1], layer.B[m // 2 :, :3] @ layer.A[4:7]]
        torch.testing.assert_close(layer.operator().to_dense(), 8 / 2 * torch.cat(blocks))

    def test_the_gates_sum_to_the_rank_and_the_open_one_has_the_gradient(self):
        torch.manual_seed(0)
        layer = adapt(nn.Sequential(nn.Linear(7, 6, **DOUBLE)), "ardlora", "0", rank=2, rank_max=5, heads=3)[0]
        f = torch.tensor([0.7, 1.2, 2.4], **DOUBLE)
        with torch.no_grad():
            layer.B.normal_()
            layer.shift.copy_(f - 1)
        torch.testing.assert_close(layer.method.gates(layer.shift).sum(1).detach(), 2 * f)
        G = torch.randn(6, 7, **DOUBLE)
        (got,) = torch.autograd.grad(layer.operator().to_dense(), layer.shift, G)
        want = [
            2 * (8 / 2) * layer.B[2 * h : 2 * h + 2, j] @ G[2 * h : 2 * h + 2] @ layer.A[5 * h + j]
            for h, j in enumerate((1, 2, 4))
        ]
        torch.testing.assert_close(got, torch.stack(want))

    def test_the_penalty_is_faded_in_and_counts_ranks_and_changes(self):
        model, method = two("ardlora", rank=2, rank_max=4, reg=0.1, beta=0.5, warmup=0.5)
        one, other = (a.shift for a in adapters_of(model).values())
        for shift in (one, other):
            shift.data.fill_(0.25)
        at = [method.penalty(SimpleNamespace(step=k, total_steps=8)).item() for k in range(8)]
        assert at == pytest.approx([0.1 * 2.5 * min((k + 1) / 4, 1) for k in range(8)])
        method.after_backward(None)
        one.data += 0.5
        other.data -= 0.125
        now = method.penalty(SimpleNamespace(step=7, total_steps=8))
        assert now.item() == pytest.approx(0.1 * (2.5 + 0.375 + 0.5 * 0.625))
        assert torch.autograd.grad(now, one)[0].item() == pytest.approx(0.1 * (1 + 0.5))
        assert method.penalty(SimpleNamespace(step=0, total_steps=1)).item() == pytest.approx(0.1 * 2.875)

    def test_a_heavy_penalty_leaves_one_rank_each(self):
        model, method = two("ardlora", rank=3, rank_max=6, reg=100.0, warmup=0.0)
        run(model, method, 20, factory=torch.optim.Adam, lr=0.1)
        assert method.ranks() == {"one": [1], "two": [1]}
        for a in adapters_of(model).values():
            torch.testing.assert_close(a.shift.detach(), torch.full((1,), 1 / 3 - 1, **DOUBLE))

    def test_with_the_factors_frozen_it_is_lora(self):
        model, method = two("ardlora", rank=3, rank_max=3, reg=0.0, alpha=6.0)
        other, lora = two("lora", rank=3, alpha=6.0)
        for a, b in zip(adapters_of(model).values(), adapters_of(other).values()):
            a.shift.requires_grad_(False).zero_()
            b.A.data.copy_(a.A)
        for one, its in ((model, method), (other, lora)):
            run(one, its, 10)
        for a, b in zip(adapters_of(model).values(), adapters_of(other).values()):
            assert a.B.any()
            torch.testing.assert_close(a.weight, b.weight, rtol=1e-12, atol=1e-14)

    def test_at_the_end_ranks_are_rounded(self):
        model, method = two("ardlora", rank=2, rank_max=4)
        one, other = adapters_of(model).values()
        one.shift.data.fill_(1.7 / 2 - 1)
        other.shift.data.fill_(0.4 / 2 - 1)
        method.after_step(None)
        method.finish(model)
        assert method.ranks() == {"one": [2], "two": [1]}
        one.B.data.normal_()
        x = torch.randn(3, 7, **DOUBLE)
        want = F.linear(x, one.linear.weight + 4 * one.B[:, :2] @ one.A[:2], one.linear.bias)
        torch.testing.assert_close(one(x), want)

    def test_bad_options_are_named(self):
        with pytest.raises(ValueError, match="one: heads of method 'ardlora' is 4, which does not divide 11 rows"):
            two("ardlora", heads=4)
        with pytest.raises(ValueError, match="rank of method 'ardlora' is 9; it must be at most rank_max, 8"):
            METHODS["ardlora"](rank=9)
        with pytest.raises(ValueError, match=r"reg of method 'ardlora' is -1\.0; it must be 0 or more"):
            METHODS["ardlora"](reg=-1.0)
