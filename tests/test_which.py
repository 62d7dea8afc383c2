"""`which_structure`: planted members come first, baselines are honest, layers by name, and the pictures."""

import pytest
import torch

import surm_lite as sl
from surm_lite.matrices.algorithms.nearest import PROJECTIONS
from surm_lite.matrices.algorithms.ranking import BASELINES
from surm_lite.matrices.algorithms.which import SIZES

N = 16
PLANTED = {
    "circulant": {},
    "skew_circulant": {},
    "symmetric_toeplitz": {},
    "toeplitz": {},
    "hankel": {},
    "toeplitz_plus_hankel": {},
    "block_circulant": {"block": 8},
    "ldr": {"rank": 1},
    "kronecker": {},
    "kronecker_sum": {"terms": 2},
    "monarch": {},
    "low_rank": {"rank": 1},
}


def test_every_projection_is_tried():
    tried = {sl.FAMILIES[name] for name in SIZES}
    assert tried == set(PROJECTIONS) - {sl.FCirculant}, "an f-circulant is a Toeplitz matrix, and f would be a choice"
    assert set(PLANTED) == set(SIZES)


@pytest.mark.parametrize("family", PLANTED)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("budget", [None, 8 * N], ids=["default", "large"])
def test_a_planted_member_comes_first(rng, family, dtype, budget):
    """Also where larger families, which hold it too, are within the budget: of exact fits the smallest is named."""
    member = sl.FAMILIES[family].random(N, generator=rng, dtype=dtype, **PLANTED[family])
    budget = member.n_params if budget is None else budget
    ranking = sl.which_structure(member.to_dense(), budget)
    assert ranking.best.family == family
    assert ranking.best.error < 1e-5
    assert all(f.n_params <= ranking.budget for f in ranking)


@pytest.mark.parametrize("family", ["toeplitz", "hankel", "low_rank", "kronecker", "monarch", "block_circulant"])
def test_a_planted_rectangular_member_comes_first(rng, family):
    member = sl.FAMILIES[family].random(12, 18, generator=rng, dtype=torch.float64)
    assert sl.which_structure(member.to_dense(), budget=member.n_params).best.family == family


def test_planted_baselines_come_first(rng):
    assert sl.which_structure(3 * torch.eye(N)).best.family == "c · identity"
    assert sl.which_structure(torch.randn(N, generator=rng).diag()).best.family == "diagonal"


def test_the_diagonal_explains_it(rng):
    """On a Gram matrix of unit rows one number does nearly as well as n: the honest baseline."""
    X = torch.randn(50, 50, generator=rng, dtype=torch.float64)
    X = X / X.norm(dim=1, keepdim=True)
    ranking = sl.which_structure(X @ X.mT)
    assert ranking["c · identity"].n_params == 1
    assert ranking["c · identity"].error - ranking["symmetric_toeplitz"].error < 0.05
    assert ranking["low_rank"].error > ranking["c · identity"].error
    assert ranking.baseline.family in BASELINES
    assert ranking.structured is not None
    assert ranking.structured.family not in BASELINES


def test_nested_families_are_ordered(rng):
    """[O10] A smaller family is never closer."""
    for _ in range(5):
        error = {fit.family: fit.error for fit in sl.which_structure(torch.randn(9, 9, generator=rng), budget=36)}
        for small, large in [
            ("c · identity", "circulant"),
            ("c · identity", "symmetric_toeplitz"),
            ("c · identity", "diagonal"),
            ("circulant", "toeplitz"),
            ("skew_circulant", "toeplitz"),
            ("symmetric_toeplitz", "toeplitz"),
            ("toeplitz", "toeplitz_plus_hankel"),
            ("hankel", "toeplitz_plus_hankel"),
            ("kronecker", "kronecker_sum"),
        ]:
            assert error[large] <= error[small] + 1e-6


def test_rectangular_and_small_budgets(rng):
    W = torch.randn(6, 10, generator=rng, dtype=torch.float64)
    ranking = sl.which_structure(W, budget=3)
    assert [f.family for f in ranking] == ["c · identity"]
    assert ranking.structured is None
    assert "toeplitz" in ranking.too_large
    assert "not within 3 numbers" in str(ranking)


class TestLayers:
    @pytest.fixture
    def update(self, rng):
        """What a fine-tuned model changed: the difference of two state dicts."""
        model = torch.nn.Sequential(torch.nn.Linear(12, 12), torch.nn.ReLU(), torch.nn.Linear(12, 8))
        before = {name: W.clone() for name, W in model.state_dict().items()}
        model[0].weight.data += sl.Circulant.random(12, generator=rng).to_dense()
        model[2].weight.data += sl.LowRank.random(8, 12, generator=rng, rank=1).to_dense()
        after = model.state_dict()
        return {name: after[name] - W for name, W in before.items() if W.ndim == 2}

    def test_each_layer_has_its_ranking(self, update):
        layers = sl.which_structure(update)
        assert list(layers) == ["0.weight", "2.weight"]
        assert layers["0.weight"].best.family == "circulant"
        assert layers["2.weight"].best.family == "low_rank"
        assert layers["2.weight"].shape == (8, 12)
        assert layers["2.weight"].budget == 20
        assert str(layers["0.weight"]) == str(sl.which_structure(update["0.weight"]))

    def test_the_table_sets_the_best_structure_beside_the_best_baseline(self, update):
        heads, first, second = str(sl.which_structure(update)).splitlines()
        assert " ".join(heads.split()) == "layer shape norm structure numbers error baseline numbers error"
        assert first.split()[:4] == ["0.weight", "12", "x", "12"]
        assert "circulant" in first
        assert second.split()[-3] == "low_rank"
        assert "none fits" in str(sl.which_structure(update, budget=1))

    def test_a_budget_holds_for_every_layer(self, update):
        layers = sl.which_structure(update, budget=12)
        assert all(fit.n_params <= 12 for ranking in layers.values() for fit in ranking)

    def test_a_layer_that_did_not_move(self):
        ranking = sl.which_structure({"frozen": torch.zeros(4, 4)})["frozen"]
        assert (ranking.norm, ranking.best.family, ranking.best.error) == (0.0, "c · identity", 0.0)

    def test_pictures(self, update):
        layers = sl.which_structure(update)
        bars, dots = layers["0.weight"].plot(), layers.plot()
        assert bars.text.startswith("Relative error, best first: circulant 0.000, ")
        assert "0.weight: circulant 0.000" in dots.text
        assert "2.weight: low rank 0.000" in dots.text
        for picture in (bars, dots):
            assert picture.html.startswith("<figure")
            assert picture.text in picture.html


@pytest.mark.parametrize(
    ("W", "budget", "error_type", "words"),
    [
        (torch.ones(3), None, ValueError, "W of which_structure has shape"),
        (torch.ones(2, 3, 3), None, ValueError, "one matrix"),
        (torch.ones(3, 3, dtype=torch.int64), None, TypeError, "dtype"),
        (torch.ones(3, 3), 0, ValueError, "budget is 0"),
        ({}, None, ValueError, "empty mapping"),
        ({"a": torch.ones(3, 3), "a.bias": torch.ones(3)}, None, ValueError, r"W\['a.bias'\] of which_structure"),
    ],
)
def test_bad_input(own_errors, W, budget, error_type, words):
    with pytest.raises(error_type, match=words):
        sl.which_structure(W, budget)
