"""C3A, GraLoRA, MoRe, MiSS and Bat: their identities in float64, and peft as an oracle where it has the method."""

from math import sqrt

import pytest
import torch
from torch import nn

from surm_lite.adapters import METHODS, adapt
from surm_lite.checks import check_family
from surm_lite.matrices.families.block_low_rank import BlockLowRank

DOUBLE = {"dtype": torch.float64}
SHAPES = [(8, 8), (12, 8), (6, 10)]


def randn(*shape):
    return torch.randn(*shape, **DOUBLE)


def adapted(method, m, n, **options):
    torch.manual_seed(0)
    model = adapt(nn.Sequential(nn.Linear(n, m, **DOUBLE)), method, "0", **options)
    model[0].method.stir(model[0], torch.Generator().manual_seed(0))
    return model[0]


def update(adapter):
    return adapter.operator().to_dense().detach()


def begin(method, m, n, **options):
    return METHODS[method](**options).begin("0", randn(m, n), torch.Generator().manual_seed(0))


def peft_layer(config, linear):
    """peft's layer on the same weight, in float64."""
    peft = pytest.importorskip("peft", reason="needs the extra [hf]")
    name, options = config
    base = nn.Linear(linear.in_features, linear.out_features, **DOUBLE)
    base.load_state_dict(linear.state_dict())
    model = peft.get_peft_model(nn.Sequential(base), getattr(peft, name)(target_modules=["0"], **options))
    return model.double().base_model.model[0]


def same_as_peft(ours, theirs, pairs, shape=()):
    """Equal outputs, input gradients and parameter gradients; pairs: (our name, peft's tensor, ours -> peft's)."""
    with torch.no_grad():
        for name, his, to_his in pairs:
            his.copy_(to_his(ours.tensors()[name]))
    x, g = randn(5, *shape, ours.in_features).requires_grad_(), randn(5, *shape, ours.out_features)
    y, z = ours(x), theirs(x)
    torch.testing.assert_close(y, z, rtol=1e-12, atol=1e-12)
    got = torch.autograd.grad(y, [x, *(ours.tensors()[name] for name, _, _ in pairs)], g)
    want = torch.autograd.grad(z, [x, *(his for _, his, _ in pairs)], g)
    torch.testing.assert_close(got[0], want[0], rtol=1e-11, atol=1e-12)
    for (_, _, to_his), a, b in zip(pairs, got[1:], want[1:]):
        torch.testing.assert_close(to_his(a), b, rtol=1e-11, atol=1e-12)


class TestC3A:
    @pytest.mark.parametrize(("m", "n", "b"), [(8, 8, 8), (8, 12, 4), (15, 10, 5), (6, 6, 1)])
    def test_it_is_the_circulant_method_divided_by_the_width(self, m, n, b):
        ours, other = adapted("c3a", m, n, block_size=b, alpha=3.0), adapted("circulant", m, n, block=b, alpha=3 / n)
        assert torch.equal(update(ours), update(other))
        kernel = ours.kernel.detach()
        blocks = update(ours).unflatten(0, (-1, b)).unflatten(2, (-1, b))
        for j in range(b):
            for t in range(b):  # by first columns: entry (j, t) is k[(j - t) mod b]
                torch.testing.assert_close(blocks[:, j, :, t], 3 / n * kernel[..., (j - t) % b])

    @pytest.mark.parametrize("tokens", [1, 30])
    def test_gradients_are_the_formulas_of_the_transform(self, tokens):
        """In first rows k: dL/dx is a convolution of g with k, dL/dk a correlation of g with x."""
        ours, F, Fi = adapted("c3a", 10, 15, block_size=5), torch.fft.fft, torch.fft.ifft
        k = rows_of(ours.kernel.detach()) / 15
        x, g = randn(tokens, 15).requires_grad_(), randn(tokens, 10)
        y = ours(x)
        closed = F(torch.einsum("pqb,tqb->tpb", F(k), Fi(x.detach().unflatten(-1, (3, 5))))).real.flatten(1)
        torch.testing.assert_close(y - ours.base_layer(x), closed)
        dx, dk = torch.autograd.grad(y, [x, ours.kernel], g)
        gb, xb = g.unflatten(-1, (2, 5)), x.detach().unflatten(-1, (3, 5))
        for_x = Fi(torch.einsum("tpb,pqb->tqb", F(gb), F(k))).real.flatten(1) + g @ ours.linear.weight
        for_k = Fi(torch.einsum("tpb,tqb->pqb", F(gb).conj(), F(xb))).real / 15
        torch.testing.assert_close(dx, for_x.detach())
        torch.testing.assert_close(rows_of(dk), for_k)

    def test_shift_equivariance(self):
        ours, x = adapted("c3a", 7, 7), randn(7)
        torch.testing.assert_close(update(ours) @ x.roll(2), (update(ours) @ x).roll(2))

    def test_ranks(self):
        ours = adapted("c3a", 8, 8)
        with torch.no_grad():
            ours.kernel.copy_(torch.tensor([1.0, 0, 0, 0, -1, 0, 0, 0]))  # 1 - x^4 shares four roots with x^8 - 1
        assert torch.linalg.matrix_rank(update(ours)) == 4
        blocks = adapted("c3a", 8, 12, block_size=4)
        with torch.no_grad():
            blocks.kernel[0] = blocks.kernel[1]
            blocks.kernel[:, :, 1:] *= 0.5
        slices = torch.fft.fft(blocks.kernel.detach()).movedim(-1, 0)
        assert torch.linalg.matrix_rank(update(blocks)) == torch.linalg.matrix_rank(slices).sum() == 4

    def test_block_size_that_does_not_fit_is_named(self):
        with pytest.raises(ValueError, match="block_size is 3; it must divide both sides of the 6 x 8 layer"):
            adapted("c3a", 6, 8, block_size=3)


def rows_of(columns):
    """First columns of circulants -> their first rows."""
    return torch.cat([columns[..., :1], columns[..., 1:].flip(-1)], -1)


class TestGraLoRA:
    @pytest.mark.parametrize("hybrid", [0, 2])
    @pytest.mark.parametrize("k", [1, 2])
    @pytest.mark.parametrize(("m", "n"), SHAPES)
    @pytest.mark.parametrize("shape", [(), (3,)])
    def test_peft(self, m, n, k, hybrid, shape):
        ours = adapted("gralora", m, n, rank=4, alpha=6.0, gralora_k=k, hybrid_r=hybrid)
        config = ("GraloraConfig", {"r": 4, "alpha": 6, "gralora_k": k, "hybrid_r": hybrid})
        theirs = peft_layer(config, ours.linear)
        pairs = [  # theirs: A (q, i/k, (p s)), B (p, (q s), o/k)
            ("A", theirs.gralora_A["default"], lambda A: A.permute(1, 3, 0, 2).flatten(2)),
            ("B", theirs.gralora_B["default"], lambda B: B.permute(0, 1, 3, 2).flatten(1, 2)),
        ]
        for key in "AB" if hybrid else "":
            general = getattr(theirs, f"gralora_{key}_general")["default"].weight
            pairs.append((f"{key}_general", general, lambda t: t))
        same_as_peft(ours, theirs, pairs, shape)

    def test_a_grid_of_one_is_lora(self):
        ours, lora = (
            adapted("gralora", 6, 10, rank=3, alpha=6.0, gralora_k=1),
            adapted("lora", 6, 10, rank=3, alpha=6.0),
        )
        with torch.no_grad():
            lora.A.copy_(ours.A[0, 0])
            lora.B.copy_(ours.B[0, 0])
        torch.testing.assert_close(update(ours), update(lora))

    @pytest.mark.parametrize(("k", "hybrid", "rank"), [(1, 0, 4), (2, 0, 8), (4, 0, 16), (2, 4, 12)])
    def test_rank_is_k_times_that_of_lora(self, k, hybrid, rank):
        assert (
            torch.linalg.matrix_rank(update(adapted("gralora", 32, 24, rank=4, gralora_k=k, hybrid_r=hybrid))) == rank
        )

    @pytest.mark.parametrize(("k", "columns"), [(1, 16), (2, 8), (4, 4)])
    def test_an_outlying_input_changes_its_own_columns_only(self, k, columns):
        """The first step on a gradient that lives in one column."""
        torch.manual_seed(0)
        ours = adapt(nn.Sequential(nn.Linear(16, 8, **DOUBLE)), "gralora", "0", rank=4, gralora_k=k)[0]
        G = torch.zeros(8, 16, **DOUBLE)
        G[:, 9] = torch.randn(8, **DOUBLE)
        (step,) = torch.autograd.grad(ours.operator().to_dense(), ours.B, G)
        with torch.no_grad():
            ours.B.sub_(step)
        changed = update(ours).abs().amax(0) > 0
        assert changed.sum() == columns
        assert changed[9]

    def test_start(self):
        start = begin("gralora", 40, 600, rank=8, gralora_k=2, hybrid_r=3)
        assert not start["B"].any()
        assert not start["B_general"].any()
        assert sqrt(2 / 600) * 0.99 < start["A"].abs().max() <= sqrt(2 / 600)
        assert 600**-0.5 * 0.99 < start["A_general"].abs().max() <= 600**-0.5

    def test_the_grid_of_the_default(self):
        grids = {shape: begin("gralora", *shape)["A"].shape[0] for shape in [(8, 6), (7, 6), (8, 5)]}
        assert grids == {(8, 6): 2, (7, 6): 1, (8, 5): 1}
        assert begin("gralora", 8, 6, rank=3)["A"].shape[0] == 1

    def test_wrong_grids_are_named(self):
        with pytest.raises(ValueError, match="gralora_k of method 'gralora' is 3; it must divide rank=8"):
            METHODS["gralora"](gralora_k=3)
        with pytest.raises(ValueError, match="gralora_k is 4; it must divide both sides of the 6 x 8 layer"):
            adapted("gralora", 6, 8, gralora_k=4)
        with pytest.raises(ValueError, match="hybrid_r of method 'gralora' is -1"):
            METHODS["gralora"](hybrid_r=-1)

    @pytest.mark.parametrize("budget", [{}, {"rank": 3}, {"grid": 1, "rank": 2}])
    def test_its_matrix_keeps_the_contract(self, budget):
        def definition(A):
            grid = [[A.B[p, q] @ A.A[p, q] for q in range(A.A.shape[1])] for p in range(len(A.B))]
            return torch.cat([torch.cat(row, 1) for row in grid])

        check_family(BlockLowRank, dense=definition, quick=bool(budget), **budget).raise_if_failed()


class TestMonarch:
    @pytest.mark.parametrize(("m", "n", "N"), [(8, 8, 2), (12, 8, 4), (6, 9, 3)])
    def test_entries(self, m, n, N):
        """Row (o, q), column (k, i): outputs interleaved, inputs in blocks."""
        ours = adapted("monarch", m, n, nblocks=N, alpha=2.0)
        W, L, R = update(ours), ours.L.detach(), ours.R.detach()
        for row in range(m):
            for column in range(n):
                (o, q), (k, i) = divmod(row, N), divmod(column, n // N)
                torch.testing.assert_close(W[row, column], 2 * L[q, o, k] * R[k, q, i])

    def test_full_rank_from_two_thin_factors(self):
        ours = adapted("monarch", 64, 64, nblocks=4)
        assert torch.linalg.matrix_rank(update(ours)) == 16
        assert ours.method.n_params(64, 64) == 512

    def test_it_is_gralora_with_blocks_of_rank_one_and_shuffled_outputs(self):
        m, n, N = 12, 8, 2
        ours, grid = adapted("monarch", m, n, nblocks=N), adapted("gralora", m, n, rank=N, gralora_k=N, alpha=2.0)
        with torch.no_grad():  # B (p, q, o, 1) is L (p, o, q); A (p, q, 1, i) is R (q, p, i)
            grid.B.copy_(ours.L.permute(0, 2, 1)[..., None])
            grid.A.copy_(ours.R.permute(1, 0, 2)[:, :, None])
        torch.testing.assert_close(update(ours), update(grid).unflatten(0, (N, -1)).transpose(0, 1).flatten(0, 1))

    def test_start_and_default(self):
        start = begin("monarch", 40, 600)
        assert not start["L"].any()
        assert sqrt(4 / 600) * 0.99 < start["R"].abs().max() <= sqrt(4 / 600)
        assert begin("monarch", 6, 9)["L"].shape == (3, 2, 3)
        with pytest.raises(ValueError, match="nblocks is 4; it must divide both sides of the 6 x 8 layer"):
            begin("monarch", 6, 8, nblocks=4)


class TestMiSS:
    @pytest.mark.parametrize("mini", [None, 2])
    @pytest.mark.parametrize("r", [2, 3, 4])
    @pytest.mark.parametrize(("m", "n"), SHAPES)
    def test_peft_also_where_the_tile_does_not_divide_the_layer(self, m, n, r, mini):
        ours = adapted("miss", m, n, rank=r, mini_r=mini)
        theirs = peft_layer(
            ("MissConfig", {"r": r} | ({"mini_r": mini, "init_weights": "mini"} if mini else {})), ours.linear
        )
        same_as_peft(ours, theirs, [("D", theirs.miss_block["default"], lambda D: D.mT)])

    @pytest.mark.parametrize(("m", "n"), [(8, 8), (7, 12), (12, 5)])
    def test_the_tile_repeats(self, m, n):
        D = {axis: adapted("miss", m, n, rank=3, axis=axis) for axis in ("col", "row")}
        i, j = torch.arange(m)[:, None], torch.arange(n)
        assert torch.equal(update(D["col"]), D["col"].D.detach()[i, j % 3])
        assert torch.equal(update(D["row"]), D["row"].D.detach()[i % 3, j])
        mini = adapted("miss", m, n, rank=3, axis="row", mini_r=4)
        assert torch.equal(update(mini), mini.D.detach()[i % 3, j % 4])
        assert torch.linalg.matrix_rank(update(D["col"])) == torch.linalg.matrix_rank(update(D["row"])) == 3

    def test_it_is_lora_with_a_frozen_tiled_identity_and_moves_at_once(self):
        ours = adapted("miss", 6, 8, rank=3)
        A = torch.eye(3, **DOUBLE).repeat(1, 3)[:, :8]
        torch.testing.assert_close(update(ours), ours.D.detach() @ A)
        start = adapt(nn.Sequential(nn.Linear(8, 6, **DOUBLE)), "miss", "0", rank=3)[0]
        G = randn(6, 8)
        (step,) = torch.autograd.grad(start.operator().to_dense(), start.D, G)
        torch.testing.assert_close(step, G[:, :3] + G[:, 3:6] + nn.functional.pad(G[:, 6:], (0, 1)))

    def test_a_layer_narrower_than_the_tile_cuts_it(self):
        assert begin("miss", 6, 4, rank=8)["D"].shape == (6, 4)
        assert begin("miss", 6, 4, rank=8, axis="row")["D"].shape == (6, 4)
        assert begin("miss", 6, 4, rank=2, mini_r=9)["D"].shape == (6, 2)
        assert begin("miss", 6, 4, rank=2, axis="row", mini_r=3)["D"].shape == (2, 3)

    def test_bone_is_another_name(self):
        assert torch.equal(update(adapted("bone", 6, 8, rank=3)), update(adapted("miss", 6, 8, rank=3)))
        assert METHODS["bone"]().options() == METHODS["miss"]().options()
        with pytest.raises(ValueError, match="axis of method 'bone' 'rwo'; did you mean 'row'"):
            METHODS["bone"](axis="rwo")


class TestBat:
    @pytest.mark.parametrize(("m", "n"), SHAPES)
    def test_peft(self, m, n):
        ours = adapted("bat", m, n, rank=2)
        theirs = peft_layer(("MissConfig", {"r": 2, "init_weights": "bat"}), ours.linear)
        same_as_peft(ours, theirs, [("D", theirs.miss_block["default"], lambda D: D)])

    @pytest.mark.parametrize("axis", ["col", "row"])
    @pytest.mark.parametrize(("m", "n", "r"), [(8, 8, 4), (12, 8, 2), (6, 9, 3)])
    def test_blocks_and_their_way_back(self, m, n, r, axis):
        ours = adapted("bat", m, n, rank=r, axis=axis)
        W0, W, I = ours.linear.weight.detach(), ours.weight.detach(), torch.eye(r, **DOUBLE)
        for p in range(m // r):
            for q in range(n // r):
                old, new = (M[p * r : (p + 1) * r, q * r : (q + 1) * r] for M in (W0, W))
                D = ours.D.detach()[p if axis == "col" else q]
                torch.testing.assert_close(new, old + old @ D + D)
                torch.testing.assert_close((new - D) @ torch.linalg.inv(I + D), old)
        assert torch.linalg.matrix_rank(W - W0) == min(m, n)

    @pytest.mark.parametrize("axis", ["col", "row"])
    @pytest.mark.parametrize(("m", "n"), SHAPES)
    def test_without_a_weight_it_is_miss(self, m, n, axis):
        bat, miss = (METHODS[name](rank=2, axis=axis) for name in ("bat", "miss"))
        D = randn((m if axis == "col" else n) // 2, 2, 2)
        W = bat.whole(torch.zeros(m, n, **DOUBLE), None, {"D": D})[0]
        tile = D.flatten(0, 1) if axis == "col" else D.transpose(0, 1).flatten(1)
        torch.testing.assert_close(W, miss.operator(m, n, {"D": tile}).to_dense())

    def test_rank_that_does_not_fit_is_named_and_the_default_does(self):
        assert begin("bat", 48, 96)["D"].shape == (3, 16, 16)
        assert begin("bat", 48, 96, axis="row")["D"].shape == (6, 16, 16)
        assert begin("bat", 7, 5)["D"].shape == (7, 1, 1)
        with pytest.raises(ValueError, match="rank is 4; it must divide both sides of the 6 x 8 layer"):
            begin("bat", 6, 8, rank=4)
