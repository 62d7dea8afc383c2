"""The operator contract and the exercise checkers: used by the tests, by the book and by readers."""

from .contract import CHECKS, check_family
from .exercises import check_function, check_product, check_value
from .report import CheckFailed, Report, Result
from .theory import check_displacement_rank, check_generators, check_nearest

__all__ = [
    "CHECKS",
    "CheckFailed",
    "Report",
    "Result",
    "check_displacement_rank",
    "check_family",
    "check_function",
    "check_generators",
    "check_nearest",
    "check_product",
    "check_value",
]
