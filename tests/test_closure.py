"""Sums, transposes, products, inverses, parts: on generators, against dense algebra, with the bounds on rank."""

import pytest
import torch

import surm_lite as sl
from surm_lite.matrices import FAMILIES

PAIRS = [(1, -1), (-1, 1), (2, 0.5), (1, 0), (0, -1)]
DTYPES = [torch.float64, torch.complex128]
SIZES = [1, 2, 7, 8]


@pytest.fixture
def draw(rng):
    def draw(n, pair=(1, -1), rank=2, dtype=torch.float64):
        return sl.LDR(*sl.LDR.random(n, rank=rank, dtype=dtype, generator=rng).tensors, *pair)

    return draw


def close(a, b, rtol=1e-9):
    a = a.to_dense() if isinstance(a, sl.StructuredMatrix) else a
    assert a.shape == b.shape
    assert float((a - b).abs().max()) <= rtol * max(1.0, float(b.abs().max()))


def rank(M, e=1, f=-1):
    return sl.displacement_rank(M, sl.Shift(e), sl.Shift(f))


def schur(W, p):
    return W[p:, p:] - W[p:, :p] @ torch.linalg.solve(W[:p, :p], W[:p, p:])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("other", PAIRS)
@pytest.mark.parametrize("pair", PAIRS)
class TestTwoMatrices:
    @pytest.mark.thin(30)
    def test_d1_sum(self, pair, other, n, dtype, draw):
        """[D1] Displacement is linear: ranks add, and each corner that differs costs one more."""
        A, B = draw(n, pair, 2, dtype), draw(n, other, 1, dtype)
        close(A + B, A.to_dense() + B.to_dense())
        close(A - B, A.to_dense() - B.to_dense())
        assert (A + B).pair == pair
        assert (A + B).rank == 3 + (pair[0] != other[0]) + (pair[1] != other[1])

    @pytest.mark.thin(30)
    def test_d4_d5_product(self, pair, other, n, dtype, draw):
        """[D4, D5] nabla(MN) = nabla(M) N + M nabla(N): r1 + r2 where the inner corners meet, at most two more."""
        A, B = draw(n, pair, 2, dtype), draw(n, other, 1, dtype)
        C = A @ B
        close(C, A.to_dense() @ B.to_dense())
        assert C.rank == 3 + (pair[1] != other[0]) + (pair[0] == other[1])
        assert rank(C, *C.pair) <= C.rank


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("pair", [*PAIRS, (1j, 2)])
class TestOneMatrix:
    @pytest.mark.thin(12)
    def test_generators_under_any_pair(self, pair, n, dtype, draw):
        """Z_e - Z_e' = (e - e') e_1 e_n^T: another corner costs one generator."""
        M = draw(n, pair, 2, dtype)
        for e, f in [pair, (3, pair[1]), (0.5, 0.25), (1, 1)]:
            G, H = M.generators((e, f))
            close(G.mT @ H, sl.sylvester(M, sl.Shift(e), sl.Shift(f)).to(G.dtype))
            assert len(G) == 2 + (e != pair[0]) + (f != pair[1])

    @pytest.mark.thin(12)
    def test_d2_transpose(self, pair, n, dtype, draw):
        """[D2] The rank stays for corners other than zero."""
        M = draw(n, pair, 2, dtype)
        close(M.T, M.to_dense().mT)
        assert M.T.rank == 2 + (0 in pair)
        A, B = (Z.dense(M, n) for z in [M.operators] for Z in z)
        close(sl.sylvester(M.to_dense().mT, B.mT, A.mT), -sl.sylvester(M, A, B).mT)

    @pytest.mark.thin(12)
    def test_d3_inverse(self, pair, n, dtype, draw):
        """[D3] nabla_{B,A}(M^-1) = -M^-1 nabla_{A,B}(M) M^-1: the same rank, the corners exchanged."""
        M = draw(n, pair, 2, dtype)
        R = sl.inverse(M)
        close(R, torch.linalg.inv(M.to_dense()), rtol=1e-7)
        assert (R.pair, R.rank) == (pair[::-1], M.rank)

    @pytest.mark.thin(12)
    def test_d8_leading_block(self, pair, n, dtype, draw):
        """[D8] nabla(M11) = F11 - A12 M21 + M12 B21: at most two more."""
        M = draw(n, pair, 2, dtype)
        for p in range(1, n + 1):
            block = sl.leading_block(M, p)
            close(block, M.to_dense()[:p, :p])
            assert block.pair == pair
            assert rank(block, *pair) <= block.rank <= 4

    @pytest.mark.thin(12)
    def test_schur_complement(self, pair, n, dtype, draw):
        M = draw(n, pair, 2, dtype)
        for p in range(1, n, 3):
            S = sl.schur_complement(M, p)
            close(S, schur(M.to_dense(), p), rtol=1e-6)
            assert (S.pair, S.rank) == (pair, 4)

    @pytest.mark.thin(12)
    def test_scaling_and_compression(self, pair, n, dtype, draw):
        M = draw(n, pair, 2, dtype)
        close((M + M).compress(), 2 * M.to_dense())
        assert (M + M).compress().rank == min(2, n)
        close(-M, -M.to_dense())
        close((M - M).compress(tol=1e-6), 0 * M.to_dense())


class TestTableOfRanks:
    """What the theory says of products and parts of Toeplitz matrices, on generators."""

    @pytest.mark.parametrize("t", [1, 2, 3, 4])
    def test_b7_products_of_toeplitz(self, t, rng):
        """[B7] t factors: rank 2t, out of 2 + 3 (t - 1) generators."""
        factors = [sl.as_ldr(sl.Toeplitz.random(12, dtype=torch.float64, generator=rng)) for _ in range(t)]
        P = factors[0]
        for F in factors[1:]:
            P = P @ F
        assert P.rank == 3 * t - 1
        assert P.compress(tol=1e-12).rank == 2 * t == rank(P)

    @pytest.mark.parametrize("k", [1, 2, 3])
    def test_d12_alternating_product(self, k, rng):
        """[D12] (circulant skew-circulant)^k has rank 2k - 1."""
        draw = [
            sl.as_ldr(f.random(12, dtype=torch.float64, generator=rng)) for f in (sl.Circulant, sl.SkewCirculant) * k
        ]
        P = draw[0]
        for F in draw[1:]:
            P = P @ F
        assert P.compress(tol=1e-12).rank == 2 * k - 1

    def test_b4_inverse_of_toeplitz(self, rng):
        """[B4] The inverse of a Toeplitz matrix as an LDR with two terms is the dense inverse."""
        for n in (1, 2, 15, 16):
            T = sl.Toeplitz.random(n, dtype=torch.complex128, generator=rng)
            R = sl.inverse(sl.as_ldr(T))
            close(R, torch.linalg.inv(T.to_dense()))
            assert R.rank == 2

    def test_d9_d10_d11_blocks(self, rng):
        """[D9, D10, D11] 2 x 3 blocks: circulant 3, Toeplitz 2 + 3; T ⊗ X under block shifts 2 rank X."""
        BC = sl.BlockCirculant.random(12, 18, block=6, dtype=torch.float64, generator=rng)
        A, B = BC.displacement_pair()
        assert sl.displacement_rank(BC, A, B) == 3

        def toeplitz(n=6):
            return sl.Toeplitz.random(n, dtype=torch.float64, generator=rng).to_dense()

        BT = torch.cat([torch.cat([toeplitz() for _ in range(3)], 1) for _ in range(2)])
        assert sl.displacement_rank(BT, A, B) == 5
        X = torch.randn(3, 3, dtype=torch.float64, generator=rng)
        shifts = (torch.kron(sl.shift(4, f, dtype=torch.float64), torch.eye(3, dtype=torch.float64)) for f in (1, -1))
        assert sl.displacement_rank(torch.kron(toeplitz(4), X), *shifts) == 6


@pytest.mark.parametrize(
    "family", ["circulant", "skew_circulant", "f_circulant", "toeplitz", "symmetric_toeplitz", "low_rank", "ldr"]
)
@pytest.mark.parametrize("n", [2, 9])
def test_as_ldr(family, n, rng):
    M = FAMILIES[family].random(n, n, dtype=torch.float64, generator=rng)
    close(sl.as_ldr(M=M), M.to_dense())
    close(sl.as_ldr(M), M.to_dense())
    assert sl.as_ldr(M).rank == {"circulant": 1, "skew_circulant": 1, "low_rank": 4}.get(family, 2)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", [1, 2, 9, 10])
class TestCauchyLike:
    @pytest.fixture
    def C(self, n, dtype, rng):
        return sl.CauchyLike.random(n, dtype=dtype, generator=rng)

    @pytest.mark.thin(4)
    def test_sum_transpose_inverse(self, C):
        close(C + C, 2 * C.to_dense())
        close(C.T, C.to_dense().mT)
        close(sl.inverse(C), torch.linalg.inv(C.to_dense()))
        close(sl.inverse(sl.inverse(C)), C.to_dense())
        assert sl.inverse(C).rank == C.rank

    def test_product(self, C, n, dtype, rng):
        """(D_s, D_t) times (D_t, D_u) is under (D_s, D_u), with ranks added."""
        other = sl.CauchyLike(C.t, C.s + 100, *sl.CauchyLike.random(n, dtype=dtype, generator=rng).tensors[2:])
        close(C @ other, C.to_dense() @ other.to_dense())
        assert (C @ other).rank == 4
        with pytest.raises(sl.OverlappingNodesError):
            C @ sl.inverse(C)  # under (D_s, D_s) the identity has displacement zero
        with pytest.raises(ValueError, match="nodes t of the two matrices differ"):
            C + sl.CauchyLike(C.s, C.t + 100, C.G, C.H)

    @pytest.mark.thin(4)
    def test_d7_schur_complement_keeps_the_rank(self, C, n):
        """[D7] For diagonal operators; and a leading block is just fewer nodes."""
        for p in range(1, n):
            S = sl.schur_complement(C, p)
            close(S, schur(C.to_dense(), p), rtol=1e-6)
            close(sl.leading_block(C, p), C.to_dense()[:p, :p])
            assert S.rank == sl.leading_block(C, p).rank == C.rank


def test_d7_triangular_operators(rng):
    """[D7] A lower, B upper triangular: the Schur complement keeps the rank. (The dense statement.)"""
    A, B = (
        torch.randn(9, 9, dtype=torch.float64, generator=rng).tril(),
        torch.randn(9, 9, generator=rng).double().triu(),
    )
    F = torch.randn(9, 2, dtype=torch.float64, generator=rng) @ torch.randn(2, 9, dtype=torch.float64, generator=rng)
    eye = torch.eye(9, dtype=torch.float64)
    system = torch.kron(A, eye) - torch.kron(eye, B.T.contiguous())
    S = schur(torch.linalg.solve(system, F.flatten()).reshape(9, 9), 4)
    values = torch.linalg.svdvals(sl.sylvester(S, A[4:, 4:], B[4:, 4:]))
    assert values[2] < 1e-8 * values[0]


def test_an_ill_conditioned_inverse_says_so():
    """A smooth kernel, condition 1e9: every solve is fine, but the products of their results cancel."""
    k = torch.arange(64, dtype=torch.float64)
    T = sl.SymmetricToeplitz(torch.exp(-((k / 3) ** 2) / 2) + 1e-8 * (k == 0))
    with pytest.warns(sl.ResidualWarning, match=r"\|M R b - b\| .* ill-conditioned"):
        sl.inverse(sl.as_ldr(T))


def test_no_n_by_n_tensor(rng):
    n = 128
    A, B = (sl.LDR.random(n, generator=rng, dtype=torch.float64) for _ in range(2))
    C = sl.CauchyLike.random(n, generator=rng, dtype=torch.float64)
    T = sl.Toeplitz.random(n, generator=rng, dtype=torch.float64)
    with sl.no_dense(n):
        (A @ B + A.T - B).compress()
        (sl.inverse(A) @ B).under((2, 0.5))
        sl.leading_block(A, 100)
        sl.schur_complement(A, 60)
        sl.inverse(sl.as_ldr(T))
    with sl.no_dense(n):
        sl.inverse(C)
        (C + C).compress()
        sl.leading_block(C, 100)
    with sl.no_dense(68):  # the size of the result
        sl.schur_complement(C, 60)


@pytest.mark.slow
def test_gradients_flow_through_an_inverse(rng):
    M = sl.LDR.random(5, rank=2, generator=rng, dtype=torch.float64)
    inputs = [t.requires_grad_() for t in M.tensors]
    assert torch.autograd.gradcheck(lambda G, H: (sl.inverse(M.with_tensors(G, H)) @ M).to_dense().square(), inputs)


def test_bad_input(rng, own_errors):
    M = sl.LDR.random(4, generator=rng)
    for part, last in ((sl.leading_block, 4), (sl.schur_complement, 3)):
        for p in (0, last + 1, 1.5):
            with pytest.raises(ValueError, match=f"p is {p}; it must be in 1 .. {last}"):
                part(M, p)
        with pytest.raises(TypeError, match=r"M is a Toeplitz.*as_ldr"):
            part(sl.Toeplitz.random(4, generator=rng), 2)
        with pytest.raises(ValueError, match="M is 4 x 5; it must be square"):
            part(sl.CauchyLike.random(4, 5, generator=rng), 2)
    with pytest.raises(TypeError, match="M is a Kronecker"):
        sl.as_ldr(sl.Kronecker.random(4, generator=rng))
    with pytest.raises(ValueError, match="M is 4 x 5; it must be square"):
        sl.as_ldr(sl.Toeplitz.random(4, 5, generator=rng))
    with pytest.raises(ValueError, match="cannot multiply 4 x 4 by 5 x 5"):
        M @ sl.LDR.random(5, generator=rng)
    with pytest.raises(TypeError):
        M + torch.eye(4)
    with pytest.raises(ValueError, match="M is 4 x 5; it must be square"):
        sl.inverse(sl.CauchyLike.random(4, 5, generator=rng))
    with pytest.raises(TypeError, match=r"M is a Toeplitz.*as_ldr"):
        sl.inverse(sl.Toeplitz.random(4, generator=rng))
    with pytest.raises(sl.SingularMatrixError, match="singular to working precision"):
        sl.inverse(sl.as_ldr(sl.LowRank.random(6, rank=2, generator=rng)))
