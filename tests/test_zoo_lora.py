"""The starts of LoRA and the rates of LoRA+, in float64 and against peft; the dense bottleneck."""

import copy
from importlib.metadata import version
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from surm_lite.adapters import METHODS, adapt, adapters_of, count, load_adapter, methods_of, save_adapter
from surm_lite.adapters.methods import bottleneck

DOUBLE = {"dtype": torch.float64}
SHAPES = [(8, 8), (12, 8), (6, 10), (7, 5)]
PEFT = "0.21.2"


def net(m, n, **like):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(n, m, **like))


def look(model, G):
    """A loss whose gradient of the weight is G."""
    layer = next(layer for layer in model.modules() if isinstance(layer, nn.Linear))
    return [lambda: (layer.weight * G).sum()] * 2


@pytest.mark.parametrize(("m", "n"), SHAPES)
class TestStarts:
    @pytest.mark.parametrize("rslora", [False, True])
    def test_pissa_takes_the_best_approximation(self, m, n, rslora):
        a = adapt(net(m, n, **DOUBLE), "lora", "0", rank=3, alpha=6.0, rslora=rslora, init="pissa")[0]
        s = 6 / 3**0.5 if rslora else 2
        U, S, Vh = torch.linalg.svd(a.linear.weight.detach())
        torch.testing.assert_close(s * a.B @ a.A, U[:, :3] * S[:3] @ Vh[:3])
        torch.testing.assert_close(a.B.mT @ a.B, a.A @ a.A.mT)  # shared out evenly
        torch.testing.assert_close((a.A @ a.A.mT).detach(), torch.diag(S[:3] / s))

    def test_olora_takes_the_first_of_q_and_r(self, m, n):
        a = adapt(net(m, n, **DOUBLE), "lora", "0", rank=3, init="olora")[0]
        torch.testing.assert_close((a.B.mT @ a.B).detach(), torch.eye(3, **DOUBLE))
        assert not a.A.tril(-1).any()
        rest = a.linear.weight - a.B @ a.A  # without the scale, as peft has it
        assert rest[:, :3].abs().max() < 1e-14
        assert (a.B.mT @ rest).abs().max() < 1e-14

    def test_the_first_step_of_lora_ga_is_the_best_part_of_the_gradient(self, m, n):
        model, r, s = net(m, n, **DOUBLE), 2, 4.0
        G = torch.randn(m, n, **DOUBLE)
        a = adapt(model, "lora", "0", rank=r, init="lora_ga", losses=look(model, G))[0]
        k = m**0.25 / 4
        for gram in (a.A @ a.A.mT, a.B.mT @ a.B):
            torch.testing.assert_close(gram.detach(), k**2 * torch.eye(r, **DOUBLE))
        for_A, for_B = torch.autograd.grad(a.operator().to_dense(), [a.A, a.B], G)
        step = s * (a.B @ for_A + for_B @ a.A)  # of gradient descent, to first order, its rate and sign left out
        U, S, Vh = torch.linalg.svd(G, full_matrices=False)
        torch.testing.assert_close(step.detach(), s**2 * k**2 * (U[:, : 2 * r] * S[: 2 * r]) @ Vh[: 2 * r])

    @pytest.mark.parametrize("init", ["pissa", "olora", "lora_ga"])
    def test_what_a_start_does_not_fill_starts_as_usual(self, m, n, init):
        model, k = net(m, n, **DOUBLE), min(m, n)
        a = adapt(model, "lora", "0", rank=k + 2, init=init, losses=look(model, torch.randn(m, n, **DOUBLE)))[0]
        assert not a.B[:, k:].any()
        assert a.A.any(1).all()
        assert a.A[k:].abs().max() <= n**-0.5
        assert a.B[:, :k].any() == (init != "lora_ga")  # it takes columns from r + 1 on, and there are none

    @pytest.mark.parametrize("init", ["pissa", "olora"])
    def test_peft_starts_there_too(self, m, n, init):
        """To float32, which is what peft asks for; the signs of singular vectors are free."""
        peft = pytest.importorskip("peft", reason="needs the extra [hf]")
        ours = adapt(net(m, n), "lora", "0", rank=3, alpha=6.0, init=init)[0]
        config = peft.LoraConfig(r=3, lora_alpha=6, init_lora_weights=init, target_modules=["0"])
        theirs = peft.get_peft_model(net(m, n), config).base_model.model[0]
        A, B = theirs.lora_A["default"].weight, theirs.lora_B["default"].weight
        signs = (A * ours.A).sum(1).sign()
        near = {"rtol": 1e-4, "atol": 1e-5}
        torch.testing.assert_close(signs[:, None] * A, ours.A, **near)
        torch.testing.assert_close(B * signs, ours.B, **near)
        torch.testing.assert_close(theirs.base_layer.weight, (ours.linear.weight - 2 * ours.B1 @ ours.A1), **near)
        ours.method.stir(ours, torch.Generator().manual_seed(0))
        with torch.no_grad():
            A.copy_(ours.A)
            B.copy_(ours.B)
        x, g = torch.randn(5, n, requires_grad=True), torch.randn(5, m)
        y, z = ours(x), theirs(x)
        torch.testing.assert_close(y, z, **near)
        mine, his = torch.autograd.grad(y, [x, ours.A, ours.B], g), torch.autograd.grad(z, [x, A, B], g)
        for one, other in zip(mine, his, strict=True):
            torch.testing.assert_close(one, other, **near)

    @pytest.mark.skipif(version("peft") != PEFT, reason=f"a fact about peft {PEFT}; look again at any other version")
    def test_pefts_lora_ga_scales_b_by_the_gradient_and_a_not_at_all(self, m, n):
        peft = pytest.importorskip("peft", reason="needs the extra [hf]")
        G, r = torch.randn(m, n, generator=torch.Generator().manual_seed(1)), 2
        base = net(m, n)
        base[0]._peft_loraga_grad = G
        config = peft.LoraConfig(
            r=r, lora_alpha=8, init_lora_weights="lora_ga", lora_ga_config=peft.LoraGAConfig(), target_modules=["0"]
        )
        theirs = peft.get_peft_model(base, config).base_model.model[0]
        S = torch.linalg.svdvals(G)[r : 2 * r]
        norms = theirs.lora_B["default"].weight.detach().norm(dim=0)
        torch.testing.assert_close(norms, m**0.25 / 4 * S, rtol=1e-3, atol=1e-4)
        assert torch.allclose(theirs.lora_A["default"].weight.norm(dim=1), torch.ones(r), atol=1e-4)


@pytest.mark.parametrize("kept", [0, 2])
def test_what_a_weight_of_small_rank_does_not_fill_can_still_learn(kept):
    """Of its zero singular values PiSSA would make pairs of zeros, whose gradients are zero for good."""
    base = net(8, 6, **DOUBLE)
    base[0].weight.data = torch.randn(8, kept, **DOUBLE) @ torch.randn(kept, 6, **DOUBLE)
    a = adapt(base, "lora", "0", rank=4, init="pissa")[0]
    torch.testing.assert_close(2 * a.B @ a.A, a.linear.weight)
    assert a.A.any(1).all()
    assert a.B.any(0).tolist() == [k < kept for k in range(4)]


@pytest.mark.parametrize("init", ["pissa", "olora", "lora_ga"])
def test_a_start_needs_finite_numbers_and_none_on_the_meta_device(init):
    base, said = net(4, 4), "gradient" if init == "lora_ga" else "weight"
    base[0].weight.data[1, 2] = torch.inf
    with pytest.raises(ValueError, match=f"0: init of method 'lora' is '{init}'; the {said} is not finite"):
        adapt(base, "lora", "0", init=init, losses=look(base, base[0].weight.detach().clone()))
    model = net(4, 6, device="meta")
    assert count(adapt(model, "lora", "0", rank=1, init=init, losses=look(model, model[0].weight))).stored == 20


@pytest.mark.parametrize("init", ["pissa", "lora_ga"])
def test_lora_pro_from_another_start_moves_along_the_projection_of_the_gradient(init):
    model, G = net(7, 9, **DOUBLE), torch.randn(7, 9, **DOUBLE)
    a = adapt(model, "lorapro", "0", rank=3, variant="sgd", init=init, losses=look(model, G))[0]
    before, (A, B) = a.weight.detach(), (a.A.detach().clone(), a.B.detach().clone())
    (a.weight * G).sum().backward()
    state = SimpleNamespace(step=0, lr=1e-6)
    a.method.after_backward(state)
    a.method.after_step(state)
    PA, PB = torch.linalg.pinv(A) @ A, B @ torch.linalg.pinv(B)
    torch.testing.assert_close((before - a.weight) / 1e-6, PB @ G + G @ PA - PB @ G @ PA, rtol=1e-4, atol=1e-4)


def test_lora_pro_has_no_rate_of_b():
    with pytest.raises(ValueError, match="unknown option of method 'lorapro' 'lr_ratio'"):
        adapt(net(4, 4), "lorapro", "0", lr_ratio=2.0)
    assert not METHODS["lorapro"](init="lora_ga").acts("param_groups")


def test_a_hook_of_a_subclass_acts_whatever_its_options_are():
    class Own(METHODS["lora"]):
        name = "own"

        def param_groups(self, model):
            return []

    acts = {hook: Own().acts(hook) for hook in ("param_groups", "calibrate", "after_step")}
    assert acts == {"param_groups": True, "calibrate": False, "after_step": False}


def test_a_start_is_in_the_file_so_that_a_rounded_base_has_the_same_update(tmp_path):
    model = adapt(net(8, 6), "lora", "0", rank=2, init="pissa")
    model[0].method.stir(model[0], torch.Generator().manual_seed(0))
    save_adapter(model, tmp_path / "a.safetensors")
    other = load_adapter(net(8, 6).to(torch.bfloat16), tmp_path / "a.safetensors")
    assert torch.equal(other[0].operator().to_dense(), model[0].operator().to_dense())
    assert count(model).stored == 2 * count(model).trained == 2 * 2 * 14


def test_lora_ga_asks_for_losses_and_a_copy_of_it_knows_what_it_saw():
    with pytest.raises(ValueError, match="losses: method 'lora' looks at data before it starts"):
        adapt(net(4, 4), "lora", "0", init="lora_ga")
    model = net(4, 4, **DOUBLE)
    adapt(model, "lora", "0", rank=1, init="lora_ga", losses=look(model, torch.randn(4, 4, **DOUBLE)))
    assert methods_of(model)[0].looked
    assert not METHODS["lora"](init="lora_ga").ready()


@pytest.mark.parametrize(("method", "options"), [("lora", {"init": "lora_ga"}), ("gora", {})])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_look_at_another_model_is_refused(method, options, frozen):
    """A copy, say: every gradient of this one would be zero, and the ranks and the start those of plain LoRA."""
    model = net(4, 4)
    losses = look(copy.deepcopy(model).requires_grad_(not frozen), torch.randn(4, 4))
    with pytest.raises(ValueError, match=r"losses\[0\] depends on none of the adapted layers; need losses"):
        adapt(model, method, "0", losses=losses, **options)


def test_lora_plus_gives_b_a_rate_of_its_own():
    model = adapt(net(4, 4), "lora", "0")
    assert methods_of(model)[0].param_groups(model) == []
    model = adapt(net(4, 4), "lora", "0", lr_ratio=16.0)
    (group,) = methods_of(model)[0].param_groups(model)
    assert group["lr_scale"] == 16
    assert [id(p) for p in group["params"]] == [id(model[0].B)]


def test_pefts_lora_plus_gives_the_same_rates():
    pytest.importorskip("peft", reason="needs the extra [hf]")
    from peft import LoraConfig, get_peft_model
    from peft.optimizers import create_loraplus_optimizer

    theirs = get_peft_model(net(4, 4), LoraConfig(r=2, target_modules=["0"]))
    groups = create_loraplus_optimizer(theirs, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    layer = theirs.base_model.model[0]
    assert rates[id(layer.lora_B["default"].weight)] == pytest.approx(16 * rates[id(layer.lora_A["default"].weight)])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"init": "pisa"}, "unknown init of method 'lora' 'pisa'; did you mean 'pissa'"),
        ({"init": "pissa", "alpha": -1.0}, "alpha of method 'lora' is -1.0; it must be above 0"),
        ({"lr_ratio": 0.0}, "lr_ratio of method 'lora' is 0.0; it must be above 0"),
        ({"looked": 1}, "looked of method 'lora' is 1; it must be True or False"),
    ],
)
@pytest.mark.usefixtures("own_errors")
def test_bad_options_of_lora(options, said):
    with pytest.raises(ValueError, match=said):
        METHODS["lora"](**options)


def test_peft_runs_the_starts_that_need_no_data_and_refuses_what_needs_the_loop():
    pytest.importorskip("peft", reason="needs the extra [hf]")
    from surm_lite.hf import SurmConfig

    for options, hook in (({"lr_ratio": 4.0}, "param_groups"), ({"init": "lora_ga"}, "calibrate")):
        with pytest.raises(ValueError, match=rf"structure is 'lora', which acts while it is trained \({hook}\)"):
            SurmConfig(structure="lora", options=options)
    SurmConfig(structure="lora", options={"init": "pissa"})


def behind(m, n, **options):
    model = adapt(net(m, n, **DOUBLE), "bottleneck", "0", structure="dense", **options)
    model[0].method.stir(model[0], torch.Generator().manual_seed(0))
    return model[0]


@pytest.mark.parametrize(("m", "n"), SHAPES)
class TestDenseBottleneck:
    @pytest.mark.parametrize(("activation", "f"), [("gelu", F.gelu), ("relu", F.relu)])
    def test_it_is_what_its_formula_says(self, m, n, activation, f):
        a = behind(m, n, reduction=2, activation=activation)
        assert a.down.shape == (m // 2, m)
        for batch in [(), (3,), (2, 40), (0,)]:
            x = torch.randn(*batch, n, **DOUBLE)
            y = F.linear(x, a.linear.weight, a.linear.bias)
            want = y + f(y @ a.down.mT + a.inner) @ a.up.mT + a.offset
            torch.testing.assert_close(a(x), want)

    def test_without_its_activation_it_is_a_factor_of_the_weight(self, m, n, monkeypatch):
        monkeypatch.setitem(bottleneck.ACTIVATIONS, "gelu", lambda h: h)
        a = behind(m, n, reduction=2)
        T = torch.eye(m, **DOUBLE) + a.up @ a.down
        x = torch.randn(3, n, **DOUBLE)
        want = F.linear(x, T @ a.linear.weight, T @ a.linear.bias + a.up @ a.inner + a.offset)
        torch.testing.assert_close(a(x), want)

    def test_sizes_are_the_widths_that_there_are(self, m, n):
        method = METHODS["bottleneck"](structure="dense")
        widths = [m // options["reduction"] for options in method.sizes(m, n)]
        assert widths == sorted({m // d for d in range(1, m + 1)})


def test_the_bottlenecks_of_houlsby_and_pfeiffer_in_numbers():
    """Width 8 on ViT-B, as in the table of the specification: behind both projections, and behind the MLP's alone."""
    block = {"proj": nn.Linear(768, 768, device="meta"), "fc2": nn.Linear(3072, 768, device="meta")}
    for targets, numbers in ((("proj", "fc2"), 313_536), ("fc2", 156_768)):
        model = adapt(nn.ModuleDict(block), "bottleneck", targets, structure="dense", reduction=96, keep=())
        assert 12 * count(model).trained == numbers
        assert len(adapters_of(model)) == (2 if len(targets) == 2 else 1)
    assert METHODS["bottleneck"](structure="dense").n_params(768, 3072) == 2 * 48 * 768 + 48 + 768  # reduction 16


def test_bad_options_of_the_bottleneck():
    with pytest.raises(ValueError, match="activation of method 'bottleneck' is 'tanh'; it must be 'gelu' or 'relu'"):
        METHODS["bottleneck"](structure="dense", activation="tanh")
    with pytest.raises(ValueError, match=r"is 'relu' \(its slope at 0 is 0, .*\); it must be 'gelu'"):
        METHODS["bottleneck"](activation="relu")
    with pytest.raises(ValueError, match="reduction of method 'bottleneck' is 4; structure 'ldr' has no bottleneck"):
        METHODS["bottleneck"](structure="ldr", reduction=4)
    with pytest.raises(ValueError, match="unknown structure of method 'bottleneck' 'dnse'; did you mean 'dense'"):
        METHODS["bottleneck"](structure="dnse")
