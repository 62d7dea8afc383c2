"""Contracts of families and methods, and the exercise checkers: used by the tests, by the book and by readers."""

from surm_lite.checks.contract import CHECKS, check_family
from surm_lite.checks.exercises import check_function, check_product, check_value
from surm_lite.checks.method_contract import METHOD_CHECKS, check_method
from surm_lite.checks.report import CheckFailed, Report, Result
from surm_lite.checks.theory import check_displacement_rank, check_generators, check_nearest

__all__ = [
    "CHECKS",
    "METHOD_CHECKS",
    "CheckFailed",
    "Report",
    "Result",
    "check_displacement_rank",
    "check_family",
    "check_function",
    "check_generators",
    "check_method",
    "check_nearest",
    "check_product",
    "check_value",
]
