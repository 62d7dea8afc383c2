"""The four classical families and their relatives: definitions, operator pairs, and the table computed from them."""

import numpy as np
import pytest
import scipy.linalg
import torch

import surm_lite as sl
from surm_lite.checks import check_family
from surm_lite.matrices import FAMILIES
from surm_lite.matrices.families.vandermonde import TransposedVandermonde
from surm_lite.matrices.operators import Shift

N = 12


@pytest.fixture
def draw(rng):
    return lambda family, m=N, n=None, **budget: family.random(m, n, dtype=torch.float64, generator=rng, **budget)


def own_rank(M):
    return sl.displacement_rank(M, *M.displacement_pair())


DEFINITIONS = {
    sl.Vandermonde: lambda A: np.vander(A.nodes.numpy(), A.shape[1], increasing=True),
    TransposedVandermonde: lambda A: np.vander(A.nodes.numpy(), A.shape[0], increasing=True).T.copy(),
    sl.Cauchy: lambda A: 1 / np.subtract.outer(A.s.numpy(), A.t.numpy()),
    sl.CauchyLike: lambda A: (A.G.numpy().T @ A.H.numpy()) / np.subtract.outer(A.s.numpy(), A.t.numpy()),
    sl.ToeplitzPlusHankel: lambda A: (
        scipy.linalg.toeplitz(*(t.numpy() for t in A.tensors[:2]))
        + scipy.linalg.hankel(*(t.numpy() for t in A.tensors[2:]))
    ),
    sl.KroneckerSum: lambda A: sum(np.kron(a, b) for a, b in zip(A.A.numpy(), A.B.numpy())),
}


@pytest.mark.parametrize("family", DEFINITIONS, ids=lambda family: family.__name__)
def test_definition(family):
    """to_dense against numpy and scipy, at every size and in complex numbers."""
    check_family(
        family, only=["definition"], dense=lambda A: torch.from_numpy(DEFINITIONS[family](A))
    ).raise_if_failed()


@pytest.mark.parametrize(
    ("family", "budget"),
    [
        (sl.CauchyLike, {"rank": 1}),
        (sl.CauchyLike, {"rank": 4}),
        (sl.KroneckerSum, {"terms": 1}),
        (sl.KroneckerSum, {"terms": 9}),
    ],
)
def test_contract_for_other_budgets(family, budget):
    checks = ["even sizes", "odd sizes", "rectangular", "transpose", "dot test", "parameters", "operations"]
    check_family(family, only=checks, **budget).raise_if_failed()


def test_contract_of_the_transposed_vandermonde():
    report = check_family(TransposedVandermonde)
    assert [failure.name for failure in report.failures] in ([], ["random"])  # its norm is that of the transpose


@pytest.mark.parametrize("f", [0, 1, -0.5])
def test_e3_vandermonde(f, draw):
    """[E3] D_s V - V Z_f = (s^n - f) e_n^T, of rank 1."""
    V = draw(sl.Vandermonde)
    F = sl.sylvester(V, V.nodes.diag(), Shift(f))
    want = torch.zeros(N, N, dtype=torch.float64)
    want[:, -1] = V.nodes**N - f
    torch.testing.assert_close(F, want)
    assert own_rank(V) == 1


def test_e4_e5_cauchy(draw):
    """[E4, E5] D_s C - C D_t is all ones for Cauchy, G^T H for Cauchy-like."""
    C, L = draw(sl.Cauchy, 7, 5), draw(sl.CauchyLike, 7, 5, rank=3)
    torch.testing.assert_close(sl.sylvester(C, *C.displacement_pair()), torch.ones(7, 5, dtype=torch.float64))
    torch.testing.assert_close(sl.sylvester(L, *L.displacement_pair()), L.G.mT @ L.H)
    assert (own_rank(C), own_rank(L)) == (1, 3)


def test_e6_reversed_toeplitz_is_hankel(draw):
    """[E6] J T is Hankel, and J H is Toeplitz."""
    T = draw(sl.Toeplitz).to_dense()
    for M in (T, draw(sl.Hankel).to_dense().flip(0)):
        assert sl.nearest(M, "toeplitz")[1] < 1e-14
        assert sl.nearest(M.flip(0), "hankel")[1] < 1e-14


def test_e7_vandermonde_transposed_and_inverted(rng):
    """[E7] Pairs (Z_f^T, D_s) and (Z_f, D_s), rank 1."""
    V = sl.Vandermonde(torch.exp(2j * torch.pi * (torch.arange(N) + 0.2 * torch.rand(N, generator=rng)).double() / N))
    assert own_rank(V) == own_rank(V.T) == 1
    assert sl.displacement_rank(torch.linalg.inv(V.to_dense()), Shift(0.3), V.nodes.diag()) == 1


@pytest.mark.parametrize(("m", "n"), [(12, 12), (9, 6)])
def test_e8_toeplitz_plus_hankel(m, n, draw):
    """[E8] Rank 4 with Z_0 + Z_0^T on both sides."""
    assert own_rank(draw(sl.ToeplitzPlusHankel, m, n)) == 4


def test_sum_of_kronecker_products_reaches_every_matrix(rng):
    """Enough terms give any matrix; A ⊗ I + I ⊗ B is a member with two."""
    A, B = torch.randn(3, 3, generator=rng), torch.randn(2, 2, generator=rng)
    both = sl.KroneckerSum(torch.stack([A, torch.eye(3)])[:, :, :], torch.stack([torch.eye(2), B]))
    torch.testing.assert_close(both.to_dense(), torch.kron(A, torch.eye(2)) + torch.kron(torch.eye(3), B))
    assert sl.KroneckerSum.random(6, a_shape=(3, 3), terms=4, generator=rng).dof == 36


def test_large_nodes_and_long_rows(rng):
    """The product in steps of sqrt(n) is the polynomial, at n that is no square, for nodes on the unit circle."""
    s = torch.exp(2j * torch.pi * torch.rand(50, generator=rng, dtype=torch.float64))
    V = sl.Vandermonde(s, 1000)
    x = torch.randn(1000, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(V.apply(x), torch.from_numpy(np.polyval(x.flip(0).numpy(), s.numpy())))


class TestTable:
    def test_one_row_a_family(self):
        table = sl.families(24)
        assert [row.family for row in table] == list(FAMILIES)
        ranks = {row.family: row.displacement_rank for row in table}
        small = {
            "circulant": 1,
            "skew_circulant": 1,
            "f_circulant": 2,
            "toeplitz": 2,
            "symmetric_toeplitz": 2,
            "hankel": 2,
        }
        small |= {"toeplitz_plus_hankel": 4, "vandermonde": 1, "cauchy": 1, "cauchy_like": 2, "ldr": 2, "low_rank": 4}
        small |= {"block_circulant": 1}
        assert {name: ranks[name] for name in small} == small
        assert all(ranks[name] > 12 for name in set(ranks) - set(small))  # Kronecker and Monarch: outside the tent
        for row in table:
            M = FAMILIES[row.family].random(24, 24)
            assert (row.n_params, row.dof, row.flops) == (M.n_params, M.dof, M.flops())

    def test_it_prints(self):
        table = sl.families(12)
        lines = str(table).splitlines()
        assert len(lines) == len(FAMILIES) + 2
        assert lines[0].split()[:3] == ["family", "entries", "operators"]
        assert "Z₁, Z₋₁ᵀ" in str(table)
        assert "D_s, D_t" in str(table)
        assert table._repr_markdown_().count("\n") == len(FAMILIES) + 1

    @pytest.mark.parametrize(
        ("operator", "text"), [(Shift(0.5), "Z_0.5"), (Shift(-1, transposed=True), "Z₋₁ᵀ"), (Shift(1j), "Z_1j")]
    )
    def test_operator_names(self, operator, text):
        assert str(operator) == text


class TestRefusals:
    def test_overlapping_nodes(self, own_errors):
        s = torch.tensor([1.0, 2.0, 3.0])
        with pytest.raises(sl.OverlappingNodesError, match=r"share the node 2.0"):
            sl.Cauchy(s, torch.tensor([2.0, 5.0]))
        ones = torch.ones(1, 3)
        with pytest.raises(ValueError, match="share the node"):
            sl.CauchyLike(s * 1j, s * 1j, ones + 0j, ones + 0j)
        with pytest.raises(sl.OverlappingNodesError, match=r"share the node 7.0"):
            sl.Cauchy(torch.tensor([[1.0], [7.0]]), torch.tensor([[7.0], [7.0]]))  # in the second matrix of a batch
        sl.Cauchy(torch.tensor([[1.0], [7.0]]), torch.tensor([[7.0], [1.0]]))
        sl.Cauchy(torch.ones(2), torch.zeros(2))  # nodes may repeat on one side

    @pytest.mark.parametrize(
        ("build", "words"),
        [
            (lambda: sl.Vandermonde(torch.ones(3), 0), "n of Vandermonde is 0"),
            (lambda: sl.Vandermonde(torch.ones(3), 1.5), r"n of Vandermonde is 1.5"),
            (
                lambda: sl.CauchyLike(torch.ones(2), torch.zeros(3), torch.ones(1, 3), torch.ones(1, 3)),
                r"G is \(1, 3\)",
            ),
            (
                lambda: sl.CauchyLike(torch.ones(2), torch.zeros(3), torch.ones(1, 2), torch.ones(2, 3)),
                r"H is \(2, 3\)",
            ),
            (lambda: sl.KroneckerSum(torch.ones(2, 1, 1), torch.ones(3, 1, 1)), "A holds 2 terms and B holds 3"),
            (lambda: sl.ToeplitzPlusHankel(*(torch.ones(k) for k in (2, 3, 3, 2))), "2 x 3 and the Hankel part 3 x 2"),
            (lambda: sl.families(0), "is 0; it must be"),
        ],
    )
    def test_sizes(self, build, words, own_errors):
        with pytest.raises(ValueError, match=words):
            build()
