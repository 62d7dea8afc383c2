"""Decompositions by alternating least squares: every limit that is known in closed form, and what never changes."""

import pytest
import torch

import surm_lite as sl
from surm_lite.matrices.algorithms.decompose import KINDS
from surm_lite.matrices.families.khatri_rao import KhatriRao

DOUBLE = {"dtype": torch.float64}


def randn(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **DOUBLE)


def half(m, n, share=0.6):
    return torch.rand(m, n, generator=torch.Generator().manual_seed(2)) < share


def by_column(A, m1):
    """(n, m1, m2): the columns as matrices."""
    return torch.stack([column.reshape(m1, -1) for column in A.T])


def pairs_of(found, kind):
    """(W, Z) of each product that the kind is made of, as the decomposed matrices have them."""
    S = found.matrix
    return (S.A.flatten(1).T, S.B.flatten(1)) if kind == "kronecker" else (S.B, S.A)  # LowRank: B A


@pytest.mark.thin(10)
@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_never_rises_and_is_that_of_the_matrix(kind, masked, ridge):
    A, mask = randn(6, 8), half(6, 8) if masked else torch.ones(6, 8, dtype=torch.bool)
    found = sl.decompose(A, kind, 2, mask=mask, ridge=ridge)
    losses = torch.tensor(found.losses, **DOUBLE)
    assert losses.diff().max() < 1e-15 * losses[0]
    assert len(losses) > 2
    rest = (mask * (A - found.matrix.to_dense())).norm() / (mask * A).norm()
    assert found.error == pytest.approx(float(rest), abs=1e-12)
    assert (losses[-1] > rest**2 * 1.01) if ridge else (losses[-1] == pytest.approx(float(rest) ** 2, abs=1e-12))
    assert sl.decompose(A, kind, 2, mask=mask, ridge=ridge).losses == found.losses  # and chance plays no part


class TestAllEntriesSeen:
    @pytest.mark.parametrize(("m", "n", "r"), [(8, 8, 3), (12, 7, 2), (5, 9, 5), (1, 4, 1)])
    def test_low_rank_is_the_theorem_of_eckart_and_young(self, m, n, r):
        A = randn(m, n)
        found, (best, error) = sl.decompose(A, "low_rank", r), sl.nearest(A, "low_rank", rank=r)
        assert found.error == pytest.approx(error, abs=1e-10)
        torch.testing.assert_close(found.matrix.to_dense(), best.to_dense(), rtol=0, atol=1e-4)

    @pytest.mark.parametrize(("m", "n", "r"), [(8, 8, 1), (12, 6, 3), (7, 5, 1)])
    def test_kronecker_is_the_rearrangement_of_van_loan_and_pitsianis(self, m, n, r):
        A = randn(m, n)
        found, (_, error) = sl.decompose(A, "kronecker", r), sl.nearest(A, "kronecker_sum", terms=r)
        assert isinstance(found.matrix, sl.KroneckerSum)
        assert found.error == pytest.approx(error, abs=1e-10)

    @pytest.mark.parametrize(("m", "n", "r"), [(12, 5, 1), (12, 5, 2), (9, 4, 3), (7, 3, 1)])
    def test_khatri_rao_cuts_the_singular_values_of_every_column(self, m, n, r):
        A = randn(m, n)
        found = sl.decompose(A, "khatri_rao", r)
        left = torch.linalg.svdvals(by_column(A, {12: 3, 9: 3, 7: 1}[m]))[:, r:]
        assert found.error == pytest.approx(float(left.norm() / A.norm()), abs=1e-10)
        assert found.matrix.n_params == r * n * {12: 7, 9: 6, 7: 8}[m]

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_planted_one_is_found(self, kind):
        chance = torch.Generator().manual_seed(5)
        X, Y = (sl.LowRank.random(16, 12, rank=2, generator=chance, **DOUBLE).to_dense() for _ in range(2))
        planted = {"low_rank": X, "hadamard": X * Y}
        for name, family in (("kronecker", sl.KroneckerSum), ("khatri_rao", KhatriRao)):
            planted[name] = family.random(16, 12, generator=chance, **DOUBLE).to_dense()
        found = sl.decompose(planted[kind], kind, 1 if kind == "khatri_rao" else 2)
        torch.testing.assert_close(found.matrix.to_dense(), planted[kind], rtol=0, atol=1e-7)


class TestHadamard:
    def test_it_is_the_product_entry_by_entry_of_two_of_that_rank(self):
        found = sl.decompose(randn(6, 5), "hadamard", 1).matrix
        assert found.B.shape == (6, 1)
        assert torch.linalg.matrix_rank(sl.decompose(randn(10, 10), "hadamard", 2).matrix.to_dense()) == 4

    def test_rank_one_is_plain_rank_one(self):
        A = randn(8, 6)
        assert sl.decompose(A, "hadamard", 1).error == pytest.approx(sl.nearest(A, "low_rank", rank=1)[1], abs=1e-9)

    def test_it_is_closer_than_low_rank_of_as_many_numbers_on_the_identity(self):
        eye = torch.eye(12, **DOUBLE)
        assert sl.decompose(eye, "hadamard", 3).error < sl.nearest(eye, "low_rank", rank=6)[1]


class TestRidge:
    @pytest.mark.parametrize("kind", ["low_rank", "kronecker"])
    def test_it_lowers_every_singular_value(self, kind):
        A, price = randn(8, 6), 1.5
        found = sl.decompose(A, kind, 6, ridge=price)
        rearranged = (
            A if kind == "low_rank" else A.unflatten(0, (2, 4)).unflatten(2, (3, 2)).transpose(1, 2).reshape(6, 8)
        )
        U, s, Vh = torch.linalg.svd(rearranged, full_matrices=False)
        W, Z = pairs_of(found, kind)
        lower = (s - price).clamp_min(0)
        assert 0 < (lower > 0).sum() < 6
        torch.testing.assert_close(W @ Z, U * lower @ Vh, rtol=0, atol=1e-5)
        torch.testing.assert_close(W.T @ W, Z @ Z.T, rtol=0, atol=1e-5)  # both carry the same load
        least = (s - lower).square().sum() + 2 * price * lower.sum()
        assert found.losses[-1] == pytest.approx(float(least / A.norm() ** 2), rel=1e-10)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_price_above_everything_leaves_nothing(self, kind):
        for scale in (1.0, 1e-200):
            found = sl.decompose(randn(6, 4) * scale, kind, 1, ridge=100.0)
            assert not found.matrix.to_dense().any()
            assert (found.error, found.losses[-1]) == (1.0, 1.0)

    def test_a_row_of_which_nothing_was_seen_is_zero_and_one_with_little_is_small(self):
        A, mask = randn(8, 6), torch.ones(8, 6, dtype=torch.bool)
        mask[2], mask[3, 1:] = False, False
        S = sl.decompose(A, "low_rank", 3, mask=mask, ridge=0.1).matrix.to_dense()
        assert not S[2].any()
        assert S[3].norm() < 2 * A[3, 0].abs()


class TestMask:
    def test_rank_three_comes_back_from_sixty_percent(self):
        A, mask = randn(40, 3) @ randn(3, 30, seed=3), half(40, 30)
        torch.testing.assert_close(sl.decompose(A, "low_rank", 3, mask=mask).matrix.to_dense(), A, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("kind", ["kronecker", "khatri_rao"])
    def test_so_do_the_others(self, kind):
        family = {"kronecker": sl.KroneckerSum, "khatri_rao": KhatriRao}[kind]
        A = family.random(24, 12, generator=torch.Generator().manual_seed(1), **DOUBLE).to_dense()
        found = sl.decompose(A, kind, {"kronecker": 2, "khatri_rao": 1}[kind], mask=half(24, 12, 0.8))
        torch.testing.assert_close(found.matrix.to_dense(), A, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("kind", KINDS)
    def test_what_was_not_seen_plays_no_part(self, kind):
        A, mask = randn(6, 4), half(6, 4)
        B = A.masked_fill(~mask, float("nan"))
        one, other = (sl.decompose(M, kind, 1, mask=mask, ridge=0.1).matrix.to_dense() for M in (A, B))
        assert torch.equal(one, other)
        assert one.isfinite().all()

    def test_a_mask_that_sees_all_is_none(self):
        A = randn(6, 4)
        assert sl.decompose(A, "low_rank", 2, mask=torch.ones(6, 4) > 0).losses == sl.decompose(A, "low_rank", 2).losses


@pytest.mark.parametrize("scale", [2.0**-900, 2.0**600, 3e150])
@pytest.mark.parametrize("kind", KINDS)
def test_results_follow_the_scale(kind, scale):
    """And the price with it: the factors of a Hadamard product are fourth roots."""
    A, price = randn(6, 4), 0.1
    scaled_price = price * (scale**1.5 if kind == "hadamard" else scale)
    if not 0 < scaled_price < 1e300:
        price = scaled_price = 0.0
    one, other = sl.decompose(A, kind, 2, ridge=price), sl.decompose(scale * A, kind, 2, ridge=scaled_price)
    torch.testing.assert_close(other.matrix.to_dense() / scale, one.matrix.to_dense(), rtol=1e-4, atol=1e-5)
    assert other.error == pytest.approx(one.error, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_the_matrix_has_the_dtype_of_what_it_came_from(kind, dtype):
    A = (200 * randn(6, 4)).to(dtype).requires_grad_()
    found = sl.decompose(A, kind, 1)
    assert found.matrix.dtype == dtype
    assert not any(t.requires_grad for t in found.matrix.tensors)
    exact = sl.decompose(A.detach().double(), kind, 1).matrix.to_dense()
    torch.testing.assert_close(found.matrix.to_dense().double(), exact, rtol=0.05, atol=float(exact.abs().max()) / 30)


def test_a_matrix_of_zeros():
    found = sl.decompose(torch.zeros(4, 3), "low_rank", 2)
    assert not found.matrix.to_dense().any()
    assert (found.error, found.losses[-1]) == (0.0, 0.0)


def test_it_prints_as_a_sentence():
    assert repr(sl.decompose(torch.eye(2), "low_rank", 1)).endswith("4 numbers; relative error 0.71 after 2 sweeps")


A, SEEN = torch.ones(4, 6), torch.ones(4, 6) > 0
REFUSED = {
    "kind": (lambda: sl.decompose(A, "hadamrd", 1), ValueError, "kind is 'hadamrd'; did you mean 'hadamard'"),
    "no matrix": (lambda: sl.decompose(A[None], "low_rank", 1), ValueError, r"A has shape \(1, 4, 6\)"),
    "complex": (lambda: sl.decompose(A + 0j, "low_rank", 1), TypeError, "complex64; it must be real"),
    "nan": (lambda: sl.decompose(A / 0, "low_rank", 1), ValueError, "A holds NaN or infinite"),
    "rank": (lambda: sl.decompose(A, "low_rank", 5), ValueError, r"rank is 5; it must be in 1 \.\. 4"),
    "terms": (lambda: sl.decompose(A, "khatri_rao", 3), ValueError, r"rank is 3; it must be in 1 \.\. 2"),
    "ridge": (lambda: sl.decompose(A, "low_rank", 1, ridge=-1), ValueError, "ridge is -1; it must be a real number"),
    "no ridge": (lambda: sl.decompose(A, "low_rank", 1, ridge="1"), TypeError, "ridge is a str"),
    "mask of numbers": (lambda: sl.decompose(A, "low_rank", 1, A), TypeError, "mask is torch.float32; it must be"),
    "mask of a list": (lambda: sl.decompose(A, "low_rank", 1, [True]), TypeError, "mask is list; it must be"),
    "shape of mask": (lambda: sl.decompose(A, "low_rank", 1, SEEN.T), ValueError, r"mask is \(6, 4\) on cpu"),
    "nothing seen": (lambda: sl.decompose(A, "low_rank", 1, ~SEEN), ValueError, "mask is False everywhere"),
}


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused(case):
    call, error, said = REFUSED[case]
    with pytest.raises(error, match=said):
        call()


def test_it_ends_where_a_sweep_gains_less_than_one_part_in_a_hundred_million():
    losses = torch.tensor(sl.decompose(randn(8, 6), "low_rank", 2, mask=half(8, 6)).losses, **DOUBLE)
    gained = 1 - losses[1:] / losses[:-1]
    assert gained[-1] <= 1e-8
    assert gained[:-1].min() > 1e-8
