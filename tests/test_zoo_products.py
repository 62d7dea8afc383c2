"""LoHa, LoKr and LoKH: their identities in float64, and peft as an oracle where it has the method."""

from math import sqrt

import pytest
import torch
from test_zoo_blocks import DOUBLE, SHAPES, adapted, begin, peft_layer, randn, same_as_peft, update

from surm_lite.adapters import METHODS
from surm_lite.adapters.methods.lokh import splits
from surm_lite.adapters.methods.lokr import _split
from surm_lite.checks import check_family
from surm_lite.matrices.families.khatri_rao import KhatriRao


class TestLoHa:
    @pytest.mark.parametrize(("m", "n"), SHAPES)
    def test_peft(self, m, n):
        ours = adapted("loha", m, n, rank=3, alpha=6.0)  # a scale that float32 holds, in which peft keeps it
        theirs = peft_layer(("LoHaConfig", {"r": 3, "alpha": 6}), ours.linear)
        keys = ("w1_a", "w1_b", "w2_a", "w2_b")
        same_as_peft(ours, theirs, [(key, getattr(theirs, f"hada_{key}")["default"], lambda t: t) for key in keys])

    def test_two_low_rank_matrices_entry_by_entry_have_the_product_of_their_ranks(self):
        ours = adapted("loha", 20, 15, rank=3, alpha=5.0)
        w = {key: t.detach() for key, t in ours.tensors().items()}
        torch.testing.assert_close(update(ours), 5 / 3 * (w["w1_a"] @ w["w1_b"]) * (w["w2_a"] @ w["w2_b"]))
        assert torch.linalg.matrix_rank(update(ours)) == 9

    def test_start(self):
        start = begin("loha", 500, 400, rank=4)
        assert not start["w2_b"].any()
        for key, bound in (("w1_a", 1 / 2), ("w2_a", 1 / 2), ("w1_b", 1 / 20)):
            assert 0.99 * bound < start[key].abs().max() <= bound
        assert not torch.equal(start["w1_a"], start["w2_a"])


class TestLoKr:
    @pytest.mark.parametrize("options", [{}, {"decompose_both": True, "decompose_factor": 4}, {"rank": 4}])
    @pytest.mark.parametrize(("m", "n"), [*SHAPES, (24, 40)])
    def test_peft(self, m, n, options):
        options = {"rank": 1, "alpha": 3.0, **options}
        ours = adapted("lokr", m, n, **options)
        theirs = peft_layer(
            ("LoKrConfig", {"r": options["rank"], **{k: v for k, v in options.items() if k != "rank"}}), ours.linear
        )
        pairs = [(key, getattr(theirs, f"lokr_{key}")["default"], lambda t: t) for key in ours.names]
        assert sum(p.numel() for p in theirs.parameters() if p.requires_grad) == ours.method.n_params(m, n)
        same_as_peft(ours, theirs, pairs)

    def test_sides_are_split_as_peft_does(self):
        peft = pytest.importorskip("peft.tuners.lokr.layer", reason="needs the extra [hf]")
        for size in (*range(1, 61), 128, 127, 384, 768):
            for factor in (-1, 1, 2, 3, 4, 5, 8, 16, 60, 384):
                assert _split(size, factor) == peft.factorization(size, factor), (size, factor)

    def test_ranks_multiply(self):
        thin = adapted("lokr", 48, 48, rank=2)  # 6 x 6 with 8 x 8 of rank 2
        assert {key: t.shape for key, t in thin.tensors().items()} == {"w1": (6, 6), "w2_a": (8, 2), "w2_b": (2, 8)}
        assert torch.linalg.matrix_rank(update(thin)) == 12
        assert set(adapted("lokr", 48, 48, rank=4).names) == {"w1", "w2"}  # half of its side: whole
        both = adapted("lokr", 48, 48, rank=2, decompose_both=True)
        assert set(both.names) == {"w1_a", "w1_b", "w2_a", "w2_b"}
        assert torch.linalg.matrix_rank(update(both)) == 4

    def test_whole_factors_are_the_kronecker_method(self):
        ours, other = (
            adapted("lokr", 12, 10, rank=8, alpha=4.0),
            adapted("kronecker", 12, 10, a_shape=(3, 2), alpha=0.5),
        )
        with torch.no_grad():
            other.A.copy_(ours.w1)
            other.B.copy_(ours.w2)
        torch.testing.assert_close(update(ours), update(other))

    def test_start(self):
        start = begin("lokr", 400, 900, rank=2)  # 20 x 30 with 20 x 30
        assert not start["w1"].any()
        assert 0.9 / sqrt(2) < start["w2_a"].abs().max() <= 1 / sqrt(2)
        assert 0.9 / sqrt(30) < start["w2_b"].abs().max() <= 1 / sqrt(30)
        both = begin("lokr", 400, 900, rank=2, decompose_both=True)
        assert not both["w1_a"].any()
        assert 0.9 / sqrt(30) < both["w1_b"].abs().max() <= 1 / sqrt(30)

    def test_a_factor_that_is_none_is_named(self):
        with pytest.raises(ValueError, match="decompose_factor of method 'lokr' is 0; it must be -1 or an integer"):
            METHODS["lokr"](decompose_factor=0)


class TestLoKH:
    @pytest.mark.parametrize("rows", [(12,), (3, 4), (2, 3, 2), (4, 1, 3)])
    def test_columns_are_kronecker_products(self, rows):
        ours = adapted("lokh", 12, 7, rows=rows, alpha=2.0)
        for t in range(7):
            column = torch.full((1,), 2.0, **DOUBLE)
            for factor in ours.tensors().values():
                column = torch.kron(column, factor.detach()[:, t])
            torch.testing.assert_close(update(ours)[:, t], column)

    def test_ranks(self):
        assert torch.linalg.matrix_rank(update(adapted("lokh", 64, 48, rows=(2, 4, 2, 4)))) == 48
        ours = adapted("lokh", 36, 30, rows=(6, 6))
        with torch.no_grad():
            for factor in (ours.F1, ours.F2):
                factor.copy_(randn(6, 2) @ randn(2, 30))
        assert torch.linalg.matrix_rank(update(ours)) == 4

    def test_numbers_of_its_specification(self):
        method = METHODS["lokh"]
        assert method(rows=(24, 32)).n_params(768, 768) == 43_008
        assert method(rows=(4, 6, 4, 8)).n_params(768, 768) == method().n_params(768, 768) == 16_896
        assert method().n_params(7, 5) == 35  # a prime has one factor: itself

    def test_splits(self):
        assert sorted(splits(12)) == [(2, 2, 3), (2, 6), (3, 4), (12,)]
        assert (2, 2, 2, 4) in splits(32)
        assert max(map(len, splits(64))) == 4
        assert splits(1) == [(1,)]

    @pytest.mark.parametrize("rows", [(16, 32), (8, 8, 8)])
    def test_start(self, rows):
        start = list(begin("lokh", 512, 400, rows=rows).values())
        assert not start[-1].any()
        assert all(factor.any() for factor in start[:-1])
        product = start[0]
        for factor in start[1:-1]:
            product = (product[:, None] * factor).flatten(0, 1)
        assert product.std().item() == pytest.approx(400**-0.5, rel=0.1)

    def test_rows_that_do_not_fit_are_named(self):
        with pytest.raises(ValueError, match=r"rows is \(3, 4\); their product must be 8"):
            begin("lokh", 8, 6, rows=(3, 4))
        with pytest.raises(ValueError, match=r"rows of method 'lokh' is \(2, 0\)"):
            METHODS["lokh"](rows=(2, 0))

    @pytest.mark.parametrize("rows", [None, 1])
    def test_its_matrix_keeps_the_contract(self, rows):
        def definition(A):
            return torch.stack([torch.kron(a, b) for a, b in zip(A.A.T, A.B.T)], 1)

        # A factor of one row leaves the other as large as the matrix, which the contract would not have: few checks.
        few = {} if rows is None else {"only": ["even sizes", "rectangular", "transpose", "definition"]}
        check_family(KhatriRao, dense=definition, rows=rows, **few).raise_if_failed()

    @pytest.mark.parametrize("transposed", [False, True])
    @pytest.mark.parametrize(("m1", "m2"), [(2, 5), (5, 2)])
    def test_few_and_many_vectors(self, m1, m2, transposed):
        S = KhatriRao(randn(m1, 7), randn(m2, 7), transposed)
        for vectors in (1, 5, 6, 50):
            x = randn(vectors, S.shape[1])
            torch.testing.assert_close(S.apply(x), x @ S.to_dense().mT)
