"""The exercise checkers: right answers pass with one line, wrong ones fail with a sentence that helps."""

import pytest
import torch

import surm_lite as sl
from surm_lite import checks
from surm_lite.checks import CheckFailed


def fails(call, *words):
    """The call fails its check, and the message holds the words."""
    with pytest.raises(CheckFailed) as caught:
        call()
    for word in words:
        assert word in str(caught.value), str(caught.value)


def circulant_product(c, x):
    return torch.fft.irfft(torch.fft.rfft(c) * torch.fft.rfft(x), n=c.shape[-1])


def toeplitz_product(column, row, x):
    t = torch.cat([row[1:].flip(0), column])
    return torch.stack([(t[i : i + len(row)].flip(0) * x).sum(-1) for i in range(len(column))], -1)


class TestValue:
    @pytest.mark.parametrize(
        ("got", "expected"),
        [
            (3, 3),
            (0.1 + 0.2, 0.3),
            (torch.tensor(3), 3),
            (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0 + 1e-7])),
            ((2, 3), (2, 3)),
            (torch.Size([2, 3]), (2, 3)),
            ("toeplitz", "toeplitz"),
            (True, True),
            (1 + 2j, 1 + 2j),
        ],
        ids=str,
    )
    def test_right(self, got, expected, capsys):
        checks.check_value(got, expected, name="budget")
        assert capsys.readouterr().out == "budget is right.\n"

    @pytest.mark.parametrize(
        ("got", "expected", "words"),
        [
            (1535, 1536, ["budget", "expected 1536", "got 1535"]),
            (0.31, 0.3, ["expected 0.3"]),
            ("hankel", "toeplitz", ["expected 'toeplitz'", "'hankel'"]),
            (None, 2, ["expected 2", "None"]),
            ((2, 3), (3, 2), ["expected 3", "got 2"]),
            ((2,), (3, 2), ["expected 2 values"]),
            (False, True, ["expected True"]),
            (2, torch.ones(3), ["a tensor of shape (3,)"]),
            (torch.ones(2), torch.ones(3), ["shape (3,)", "got (2,)"]),
            (torch.ones(3) * float("nan"), torch.ones(3), ["NaN"]),
            (torch.tensor([1.0, float("inf")]), torch.ones(2), ["NaN or infinite"]),
            (torch.tensor([1, 3]), torch.tensor([1.0, 2.0]), ["should be 2, got 3"]),
            (torch.tensor([True, True]), torch.tensor([1.0, 0.0]), ["should be 0, got 1"]),
            (torch.ones(3) + 0j, torch.ones(3), ["real numbers", "real part"]),
            (torch.ones(3), torch.ones(3) + 1j, ["complex numbers", "imaginary part"]),
            (torch.arange(4.0), torch.arange(4.0).flip(0), ["reverse order"]),
            (torch.arange(4.0) / 2, torch.arange(4.0), ["yours is half of the right one"]),
            (2 * torch.arange(4.0), torch.arange(4.0), ["yours is twice the right one"]),
            (-torch.arange(4.0), torch.arange(4.0), ["yours is minus the right one"]),
            (3 * torch.arange(4.0), torch.arange(4.0), ["yours is 3 times the right one"]),
            (torch.arange(4.0).reshape(2, 2).T, torch.arange(4.0).reshape(2, 2), ["transpose"]),
            (torch.zeros(3), torch.ones(3), ["zero"]),
            (torch.tensor([1.0, 2.0]), torch.zeros(2), ["should be 0, got 2"]),
            (torch.tensor([1j, 2j]), torch.tensor([1 + 0j, 2 + 0j]), ["should be 2"]),
            (torch.tensor([1 + 2j, 3.0]), torch.tensor([1 - 2j, 3.0]), ["conjugate"]),
            (torch.tensor([1.0, 5.0]), torch.tensor([1.0, 2.0]), ["entry (1,) should be 2, got 5"]),
        ],
        ids=str,
    )
    def test_wrong(self, got, expected, words):
        fails(lambda: checks.check_value(got, expected, name="budget", hint="count again"), *words, "Hint: count again")

    @pytest.mark.parametrize(
        ("got", "expected", "pattern"),
        [
            (torch.tensor([1 + 2j, 3.0]), torch.tensor([1 - 2j, 4.0]), "conjugate"),
            (torch.tensor([0.0, 1.0, 2.0]), torch.tensor([2.0, 1.0, 5.0]), "reverse"),
            (torch.tensor([[0.0, 1.0], [2.0, 3.0]]), torch.tensor([[0.0, 2.0], [1.0, 4.0]]), "transpose"),
            (torch.tensor([1.0, 2.0]), torch.tensor([2.0, 5.0]), "the right one"),
            (torch.tensor([0.0, 2.0]), torch.tensor([1.0, 5.0]), "zero"),
        ],
    )
    def test_a_pattern_is_named_where_every_entry_follows_it(self, got, expected, pattern):
        with pytest.raises(CheckFailed) as failed:
            checks.check_value(got, expected, name="budget")
        assert pattern not in str(failed.value)

    def test_tolerance(self):
        checks.check_value(3.1, 3.14159, tol=0.02)
        checks.check_value(101, 100, tol=1)
        fails(lambda: checks.check_value(102, 100, tol=1), "expected 100")


class TestProduct:
    def test_right(self, capsys):
        checks.check_product(circulant_product, "circulant", gradients=True, forbid_dense=True)
        said = "circulant_product is right at n = 1, 2, 3, 8, 9, 12, 13 with gradients without a dense matrix.\n"
        assert capsys.readouterr().out == said

    def test_rectangular(self, capsys):
        checks.check_product(toeplitz_product, sl.Toeplitz, batches=False)
        assert "6x4, 4x7" in capsys.readouterr().out

    def test_budget(self):
        checks.check_product(lambda B, A, x: x @ A.T @ B.T, "low_rank", rank=3)

    def test_odd_sizes(self):
        def product(c, x):
            return torch.fft.irfft(
                torch.fft.rfft(c, n=c.shape[-1] + 1)[..., : c.shape[-1] // 2 + 1] * torch.fft.rfft(x)
            )

        fails(lambda: checks.check_product(product, "circulant", hint="n="), "product at n = 1", "Hint: n=")

    def test_lost_sample(self):
        def product(c, x):
            return torch.fft.irfft(torch.fft.rfft(c) * torch.fft.rfft(x))

        fails(lambda: checks.check_product(product, "circulant", sizes=((8, 8), (9, 9))), "n = 9", "(9,)", "(8,)")

    def test_transposed(self):
        fails(lambda: checks.check_product(lambda B, A, x: x @ B, "low_rank"), "your function", "expected shape")

    def test_one_vector_only(self):
        product = lambda c, x: sl.Circulant(c).to_dense() @ x  # noqa: E731
        checks.check_product(product, "circulant", batches=False)
        fails(lambda: checks.check_product(product, "circulant"), "x of shape (3,")

    def test_wrong_gradient(self):
        def product(c, x):
            return circulant_product(c.detach(), x)

        fails(lambda: checks.check_product(product, "circulant", gradients=True), "gradient for column", "zero")

    def test_no_gradient(self):
        def product(c, x):
            return circulant_product(c, x).detach()

        fails(lambda: checks.check_product(product, "circulant", gradients=True), "no gradient")

    def test_dense(self):
        def product(c, x):
            return x @ sl.Circulant(c).to_dense().mT

        fails(lambda: checks.check_product(product, "circulant", forbid_dense=True), "n = 256", "formed a tensor")

    def test_an_error_of_a_large_size_alone(self):
        def product(c, x):
            return circulant_product(c, x) if len(c) < 256 else c @ x.double()

        fails(lambda: checks.check_product(product, "circulant", forbid_dense=True), "n = 256", "RuntimeError")

    def test_blank(self):
        def product(c, x):
            """Your turn."""

        fails(lambda: checks.check_product(product, "circulant"), "expected a tensor", "None")

    def test_unknown_family(self, own_errors):
        with pytest.raises(ValueError, match="did you mean 'circulant'"):
            checks.check_product(circulant_product, "circulnt")
        with pytest.raises(TypeError, match="rnk"):
            checks.check_product(circulant_product, "circulant", rnk=2)


class TestFunction:
    def test_right(self, capsys):
        def my_sylvester(M, A, B):
            return A @ M - M @ B

        checks.check_function(my_sylvester, sl.sylvester, ("m n", "m m", "n n"))
        assert capsys.readouterr().out.startswith("my_sylvester agrees with the reference at 1x1, 2x2, ")

    def test_operators_and_tuples(self):
        checks.check_function(lambda c: sl.Circulant(c), lambda c: sl.Circulant(c).to_dense(), ["n"])
        checks.check_function(lambda M: (M, len(M)), lambda M: (M, len(M)), ["m n"])
        checks.check_function(lambda M: M.shape[1], lambda M: 3, ["n 3"])

    def test_letters_have_their_sizes(self):
        shapes = set()
        checks.check_function(lambda B, A, x: shapes.add((B.shape[1], len(x))), lambda *_: None, ("m r", "r n", "b n"))
        assert shapes == {(2, 3)}

    def test_wrong(self):
        fails(
            lambda: checks.check_function(lambda M: M.T, lambda M: M, ["m n"], hint="which side?"),
            "your function at 2x2",
            "transpose",
            "Hint: which side?",
        )
        fails(lambda: checks.check_function(lambda c: c[99], lambda c: c, ["n"]), "n = 1", "IndexError")

    def test_unknown_letter(self, own_errors):
        with pytest.raises(ValueError, match=r"inputs .* has a size 'k'"):
            checks.check_function(lambda x: x, lambda x: x, ["k"])


class TestTheory:
    def test_rank_by_relative_noise(self):
        """torch's own tolerance scales with what is left after the subtraction: with the noise itself."""

        def naive(M, A, B):
            return int(torch.linalg.matrix_rank(A @ M - M @ B))

        fails(lambda: checks.check_displacement_rank(naive, hint="relative to what?"), "expected", "got", "relative to")

    def test_rank_by_absolute_tolerance(self):
        def absolute(M, A, B):
            return int((torch.linalg.svdvals(A @ M - M @ B) > 1e-8).sum())

        fails(lambda: checks.check_displacement_rank(absolute), "times 10^-9")

    def test_rank_by_the_eps_of_the_wrong_dtype(self):
        def double(M, A, B):
            return sl.displacement_rank(M.double(), A.double(), B.double())

        fails(lambda: checks.check_displacement_rank(double), "in float32")

    def test_generators_without_the_factor(self):
        """SURM's eq. 2 beside its F = G H^T: the parameters of W(G, H) taken for generators of its displacement."""

        def from_the_paper(M):
            W = sl.recover(*sl.generators(M)) if M.shape[0] == M.shape[1] else None
            return W.G, W.H

        fails(lambda: checks.check_generators(from_the_paper), "circulant matrix of size 8x8")

    def test_too_many_generators(self):
        def full(M):
            return sl.generators(M, rank=min(M.shape))

        fails(lambda: checks.check_generators(full), "circulant matrix of size 8x8", "expected 1")

    def test_generators_that_are_no_real_numbers(self):
        for number in (float("nan"), float("inf"), 1j):
            fails(
                lambda number=number: checks.check_generators(lambda M: tuple(t * number for t in sl.generators(M))),
                "real numbers" if number == 1j else "NaN or infinite",
            )
        whole = lambda M: tuple(torch.zeros_like(t, dtype=torch.int64) for t in sl.generators(M))  # noqa: E731
        fails(lambda: checks.check_generators(whole), "should be")

    def test_no_pair(self):
        fails(lambda: checks.check_generators(lambda M: M), "expected a pair of tensors (G, H)")

    def test_upper_diagonals_only(self):
        """SURM, appendix A.6: right for a symmetric target alone."""

        def upper(W):
            return sl.SymmetricToeplitz(torch.stack([W.diagonal(k).mean() for k in range(len(W))]))

        fails(lambda: checks.check_nearest(upper, "symmetric_toeplitz"), "n = 2", "is possible")

    def test_not_a_member(self):
        fails(lambda: checks.check_nearest(lambda W: W, "toeplitz"), "not a Toeplitz")

    def test_wrong_shape(self):
        fails(lambda: checks.check_nearest(lambda W: W[:1], "circulant"), "n = 2", "expected 2, got 1")
        fails(lambda: checks.check_nearest(lambda W: 3, "circulant"), "expected a matrix")

    @pytest.mark.parametrize("family", ["circulant", "toeplitz", "low_rank", "kronecker"])
    def test_no_real_numbers(self, family):
        for number in (float("nan"), float("inf")):
            fails(lambda number=number: checks.check_nearest(lambda W: W * number, family), "NaN or infinite")
            one = torch.ones(2, 2, dtype=torch.float64)
            one[0, 1] = number  # and all others are finite
            fails(lambda one=one: checks.check_nearest(lambda W: one, family, sizes=((2, 2),)), "NaN or infinite")
        fails(lambda: checks.check_nearest(lambda W: W.to(torch.complex128), family), "expected real numbers")

    def test_whole_numbers_are_numbers(self):
        fails(lambda: checks.check_nearest(lambda W: torch.zeros_like(W, dtype=torch.int64), "circulant"), "possible")
        checks.check_nearest(lambda W: sl.nearest(W, "circulant")[0].to_dense().float(), "circulant")

    def test_right(self, capsys):
        checks.check_nearest(lambda W: sl.nearest(W, "low_rank", rank=1)[0].to_dense(), "low_rank", rank=1)
        checks.check_nearest(lambda W: sl.nearest(W, "kronecker")[0], sl.Kronecker)
        assert capsys.readouterr().out.count("your function is right at 1x1, 2x2, ") == 2


def test_a_failed_check_is_an_assertion():
    """So a test, a notebook and a reader see it as one."""
    assert issubclass(CheckFailed, AssertionError)


def test_your_own_input_is_safe():
    """A function that works in place does not spoil the next comparison."""

    def in_place(c, x):
        y = circulant_product(c, x)
        c.zero_()
        x.zero_()
        return y

    checks.check_product(in_place, "circulant")
