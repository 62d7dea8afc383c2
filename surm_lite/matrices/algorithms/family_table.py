"""All families side by side, measured on a member of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass

import torch

from surm_lite.matrices.algorithms.displacement import displacement_rank
from surm_lite.matrices.arguments import check_length
from surm_lite.matrices.families import FAMILIES

HEADS = ("family", "entries", "operators", "displacement rank", "numbers", "independent", "product")


@dataclass(frozen=True)
class FamilyRow:
    """One family at one size."""

    family: str
    entries: str
    operators: str
    displacement_rank: int
    n_params: int
    dof: int
    flops: int


@dataclass(frozen=True, repr=False)
class FamilyTable:
    """What ``families`` returns: print it, or go through its rows."""

    n: int
    rows: tuple[FamilyRow, ...]

    def __iter__(self) -> Iterator[FamilyRow]:
        return iter(self.rows)

    def __getitem__(self, family: str) -> FamilyRow:
        return {row.family: row for row in self.rows}[family]

    def cells(self) -> list[tuple[str, ...]]:
        """The table as text, heads first."""
        body = [tuple(f"{v:,}" if isinstance(v, int) else v for v in astuple(row)) for row in self.rows]
        return [HEADS, *body]

    def __str__(self) -> str:
        cells = self.cells()
        widths = [max(len(row[k]) for row in cells) for k in range(len(HEADS))]
        lines = [
            "  ".join(c.ljust(w) if k < 3 else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths))).rstrip()
            for row in cells
        ]
        return "\n".join(
            [*lines, f"n = {self.n}; a dense matrix has {self.n**2:,} numbers and {2 * self.n**2:,} operations"]
        )

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        cells = ([cell.replace("|", r"\|") for cell in row] for row in self.cells())  # c[|i−j|] is one cell
        head, *body = (f"| {' | '.join(row)} |" for row in cells)
        return "\n".join([head, "|---|---|---|--:|--:|--:|--:|", *body])


def families(n: int = 64, seed: int = 0) -> FamilyTable:
    """Every family of the library at one size: entries, operators, displacement rank, numbers, cost of a product.

    One random member of each is drawn with its default budget. The displacement rank is measured on it, under the
    family's own pair of operators; the counts are the member's own.

    Args:
        n: the size, n x n.
        seed: of the members.

    Returns:
        A table that prints; its rows have the attributes of ``FamilyRow``.

    Raises:
        ValueError: n < 1.

    Cost:
        One SVD of an n x n matrix a family.

    Example:
        >>> table = families(12)
        >>> table["toeplitz"].operators, table["toeplitz"].displacement_rank, table["toeplitz"].n_params
        ('Z₁, Z₋₁', 2, 23)

    Source:
        Pan, Structured Matrices and Polynomials (2001), table 1.1, for the four classical families.

    Taught in:
        08_four_families, 16_all_structures
    """
    check_length(n, "n")
    if not isinstance(seed, int) or isinstance(seed, bool) or not -(2**63) <= seed < 2**63:
        raise ValueError(f"seed is {seed!r}; it must be an integer of 64 bits")
    table = []
    for name, family in FAMILIES.items():
        M = family.random(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        operators = ", ".join(map(str, M.operators))
        rank = displacement_rank(M, *M.displacement_pair())
        table.append(FamilyRow(name, M.formula, operators, rank, M.n_params, M.dof, M.flops()))
    return FamilyTable(n, tuple(table))
