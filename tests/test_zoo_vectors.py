"""CDVFT, FourierFT, VeRA and RandLoRA: their identities in float64, and peft as an oracle where it has the method."""

import pytest
import torch
from torch import nn

from surm_lite.adapters import METHODS, adapt

DOUBLE = {"dtype": torch.float64}
SHAPES = [(8, 8), (12, 8), (6, 10), (7, 5)]


def adapted(method, m, n, moved=True, **options):
    torch.manual_seed(0)
    model = adapt(nn.Sequential(nn.Linear(n, m, **DOUBLE)), method, "0", **options)
    if moved:
        model[0].method.stir(model[0], torch.Generator().manual_seed(0))
    return model[0]


def update(adapter):
    return adapter.weight - adapter.linear.weight


def pefts(ours, config, **kinds):
    """The same frozen layer under peft's adapter, in float64, that is still to be given the same numbers."""
    peft = pytest.importorskip("peft", reason="needs the extra [hf]")
    base = nn.Linear(ours.in_features, ours.out_features, **DOUBLE)
    base.load_state_dict(ours.linear.state_dict())
    made = getattr(peft, config)(target_modules=["0"], **kinds)
    return peft.get_peft_model(nn.Sequential(base), made).double().base_model.model[0]


def same(ours, theirs, names, tolerance=1e-12):
    """Outputs and gradients of the input and of every trained tensor: name of ours -> theirs."""
    x = torch.randn(5, ours.in_features, **DOUBLE, requires_grad=True)
    g = torch.randn(5, ours.out_features, **DOUBLE)
    y, z = ours(x), theirs(x)
    torch.testing.assert_close(y, z, rtol=tolerance, atol=tolerance)
    got = torch.autograd.grad(y, [x, *(getattr(ours, name) for name in names)], g)
    for a, b in zip(got, torch.autograd.grad(z, [x, *names.values()], g), strict=True):
        torch.testing.assert_close(a, b, rtol=10 * tolerance, atol=10 * tolerance)


@pytest.mark.parametrize(("m", "n"), SHAPES)
class TestCDVFT:
    def test_update_and_gradients(self, m, n):
        a = adapted("cdvft", m, n, alpha=0.5)
        C = METHODS["circulant"](alpha=0.5).operator(m, n, {"kernel": a.kernel}).to_dense()
        torch.testing.assert_close(update(a), a.left[:, None] * C * a.right)
        G = torch.randn(m, n, **DOUBLE)
        got = torch.autograd.grad(a.operator().to_dense(), [a.left, a.right], G)
        torch.testing.assert_close(got, ((G * C * a.right).sum(1), (G * C * a.left[:, None]).sum(0)))

    def test_between_ones_it_is_the_circulant(self, m, n):
        a = adapted("cdvft", m, n)
        with torch.no_grad():
            a.left.fill_(1.0)
            a.right.fill_(1.0)
        C = METHODS["circulant"]().operator(m, n, {"kernel": a.kernel}).to_dense()
        torch.testing.assert_close(a.operator().to_dense(), C)


def test_cdvft_has_three_numbers_for_each_row_of_a_square_layer():
    assert METHODS["cdvft"]().n_params(768, 768) * 24 == 55_296  # q and v of ViT-B, as the paper counts
    assert METHODS["cdvft"](block=6).n_params(12, 18) == 12 * 18 // 6 + 12 + 18


@pytest.mark.parametrize(("m", "n"), SHAPES)
class TestFourierFT:
    def test_definition(self, m, n):
        a = adapted("fourierft", m, n, n_frequency=7, scaling=3.0)
        E = torch.zeros(m, n, **DOUBLE)
        E.view(-1)[a.places] = a.spectrum.detach()
        torch.testing.assert_close(update(a).detach(), 3 * torch.fft.ifft2(E).real)
        assert a.places.unique().numel() == 7

    def test_opposite_places_are_one_wave(self, m, n):
        """So that the numbers are not all independent."""
        method = METHODS["fourierft"](n_frequency=1)
        u, v = 2, 1
        one, other = (
            method.operator(m, n, {"spectrum": torch.ones(1, **DOUBLE), "places": torch.tensor([place])}).to_dense()
            for place in (u * n + v, (m - u) * n + n - v)
        )
        torch.testing.assert_close(one, other)

    def test_peft_agrees(self, m, n):
        """To float32: peft holds its spectrum in it."""
        ours = adapted("fourierft", m, n, n_frequency=9, scaling=20.0)
        theirs = pefts(ours, "FourierFTConfig", n_frequency=9, scaling=20.0)
        rows, columns = theirs.indices["default"]
        assert torch.equal(rows * n + columns, ours.places)  # its seed 777 is ours
        his = theirs.fourierft_spectrum["default"]
        with torch.no_grad():
            his.copy_(ours.spectrum)
        same(ours, theirs, {"spectrum": his}, tolerance=1e-5)

    def test_no_more_numbers_than_the_layer_has(self, m, n):
        assert len(adapted("fourierft", m, n).spectrum) == m * n


def test_a_gaussian_start_is_not_that_of_the_base_model():
    a = adapted("fourierft", 6, 5, moved=False, init_weights=False)
    assert not a.method.exact_at_init
    assert update(a).any()
    assert METHODS["fourierft"]().exact_at_init


@pytest.mark.parametrize(("m", "n"), SHAPES)
class TestVeRA:
    def test_peft_agrees_and_draws_the_same_matrices(self, m, n):
        ours = adapted("vera", m, n, rank=5, projection_prng_key=3)
        theirs = pefts(ours, "VeraConfig", r=5, projection_prng_key=3)
        torch.testing.assert_close(theirs.vera_A["default"], ours.A)
        torch.testing.assert_close(theirs.vera_B["default"], ours.B)
        b, d = theirs.vera_lambda_b["default"], theirs.vera_lambda_d["default"]
        torch.testing.assert_close(d.detach(), torch.full_like(d, 0.1))
        with torch.no_grad():
            b.copy_(ours.b)
            d.copy_(ours.d)
        same(ours, theirs, {"b": b, "d": d})

    def test_gradient_formulas(self, m, n):
        a = adapted("vera", m, n, rank=4)
        G = torch.randn(m, n, **DOUBLE)
        torch.testing.assert_close(update(a), torch.diag(a.b) @ a.B @ torch.diag(a.d) @ a.A)
        for_b, for_d = torch.autograd.grad(a.operator().to_dense(), [a.b, a.d], G)
        torch.testing.assert_close(for_b, (a.B @ torch.diag(a.d) @ a.A @ G.mT).diagonal())
        torch.testing.assert_close(for_d, (a.A @ G.mT @ torch.diag(a.b) @ a.B).diagonal())


@pytest.mark.parametrize("method", ["vera", "randlora"])
def test_the_random_matrices_hang_on_the_key_and_on_nothing_else(method):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    adapt(layers, method, "*", seed=5)
    assert torch.equal(layers[0].A, layers[1].A)
    assert torch.equal(layers[0].B, layers[1].B)
    assert torch.equal(layers[0].A, adapted(method, 6, 6).A.float())
    other = adapted(method, 6, 6, projection_prng_key=1)
    assert not torch.equal(other.A.float(), layers[0].A)
    with pytest.raises(ValueError, match=f"projection_prng_key of method '{method}' is -1; it must be an"):
        METHODS[method](projection_prng_key=-1)


@pytest.mark.parametrize(("m", "n"), SHAPES)
@pytest.mark.parametrize("rank", [1, 3, 20])
class TestRandLoRA:
    def test_definition(self, m, n, rank):
        a = adapted("randlora", m, n, rank=rank, alpha=6.0)
        S = sum(B @ torch.diag(l) @ a.A @ torch.diag(g) for B, l, g in zip(a.B, a.l, a.g, strict=True))
        S = 6 / rank * (S if m >= n else S.mT)
        torch.testing.assert_close(update(a), S)
        assert len(a.B) == -(-min(m, n) // rank)

    def test_full_rank(self, m, n, rank):
        a = adapted("randlora", m, n, rank=rank)
        assert torch.linalg.matrix_rank(update(a)) == min(m, n)

    def test_peft_agrees_up_to_the_order_of_its_random_columns(self, m, n, rank):
        ours = adapted("randlora", m, n, rank=rank, alpha=6.0)
        theirs = pefts(ours, "RandLoraConfig", r=rank, randlora_alpha=6)
        A, B = theirs.randlora_A["default"], theirs.randlora_B["default"]  # (r, 1, short), (long, N, r)
        l, g = theirs.randlora_lambda["default"], theirs.randlora_gamma["default"]
        N = len(ours.B)
        torch.testing.assert_close(g.detach(), torch.full_like(g, 1 / max(N, min(m, n))))
        with torch.no_grad():
            l.copy_(ours.l.mT)
            g.copy_(ours.g)
            ours.A.copy_(A[:, 0])
            # its row (k, j) of the one factor meets column k N + j of the other, which is not B[j, k]
            ours.B.copy_(B.flatten(1).unflatten(1, (rank, N)).permute(2, 0, 1))
        x = torch.randn(5, n, **DOUBLE, requires_grad=True)
        G = torch.randn(5, m, **DOUBLE)
        y, z = ours(x), theirs(x)
        torch.testing.assert_close(y, z, rtol=1e-10, atol=1e-11)
        got = torch.autograd.grad(y, [x, ours.l, ours.g], G)
        for_x, for_l, for_g = torch.autograd.grad(z, [x, l, g], G)
        for a, b in zip(got, (for_x, for_l.mT, for_g), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_randlora_counts_of_the_paper():
    assert METHODS["randlora"](rank=32).n_params(768, 768) == 19_200
    assert METHODS["randlora"](rank=5).n_params(12, 8) == METHODS["randlora"](rank=5).n_params(8, 12) == 2 * (5 + 8)
    for options in METHODS["randlora"]().sizes(8, 12):
        assert options["alpha"] / options["rank"] == METHODS["randlora"]().alpha / METHODS["randlora"]().rank == 20


def test_the_bases_have_variance_one():
    a = adapted("randlora", 64, 48, rank=16)
    for basis in (a.A, a.B):
        assert basis.std().item() == pytest.approx(1, abs=0.05)
        assert basis.abs().max() <= 3**0.5
