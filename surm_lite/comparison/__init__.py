"""Many runs, one table: methods x budgets x learning rates x seeds, each run kept, the choice made on validation."""

from surm_lite.comparison.budget import options_for_budget
from surm_lite.comparison.interval import interval
from surm_lite.comparison.plan import Arm, Plan
from surm_lite.comparison.result import Comparison, Summary
from surm_lite.comparison.run import compare

__all__ = ["Arm", "Comparison", "Plan", "Summary", "compare", "interval", "options_for_budget"]
