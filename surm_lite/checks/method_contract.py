"""The contract of a method of fine-tuning, as a list of checks that anybody can run on a method of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from typing import Any

from surm_lite.adapters import METHODS, Method
from surm_lite.adapters.options import near
from surm_lite.checks import method_layer, method_numbers, method_state, method_training
from surm_lite.checks.contract import run_check
from surm_lite.checks.method_subject import SHAPES, MethodSubject
from surm_lite.checks.report import Report
from surm_lite.checks.subject import Sizes

METHOD_CHECKS: dict[str, Callable[[MethodSubject], str]] = {
    "start": method_layer.start,
    "forward": method_layer.forward,
    "gradients": method_layer.gradients,
    "merging": method_layer.merging,
    "modes": method_layer.modes,
    "stacking": method_layer.stacking,
    "half precision": method_training.half,
    "alive": method_training.alive,
    "trained": method_numbers.trained,
    "counts": method_numbers.counts,
    "sizes": method_numbers.sizes,
    "options": method_numbers.options,
    "alpha": method_numbers.alpha,
    "draws": method_numbers.draws,
    "buffers": method_state.buffers,
    "state": method_state.state,
    "file": method_state.file,
    "groups": method_state.groups,
    "calibrate": method_state.calibrate,
    "learns": method_training.learns,
    "resume": method_training.resume,
}
"""Name of each check -> the function that runs it. It returns a remark, or raises; what it checks is its docstring."""

OF_LAYERS = frozenset(
    ("forward", "gradients", "merging", "modes", "stacking", "half precision", "alive", "alpha", "draws", "buffers",
     "state")
)  # fmt: skip
"""Checks of an adapter; a method that wraps no layer has none."""


def check_method(
    method: str | type[Method] | Method,
    *,
    shapes: Sizes = SHAPES,
    only: Iterable[str] | None = None,
    quick: bool = False,
    seed: int = 0,
    **options: Any,
) -> Report:
    """The whole contract of a method of fine-tuning, yours or the library's.

    Where it starts, its forward and gradients against the dense weight, merging, counts, stacks, half precision, files,
    options, chance, looks at data, and a short training that is stopped and resumed; see ``Method`` for the contract in
    words.

    Args:
        method: a name of ``methods()``, a subclass of ``Method``, registered or not, or an object of one.
        shapes: (m, n) pairs of layers that the options fit.
        only: names of checks (keys of ``checks.METHOD_CHECKS``); default all that apply.
        quick: leaves out the trainings, "learns" and "resume", the slowest checks.
        seed: of everything that is drawn.
        **options: the method's own options, where it is given by name or class.

    Returns:
        A ``Report``: print it, or ask ``.passed``, ``.failures``, ``.raise_if_failed()``.

    Raises:
        TypeError: method is none.
        ValueError: an unknown method or option (near names are listed), or ``only`` names a check that does not exist
            or does not apply.

    Cost:
        A second or two for each method on one core, half of that with ``quick``.

    Example:
        >>> print(check_method("toeplitz", only=["start", "counts"]))
        toeplitz: 2 of 2 checks passed
        start   ok    8x8, 7x7, 12x8, 6x9, 5x7, 1x1
        counts  ok    8x8, 7x7, 12x8, 6x9, 5x7, 1x1

    Taught in:
        25_your_own_model, 40_bug_museum
    """
    mine = _method(method, options)
    left_out = OF_LAYERS if not mine.wraps else frozenset()
    left_out |= {"learns", "resume"} if quick else frozenset()
    known = [name for name in METHOD_CHECKS if name not in left_out]
    names = known if only is None else list(only)
    for name in names:
        if name not in known:
            raise ValueError(f"only names {name!r}; the checks are {', '.join(known)}")
    subject = MethodSubject(mine, tuple(shapes), seed)
    return Report(mine.name, tuple(run_check(name, METHOD_CHECKS[name], subject) for name in names))


def _method(method: str | type[Method] | Method, options: dict[str, Any]) -> Method:
    if isinstance(method, Method):
        if options:
            raise ValueError(f"options {sorted(options)} go into the Method object, or give the method by name")
        return replace(method)
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(near("method", method, METHODS))
        method = METHODS[method]
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise TypeError(f"method is {method!r}; it must be a name, a subclass of Method or an object of one")
    known = [f.name for f in fields(method) if f.init]
    for name in options:
        if name not in known:
            raise ValueError(near(f"option of method {method.name!r}", name, known))
    return method(**options)
