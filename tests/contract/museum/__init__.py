"""The bug museum: defects found in published code, each rebuilt as a small wrong operator.

An exhibit names where the defect was found, the checks of the contract that must flag it, and those that cannot see it:
no single check suffices. Third-party code is named with the version in which the defect was reproduced.
"""

from . import cost, gradients, manners, shapes, values
from .exhibit import EXHIBITS, Exhibit

__all__ = ["EXHIBITS", "Exhibit", "cost", "gradients", "manners", "shapes", "values"]
