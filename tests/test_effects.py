"""Every effect that the book shows was measured with three seeds or more, and a part of it, run again, agrees."""

import importlib
import json
import math
from pathlib import Path

import pytest
from scipy import stats

from surm_lite.comparison.interval import T95, interval

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(path.stem for path in (ROOT / "benchmarks" / "effects").glob("*.py") if path.stem != "keep")


@pytest.fixture
def script(request, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "effects")
    return importlib.import_module(request.param)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, indirect=True)
def test_a_part_of_it_agrees(script):
    kept = json.loads((ROOT / "benchmarks" / "results" / "effects" / f"{script.__name__}.json").read_text())
    assert kept["about"]["what"] == script.WHAT
    assert len({one["seed"] for one in kept["runs"]}) == len(kept["about"]["seeds"]) >= 3
    found = script.part()
    assert found.keys() == kept["part"].keys()
    for key, value in kept["part"].items():
        assert found[key] == pytest.approx(value, rel=0.02, abs=1e-6), key


def test_the_quantiles_are_those_of_student():
    assert tuple(round(float(stats.t.ppf(0.975, df)), 3) for df in range(1, 10)) == T95


def test_an_interval_is_that_of_scipy():
    values = [0.81, 0.79, 0.84, 0.80]
    middle, half = interval(values)
    low, high = stats.t.interval(0.95, 3, loc=sum(values) / 4, scale=stats.sem(values))
    assert (middle - half, middle + half) == pytest.approx((low, high), abs=1e-3)


@pytest.mark.parametrize("values", [[0.5], [0.1] * 11, [0.5, math.nan]])
def test_too_few_too_many_and_no_numbers_are_refused(values):
    with pytest.raises(ValueError, match=r"^values: got"):
        interval(values)
