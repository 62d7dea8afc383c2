"""What a check says: passed or failed, and why."""

from __future__ import annotations

from dataclasses import dataclass


class CheckFailed(AssertionError):
    """A check found something wrong; the message says where, what came out and what was expected."""


@dataclass(frozen=True)
class Result:
    """One line of a report."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, repr=False)
class Report:
    """The outcome of ``check_family`` or ``check_method``: one result a check. Printing it gives a table.

    Args:
        subject: name of the family or method that was checked.
        results: one line a check, in the order in which they ran.
    """

    subject: str
    results: tuple[Result, ...]

    @property
    def failures(self) -> tuple[Result, ...]:
        """The results that did not pass."""
        return tuple(result for result in self.results if not result.passed)

    @property
    def passed(self) -> bool:
        return not self.failures

    def raise_if_failed(self) -> None:
        """Raises ``CheckFailed`` with the table of the failures, if there are any."""
        if self.failures:
            raise CheckFailed(str(Report(self.subject, self.failures)))

    def __str__(self) -> str:
        width = max((len(result.name) for result in self.results), default=0)
        lines = [f"{r.name:<{width}}  {'ok  ' if r.passed else 'FAIL'}  {r.detail}".rstrip() for r in self.results]
        count = f"{len(self.results) - len(self.failures)} of {len(self.results)} checks passed"
        return "\n".join([f"{self.subject}: {count}", *lines])

    __repr__ = __str__
