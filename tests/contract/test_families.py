"""Every registered family keeps every line of the contract."""

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import DEFINITIONS, oracle

import surm_lite as sl
from surm_lite.checks import CHECKS, CheckFailed, Report, Result, check_family
from surm_lite.matrices import FAMILIES
from surm_lite.matrices.families.block_low_rank import BlockLowRank

BUDGETS = [
    ("f_circulant", {"f": 0}),
    ("f_circulant", {"f": 1}),
    ("f_circulant", {"f": -2.5}),
    ("ldr", {"rank": 1}),
    ("ldr", {"rank": 5}),
    ("low_rank", {"rank": 1}),
    ("low_rank", {"rank": 7}),
    ("block_circulant", {"block": 1}),
    ("kronecker", {"a_shape": (1, 1)}),
]
VALUES = ["definition", "even sizes", "odd sizes", "rectangular", "transpose", "dot test", "gradcheck", "parameters"]


@pytest.mark.parametrize("check", [name for name in CHECKS if name != "definition"])
@pytest.mark.parametrize("family", FAMILIES)
def test_contract(family, check):
    check_family(FAMILIES[family], only=[check]).raise_if_failed()


@pytest.mark.parametrize("family", DEFINITIONS)
def test_dense_twin_is_scipys(family):
    check_family(FAMILIES[family], only=["definition"], dense=oracle(family)).raise_if_failed()


def test_every_family_has_an_independent_definition():
    assert DEFINITIONS.keys() == FAMILIES.keys()


@pytest.mark.thin(24)
@pytest.mark.parametrize("check", VALUES)
@pytest.mark.parametrize(("family", "budget"), BUDGETS, ids=str)
def test_contract_for_other_budgets(family, budget, check):
    check_family(FAMILIES[family], only=[check], dense=oracle(family), **budget).raise_if_failed()


SHIFTS = {name: sl.FCirculant(torch.eye(12, dtype=torch.float64)[1], f) for name, f in (("A", 1), ("B", -1))}
SCALED = [
    *((sl.LowRank, {"rank": 7}), (sl.LDR, {"rank": 5}), (sl.CauchyLike, {"rank": 4}), (BlockLowRank, {"rank": 3})),
    *((sl.Kronecker, {"a_shape": (2, 4)}), (sl.KroneckerSum, {"terms": 3}), (sl.BlockCirculant, {"block": 2})),
    *((sl.FCirculant, {"f": 0}), (sl.FCirculant, {"f": -2.5}), (sl.Krylov, {"rank": 3, **SHIFTS})),
]


@pytest.mark.parametrize(("family", "budget"), SCALED, ids=lambda value: getattr(value, "__name__", None))
def test_the_scale_of_a_start_does_not_depend_on_the_budget(family, budget):
    size = (12, 12) if family.square else (12, 8)
    check_family(family, only=["random"], sizes=(size,), **budget).raise_if_failed()


@pytest.mark.parametrize(("m", "n", "block"), [(4, 6, 2), (9, 6, 3), (12, 12, 4)])
def test_block_circulants_smaller_than_the_gcd(m, n, block):
    report = check_family(FAMILIES["block_circulant"], sizes=((m, n),), only=["transpose", "dot test"], block=block)
    report.raise_if_failed()


def test_complex_corner(rng):
    """Z_f with a complex f: real numbers in the column, a complex matrix."""
    A = sl.FCirculant.random(7, f=0.3 - 1.2j, dtype=torch.float64, generator=rng)
    x = torch.randn(2, 7, dtype=torch.float64, generator=rng)
    assert A.dtype == torch.complex128
    assert A.apply(x).dtype == torch.complex128
    torch.testing.assert_close(A.apply(x), x.to(A.dtype) @ A.to_dense().mT)
    torch.testing.assert_close(A.with_tensors(*A.tensors).to_dense(), A.to_dense())


size = st.integers(1, 40)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(m=size, n=size, k=st.integers(1, 3), seed=st.integers(0, 2**16))
def test_toeplitz_product_is_scipys(m, n, k, seed):
    random = np.random.default_rng(seed)
    column, row, X = random.standard_normal(m), random.standard_normal(n), random.standard_normal((n, k))
    ours = sl.Toeplitz(torch.from_numpy(column), torch.from_numpy(row)) @ torch.from_numpy(X)
    np.testing.assert_allclose(ours.numpy(), scipy.linalg.matmul_toeplitz((column, row), X), atol=1e-10)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(sorted(DEFINITIONS)),
    m=size,
    n=size,
    batch=st.lists(st.integers(0, 3), max_size=3),
    seed=st.integers(0, 2**16),
)
def test_any_shape(name, m, n, batch, seed):
    """x W^T for random sizes and batches, against numpy's matrix."""
    family, generator = FAMILIES[name], torch.Generator().manual_seed(seed)
    A = family.random(m, m if family.square else n, dtype=torch.float64, generator=generator)
    x = torch.randn(*batch, A.shape[1], dtype=torch.float64, generator=generator)
    W = oracle(name)(A)
    torch.testing.assert_close(A.apply(x), x @ W.mT, atol=1e-11 * float(W.norm() + 1), rtol=1e-9)


def test_scipys_default_row():
    column = torch.tensor([1 + 0j, 2 + 1j, 3 - 1j])
    torch.testing.assert_close(sl.Toeplitz(column).to_dense(), torch.from_numpy(scipy.linalg.toeplitz(column.numpy())))


@pytest.mark.thin(3)
@pytest.mark.parametrize("n", [2**18, 2**18 - 1])  # the second one is 3^3 * 7 * 19 * 73
@pytest.mark.parametrize("family", ["circulant", "skew_circulant", "f_circulant", "toeplitz", "hankel", "ldr"])
def test_float32_keeps_its_precision_at_a_quarter_million(family, n, rng):
    A = FAMILIES[family].random(n, generator=rng)
    x = torch.randn(n, generator=rng)
    exact = A.to(torch.float64).apply(x.double())
    assert (A.apply(x) - exact).norm() < 1e-6 * exact.norm()


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # the shape checker breaks the graph, torch looks between
def test_compiled_apply(family, rng, own_errors):
    """torch.compile of a product and its gradient. The graph may break at an FFT of complex numbers, not go wrong."""
    A = FAMILIES[family].random(12, 12, generator=rng)
    inputs = [t.clone().requires_grad_() for t in (torch.randn(3, 12, generator=rng), *A.tensors)]

    def product(x, *tensors):
        return A.with_tensors(*tensors).apply(x)

    compiled = torch.compile(product, backend="aot_eager")
    got, want = compiled(*inputs), product(*inputs)
    torch.testing.assert_close(got, want)
    for a, b in zip(torch.autograd.grad(got.sum(), inputs), torch.autograd.grad(want.sum(), inputs)):
        torch.testing.assert_close(a, b)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("family", FAMILIES)
def test_contract_on_cuda(family):
    check_family(FAMILIES[family], device="cuda").raise_if_failed()


class TestReport:
    def test_table(self):
        report = Report("Mine", (Result("one", True, "1x1"), Result("a longer one", False, "off by 2")))
        assert not report.passed
        assert str(report) == ("Mine: 1 of 2 checks passed\none           ok    1x1\na longer one  FAIL  off by 2")
        with pytest.raises(CheckFailed, match="off by 2"):
            report.raise_if_failed()

    def test_whole_contract_of_one_family(self):
        report = check_family(sl.Toeplitz)
        report.raise_if_failed()
        assert [r.name for r in report.results] == [name for name in CHECKS if name != "definition"]

    def test_a_family_that_raises_is_reported(self):
        class Broken(sl.Circulant):
            def _product(self, x):
                raise RuntimeError("no luck today")

        (failure,) = check_family(Broken, only=["even sizes"]).failures
        assert failure.detail == "RuntimeError: no luck today"

    def test_checks_leave_no_trace(self):
        before = (
            torch.get_rng_state(),
            torch.get_default_dtype(),
            torch.is_warn_always_enabled(),
            torch.is_grad_enabled(),
        )
        check_family(sl.LowRank)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (torch.get_default_dtype(), torch.is_warn_always_enabled(), torch.is_grad_enabled()) == before[1:]

    def test_bad_input(self, own_errors):
        with pytest.raises(TypeError, match="family is 'circulant'"):
            check_family("circulant")
        with pytest.raises(TypeError, match="takes no 'rnak'"):
            check_family(sl.LDR, rnak=2)
        with pytest.raises(ValueError, match="only names 'gradchek'"):
            check_family(sl.LDR, only=["gradchek"])
