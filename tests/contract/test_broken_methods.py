"""The contract of methods flags every broken one by the checks that are meant for it, and every check flags one."""

import contextlib

import pytest
from broken_methods import EXHIBITS, Small

from surm_lite.checks import METHOD_CHECKS, check_method, method_state
from surm_lite.checks.method_contract import OF_LAYERS

SHAPES = ((8, 8), (6, 9))


each = pytest.mark.parametrize(
    ("method", "checks"), [pytest.param(*exhibit, id=exhibit[0].__name__) for exhibit in EXHIBITS]
)


@each
def test_a_defect_fails_the_checks_meant_for_it(method, checks):
    report = check_method(method, shapes=SHAPES, only=checks)
    assert {failure.name for failure in report.failures} == checks, report


@pytest.mark.slow
@each
def test_a_defect_fails_no_other_check(method, checks):
    others = [name for name in METHOD_CHECKS if name not in checks and (method.wraps or name not in OF_LAYERS)]
    report = check_method(method, shapes=SHAPES, only=others)
    assert not report.failures, report


@pytest.mark.slow
def test_what_the_exhibits_are_one_line_away_from_passes():
    check_method(Small, shapes=SHAPES).raise_if_failed()


def test_every_check_catches_something():
    assert {name for _, checks in EXHIBITS for name in checks} == set(METHOD_CHECKS)


def test_flags_that_calibrate_changes_would_be_seen_if_adapt_did_not_put_them_back(monkeypatch):
    monkeypatch.setattr(method_state, "undisturbed", contextlib.nullcontext)
    (failure,) = check_method("gora", only=["calibrate"]).failures
    assert "requires_grad" in failure.detail
