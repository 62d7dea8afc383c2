"""Guesses at what went wrong, in words a learner can act on."""

from __future__ import annotations

from numbers import Complex
from typing import Any

import torch
from torch import Tensor

NOT_FINITE = "the result holds NaN or infinite numbers"


def check_comparable(name: str, want: Any) -> None:
    """What ``compare`` can hold a result against; a TypeError names the argument that it came from."""
    if isinstance(want, tuple | list):
        for part in want:
            check_comparable(name, part)
    elif isinstance(want, Tensor):
        if not _is_dense(want):
            raise TypeError(f"{name}: got a tensor that is sparse, nested, quantised or on meta, need a dense one")
    elif not isinstance(want, Complex | str | None):
        raise TypeError(f"{name}: got a {type(want).__name__}, need a number, a tensor, a word, or a tuple of such")


def compare(got: Any, want: Any, tol: int | float | None = None) -> str | None:
    """None where ``got`` equals ``want`` (tensors up to rounding), else a sentence that says how they differ."""
    if isinstance(want, Tensor):
        return _tensors(got, want, tol)
    if isinstance(want, tuple | list):
        if not isinstance(got, tuple | list) or len(got) != len(want):
            return f"expected {len(want)} values, {_short(want)}; got {_short(got)}"
        return next((said for pair in zip(got, want) if (said := compare(*pair, tol))), None)
    if isinstance(got, Tensor) and got.numel() == 1:
        got = got.detach().item()
    if isinstance(want, bool | str | None) or not isinstance(got, int | float | complex):
        return None if _equal(got, want) else f"expected {want!r}, got {_short(got)}"
    allowed = (1e-6 if tol is None else tol) * max(1.0, abs(want)) if isinstance(want, float | complex) else tol or 0
    try:
        near = abs(got - want) <= allowed
    except OverflowError:  # an int that no float holds
        near = False
    return None if near else f"expected {want!r}, got {_short(got)}"


def _equal(got: Any, want: Any) -> bool:
    try:
        return bool(got == want)
    except (RuntimeError, ValueError, TypeError, OverflowError):  # an array is compared entry by entry
        return False


def _is_dense(t: Tensor) -> bool:
    return t.layout == torch.strided and not (t.is_meta or t.is_nested or t.is_quantized)


def _tensors(got: Any, want: Tensor, tol: int | float | None) -> str | None:
    if not isinstance(got, Tensor):
        return f"expected a tensor of shape {tuple(want.shape)}, got {_short(got)}"
    if not _is_dense(got):
        return "expected a dense tensor, got one that is sparse, nested, quantised or on meta"
    if got.shape != want.shape:
        return f"expected shape {tuple(want.shape)}, got {tuple(got.shape)}"
    if not want.is_complex() and (said := _is_complex(got)):
        return said
    if want.is_complex() and not got.is_complex():
        return f"expected complex numbers, got {got.dtype}: the imaginary part was lost"
    if want.numel() == 0:
        return None
    wide = torch.complex128 if want.is_complex() else torch.float64
    eps = max(torch.finfo(t.dtype).eps if t.dtype.is_floating_point or t.is_complex() else 0.0 for t in (got, want))
    got, want = got.detach().to(wide), want.detach().to(wide)
    size = float(want.abs().max())
    allowed = max(size, 1e-30) * (1e3 * eps if tol is None else tol)
    error = (got - want).abs()
    if bool((error <= allowed).all()):
        return None
    if not bool(torch.isfinite(got).all()):
        return NOT_FINITE
    where = tuple(int(i) for i in torch.unravel_index(error.argmax(), error.shape))
    worst = f"entry {where} should be {want[where].item():.4g}, got {got[where].item():.4g}"
    return f"{worst}{_pattern(got, want, allowed)}"


def not_real(got: Tensor) -> str | None:
    """None for a tensor of finite real numbers, else what it is."""
    return _is_complex(got) or (None if bool(torch.isfinite(got).all()) else NOT_FINITE)


def _is_complex(got: Tensor) -> str | None:
    if not got.is_complex():
        return None
    return f"expected real numbers, got {got.dtype}: take the real part where the result is real"


def _pattern(got: Tensor, want: Tensor, allowed: float) -> str:
    """A known relation between a wrong result and the right one, if there is one."""
    if float(got.abs().max()) <= allowed:
        return "; your result is zero"
    factor = complex((got.conj() * want).sum()).real / float(got.abs().square().sum())
    if want.numel() > 1 and factor and float((got * factor - want).abs().max()) <= allowed:
        return f"; yours is {_times(1 / factor)} the right one"
    if want.ndim >= 2 and want.shape[-1] == want.shape[-2] and float((got.mT - want).abs().max()) <= allowed:
        return "; yours is the transpose of the right one"
    if float((got.flip(-1) - want).abs().max()) <= allowed:
        return "; yours is the right one in reverse order"
    if want.is_complex() and float((got.conj() - want).abs().max()) <= allowed:
        return "; yours is the complex conjugate of the right one"
    return ""


def _times(ratio: float) -> str:
    said = f"{ratio:.4g}"
    return {"2": "twice", "0.5": "half of", "-1": "minus"}.get(said, f"{said} times")


def _short(value: Any) -> str:
    text = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
