"""Many runs, one table: methods x budgets x learning rates x seeds, each run kept, the choice made on validation."""

from .budget import options_for_budget
from .plan import Arm, Plan
from .result import Comparison, Summary
from .run import compare

__all__ = ["Arm", "Comparison", "Plan", "Summary", "compare", "options_for_budget"]
