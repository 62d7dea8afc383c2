"""The contract of a structured matrix, as a list of checks that anybody can run on any family."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from surm_lite.checks import behaviour, counts, gradients, products
from surm_lite.checks.report import Report, Result
from surm_lite.checks.subject import DTYPES, SIZES, Sizes, Subject
from surm_lite.matrices import StructuredMatrix

CHECKS: dict[str, Callable[[Subject], str]] = {
    "even sizes": products.even_sizes,
    "odd sizes": products.odd_sizes,
    "rectangular": products.rectangular,
    "definition": products.definition,
    "transpose": products.transpose,
    "A @ X": products.matmul,
    "batches of x": products.input_batches,
    "batches of matrices": products.parameter_batches,
    "no warnings": products.no_warnings,
    "dot test": gradients.dot_test,
    "gradcheck": gradients.gradcheck,
    "vmap": gradients.vmap,
    "real dtypes": behaviour.real_dtypes,
    "complex dtypes": behaviour.complex_dtypes,
    "half dtypes": behaviour.half_dtypes,
    "devices": behaviour.devices,
    "errors": behaviour.errors,
    "immutable": behaviour.immutable,
    "rebuild": behaviour.rebuild,
    "random": behaviour.seeded,
    "never dense": counts.never_dense,
    "parameters": counts.parameters,
    "operations": counts.operations,
}
"""Name of each check -> the function that runs it. It returns a remark, or raises; what it checks is its docstring."""


def check_family(
    family: type[StructuredMatrix],
    *,
    sizes: Sizes = SIZES,
    dtypes: tuple[torch.dtype, ...] = DTYPES,
    dense: Callable[[Any], Tensor] | None = None,
    only: Iterable[str] | None = None,
    quick: bool = False,
    device: torch.device | str = "cpu",
    seed: int = 0,
    **budget: Any,
) -> Report:
    """The whole contract of a structured matrix family, yours or the library's.

    Values against the dense matrix at every kind of size, batches, transposes, gradients, dtypes, devices, errors,
    and honest counts of parameters and operations; see ``StructuredMatrix`` for the contract in words.

    Args:
        family: a subclass of ``StructuredMatrix``; members are drawn by its ``random``.
        sizes: (m, n) pairs; those with m != n are left out for a square family.
        dtypes: the dtypes that members and inputs are drawn in.
        dense: an independent definition, operator -> (m, n) tensor, to compare ``to_dense`` with. Without it, an
            ``apply`` and a ``to_dense`` that are wrong in the same way pass.
        only: names of checks (keys of ``CHECKS``); default all.
        quick: leaves out gradcheck, the slowest check.
        device: where members live.
        seed: of everything that is drawn.
        **budget: passed to ``family.random``: ``rank``, ``block``, ``f``, ``a_shape``.

    Returns:
        A ``Report``: print it, or ask ``.passed``, ``.failures``, ``.raise_if_failed()``.

    Raises:
        TypeError: family is not a StructuredMatrix class, or its ``random`` takes no such budget.
        ValueError: ``only`` names a check that does not exist, or that ``quick`` or a missing ``dense`` leaves out.

    Cost:
        About half a second for each family on one core, and two for what torch loads at first use.

    Example:
        >>> from surm_lite.matrices import Circulant
        >>> print(check_family(Circulant, only=["odd sizes", "rectangular"]))
        Circulant: 2 of 2 checks passed
        odd sizes    ok    1x1, 3x3, 9x9, 13x13
        rectangular  ok    square family: 4x6 refused

    Source:
        The dot test is Claerbout's, from the adjoint operators of seismology; the defects that each check is there for
        are rebuilt in ``tests/contract/museum``.

    Taught in:
        04_full_rank_from_n
    """
    if not (isinstance(family, type) and issubclass(family, StructuredMatrix)):
        raise TypeError(f"family is {family!r}; it must be a subclass of StructuredMatrix")
    taken = signature(family.random).parameters
    for name in budget:
        if name not in taken:
            raise TypeError(f"{family.__name__}.random takes no {name!r}; it takes {', '.join(taken)}")
    left_out = {"gradcheck"} if quick else set()
    left_out |= {"definition"} if dense is None else set()
    known = [name for name in CHECKS if name not in left_out]
    names = known if only is None else list(only)
    for name in names:
        if name not in known:
            raise ValueError(f"only names {name!r}; the checks are {', '.join(known)}")
    if torch.device(device).type == "mps":
        dtypes = tuple(dtype for dtype in dtypes if dtype not in (torch.float64, torch.complex128))
    subject = Subject(family, tuple(sizes), tuple(dtypes), dense, device, seed, budget)
    return Report(family.__name__, tuple(run_check(name, CHECKS[name], subject) for name in names))


def run_check(name: str, check: Callable[[Any], str], subject: Any) -> Result:
    """One line of a report; whatever a check raises is its failure."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one check asks for silence; the others need not fail with it
            return Result(name, True, check(subject))
    except Exception as error:  # a check that raises has failed, whatever it raised
        said = str(error).strip().splitlines() or [""]
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        return Result(name, False, kind + said[0])
