"""BoRA, LoLDU and OFT: their identities in float64, and peft as an oracle where it has the method."""

import copy
from importlib.metadata import version

import pytest
import torch
from torch import nn

from surm_lite.adapters import METHODS, adapt, load_adapter, save_adapter
from surm_lite.adapters.methods.loldu import ldu
from surm_lite.adapters.methods.oft import rotations

DOUBLE = {"dtype": torch.float64}
SHAPES = [(8, 8), (12, 8), (6, 10), (7, 5)]


def adapted(method, m, n, moved=True, **options):
    torch.manual_seed(0)
    model = adapt(nn.Sequential(nn.Linear(n, m, **DOUBLE)), method, "0", **options)
    if moved:
        model[0].method.stir(model[0], torch.Generator().manual_seed(0))
    return model[0]


def gradients(adapter, G):
    names = [name for name, _ in adapter.named_parameters(recurse=False)]
    return dict(zip(names, torch.autograd.grad(adapter.weight, [getattr(adapter, name) for name in names], G)))


@pytest.mark.parametrize(("m", "n"), SHAPES)
class TestBoRA:
    def test_the_definition_rows_first(self, m, n):
        a = adapted("bora", m, n, rank=3, alpha=6.0)
        V = a.linear.weight + 2 * a.B @ a.A
        H = torch.diag(a.rows) @ torch.diag(1 / V.norm(dim=1)) @ V
        W = H @ torch.diag(1 / H.norm(dim=0)) @ torch.diag(a.columns)
        torch.testing.assert_close(a.weight, W, rtol=1e-13, atol=1e-14)
        torch.testing.assert_close(a.weight.norm(dim=0), a.columns.abs(), rtol=1e-13, atol=0)
        assert not torch.allclose(a.weight.norm(dim=1), a.rows.abs(), rtol=1e-2)

    def test_a_common_factor_of_the_rows_changes_nothing(self, m, n):
        a = adapted("bora", m, n, rank=2)
        before = a.weight.detach()
        with torch.no_grad():
            a.rows.mul_(7.0)
        torch.testing.assert_close(a.weight.detach(), before, rtol=1e-13, atol=1e-14)

    def test_detached_norms_push_along_that_idle_direction(self, m, n):
        G, pushed = torch.randn(m, n, generator=torch.Generator().manual_seed(1), **DOUBLE), {}
        for detach in (True, False):
            a = adapted("bora", m, n, rank=2, detach=detach)
            pushed[detach] = float(gradients(a, G)["rows"] @ a.rows.detach())
        assert abs(pushed[False]) < 1e-13
        assert abs(pushed[True]) > 0.01

    @pytest.mark.parametrize("detach", [True, False])
    def test_gradient_formulas(self, m, n, detach):
        a = adapted("bora", m, n, rank=2, detach=detach)
        G = torch.randn(m, n, **DOUBLE)
        V = (a.linear.weight + 4 * a.B @ a.A).detach()
        rows, columns = a.rows.detach()[:, None], a.columns.detach()
        c = V.norm(dim=1, keepdim=True)
        H = rows * V / c
        k, v = H.norm(dim=0), V / c
        h = H / k
        for_H = columns / k * (G if detach else G - h * (h * G).sum(0))
        for_V = rows / c * (for_H if detach else for_H - v * (v * for_H).sum(1, keepdim=True))
        want = {
            "A": 4 * a.B.mT @ for_V,
            "B": 4 * for_V @ a.A.mT,
            "rows": (for_H * v).sum(1),
            "columns": (G * h).sum(0),
        }
        got = gradients(a, G)
        assert got.keys() == want.keys()
        for name, value in want.items():
            torch.testing.assert_close(got[name], value.detach())

    def test_with_rows_at_their_norms_it_is_dora_of_the_inputs(self, m, n):
        a = adapted("bora", m, n, rank=2)
        dora = METHODS["dora"](rank=2, axis="in")
        V = a.linear.weight + 4 * a.B @ a.A
        tensors = {"A": a.A, "B": a.B, "rows": V.norm(dim=1), "columns": a.columns, "magnitude": a.columns}
        mine, theirs = (method.whole(a.linear.weight, None, tensors)[0] for method in (a.method, dora))
        torch.testing.assert_close(mine, theirs, rtol=1e-14, atol=1e-15)

    def test_the_change_has_full_rank(self, m, n):
        a = adapted("bora", m, n, rank=1)
        assert torch.linalg.matrix_rank(a.weight - a.linear.weight) == min(m, n)


def test_a_row_and_a_column_of_zeros_stay_so():
    model = nn.Sequential(nn.Linear(4, 3))
    with torch.no_grad():
        model[0].weight[1] = 0
        model[0].weight[:, 2] = 0
    before = model[0].weight.detach().clone()
    adapt(model, "bora", "0", rank=1)
    assert torch.equal(model[0].weight, before)
    model(torch.randn(2, 4)).sum().backward()
    assert all(p.grad.isfinite().all() for p in model[0].parameters(recurse=False))


@pytest.mark.parametrize(("m", "n"), SHAPES)
class TestLoLDU:
    @pytest.mark.parametrize("r", [1, 3, 5])
    def test_what_is_trained_is_the_cross_approximation(self, m, n, r):
        W = torch.randn(m, n, generator=torch.Generator().manual_seed(m * n), **DOUBLE)
        left, d, right = ldu(W, r)
        part = left * d @ right
        P = torch.linalg.lu(W)[0]
        rows = P.argmax(0)[:r]  # the pivot rows in their order
        cross = W[:, :r] @ torch.linalg.solve(W[rows][:, :r], W[rows])
        torch.testing.assert_close(part, cross, rtol=1e-11, atol=1e-12)
        rest = P.mT @ (W - part)
        assert rest[:r].abs().max() < 1e-13
        assert rest[:, :r].abs().max() < 1e-13
        V = P.mT @ W
        schur = V[r:, r:] - V[r:, :r] @ torch.linalg.solve(V[:r, :r], V[:r, r:])
        torch.testing.assert_close(rest[r:, r:], schur, rtol=1e-11, atol=1e-12)

    def test_the_diagonal_of_full_rank_is_the_whole_weight(self, m, n):
        a = adapted("loldu", m, n, moved=False)
        with torch.no_grad():
            a.z.zero_()
        assert a.weight.abs().max() < 1e-14  # nothing of W0 is left
        assert len(a.z) == min(m, n)

    def test_update_and_gradient(self, m, n):
        a = adapted("loldu", m, n, rank=3, alpha=0.5)
        P, L, R = torch.linalg.lu(a.linear.weight.detach())
        d = R.diagonal()[:3]
        U = R[:3] / d[:, None]
        S = 0.5 * P @ L[:, :3] @ torch.diag(a.z - d) @ U
        torch.testing.assert_close(a.weight - a.linear.weight, S, rtol=1e-11, atol=1e-12)
        G = torch.randn(m, n, **DOUBLE)
        want = 0.5 * torch.stack([(P @ L)[:, i] @ G @ U[i] for i in range(3)])
        torch.testing.assert_close(gradients(a, G)["z"], want.detach())

    def test_the_other_starts_take_the_weight_away(self, m, n):
        d = ldu(adapted("loldu", m, n).linear.weight.detach(), min(m, n))[1]
        left = {}
        for start in ("uniform", "mean", "zeros"):
            a = adapted("loldu", m, n, moved=False, start=start)
            assert not a.method.exact_at_init
            left[start] = a.z.detach()
        assert torch.equal(left["zeros"], torch.zeros_like(d))
        torch.testing.assert_close(left["mean"], d.mean().expand_as(d))
        assert (left["uniform"].abs() <= d.mean().abs() / 2).all()
        assert left["uniform"].unique().numel() == len(d)

    def test_a_trained_factor(self, m, n):
        a = adapted("loldu", m, n, rank=2, scaled=True)
        left, d, right = ldu(a.linear.weight.detach(), 2)
        S = a.scale * left * a.z @ right - left * d @ right
        torch.testing.assert_close(a.weight - a.linear.weight, S)
        assert a.method.n_params(m, n) == 3


class TestLoLDUWhereItIsSubtle:
    def test_a_pivot_of_zero_keeps_its_direction(self):
        W = torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 1.0], [3.0, 6.0, 2.0]], **DOUBLE)  # column 1 is twice column 0
        left, d, right = ldu(W, 3)
        assert abs(d[1]) < 1e-15
        assert left.isfinite().all()
        assert right.isfinite().all()
        assert (right[1] != 0).any()
        for weight in (W, torch.zeros(3, 3, **DOUBLE)):
            model = nn.Sequential(nn.Linear(3, 3, **DOUBLE))
            model[0].weight.data.copy_(weight)
            adapt(model, "loldu", "0")
            model(torch.randn(4, 3, **DOUBLE)).square().sum().backward()
            assert model[0].z.grad.isfinite().all()
            assert model[0].z.grad.all()  # every direction is alive

    def test_on_top_of_a_trained_adapter_a_file_gives_the_same_bits(self, tmp_path):
        """The factors are rebuilt before the adapter beneath has its numbers: they must not depend on it."""
        torch.manual_seed(0)
        plain = nn.Sequential(nn.Linear(6, 5))
        model = adapt(copy.deepcopy(plain), "lora", "0", rank=2)
        model[0].method.stir(model[0], torch.Generator().manual_seed(1))
        adapt(model, "loldu", "0", rank=3)
        model[0].method.stir(model[0], torch.Generator().manual_seed(2))
        save_adapter(model, tmp_path / "stack.safetensors")
        x = torch.randn(3, 6)
        assert torch.equal(load_adapter(plain, tmp_path / "stack.safetensors")(x), model(x))

    def test_a_misspelt_start_is_refused_with_its_near_name(self):
        with pytest.raises(ValueError, match="unknown start of method 'loldu' 'regulr'; did you mean 'regular'"):
            METHODS["loldu"](start="regulr")


def skew_blocks(skew, b):
    """The skew-symmetric matrices of these numbers above the diagonals, entry by entry."""
    Q = torch.zeros(len(skew), b, b, **DOUBLE)
    for block, numbers in zip(Q, skew.detach()):
        places = [(i, j) for i in range(b) for j in range(i + 1, b)]
        for (i, j), number in zip(places, numbers, strict=True):
            block[i, j], block[j, i] = number, -number
    return Q


@pytest.mark.parametrize(("m", "n", "b"), [(8, 8, 4), (12, 8, 8), (6, 10, 5), (7, 5, 5), (3, 6, 2)])
class TestOFT:
    def test_the_definition(self, m, n, b):
        a = adapted("oft", m, n, oft_block_size=b)
        Q, I = skew_blocks(a.skew, b), torch.eye(b, **DOUBLE)
        R = torch.block_diag(*((I + q) @ torch.linalg.inv(I - q) for q in Q))
        torch.testing.assert_close(a.weight.detach(), a.linear.weight.detach() @ R.mT)

    def test_lengths_angles_and_singular_values_stay(self, m, n, b):
        a = adapted("oft", m, n, oft_block_size=b)
        W, W0 = a.weight.detach(), a.linear.weight.detach()
        torch.testing.assert_close(W @ W.mT, W0 @ W0.mT, rtol=1e-12, atol=1e-13)
        assert (W - W0).abs().max() > 0.1
        R = rotations(a.skew, n).detach()
        torch.testing.assert_close(torch.linalg.det(R), torch.ones(n // b, **DOUBLE))

    def test_gradient_at_the_start(self, m, n, b):
        """W = W0 (I + 2 Q + ...)^T: the gradient of Q is 2 (G^T W0), its skew part, block by block."""
        a = adapted("oft", m, n, moved=False, oft_block_size=b)
        G = torch.randn(m, n, **DOUBLE)
        (got,) = torch.autograd.grad(a.weight, a.skew, G)
        whole = 2 * G.mT @ a.linear.weight.detach()
        rows, columns = torch.triu_indices(b, b, 1)
        blocks = [whole[k : k + b, k : k + b] for k in range(0, n, b)]
        torch.testing.assert_close(got, torch.stack([(B - B.mT)[rows, columns] for B in blocks]))

    @pytest.mark.parametrize("series", [False, True])
    @pytest.mark.skipif(version("peft") != "0.21.2", reason="a fact about peft 0.21.2; look again at any other version")
    def test_peft_agrees_with_its_series_and_turns_the_other_way_without(self, m, n, b, series):
        peft = pytest.importorskip("peft", reason="needs the extra [hf]")
        ours = adapted("oft", m, n, oft_block_size=b)
        with torch.no_grad():
            ours.skew.mul_(0.1)  # the series converges
        base = nn.Linear(n, m, **DOUBLE)
        base.load_state_dict(ours.linear.state_dict())
        terms = {"use_cayley_neumann": series, "num_cayley_neumann_terms": 60}
        config = peft.OFTConfig(oft_block_size=b, target_modules=["0"], **terms)
        theirs = peft.get_peft_model(nn.Sequential(base), config).double().base_model.model[0]
        his, sign = theirs.oft_R["default"].weight, 1 if series else -1
        with torch.no_grad():
            his.copy_(sign * ours.skew)
        x, g = torch.randn(5, n, **DOUBLE, requires_grad=True), torch.randn(5, m, **DOUBLE)
        y, z = ours(x), theirs(x)
        torch.testing.assert_close(y, z, rtol=1e-11, atol=1e-12)
        mine, hers = torch.autograd.grad(y, [x, ours.skew], g), torch.autograd.grad(z, [x, his], g)
        torch.testing.assert_close(mine[0], hers[0], rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(mine[1], sign * hers[1], rtol=1e-10, atol=1e-11)


def test_the_block_that_nobody_chose_is_near_32_and_fits():
    chosen = {n: METHODS["oft"]()._block(n) for n in (768, 384, 34, 48, 7, 997, 1)}
    assert chosen == {768: 32, 384: 32, 34: 34, 48: 24, 7: 7, 997: 997, 1: 1}
    with pytest.raises(ValueError, match="0: oft_block_size is 3; it must divide the 8 inputs of the layer"):
        adapted("oft", 6, 8, oft_block_size=3)
