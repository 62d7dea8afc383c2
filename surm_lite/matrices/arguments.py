"""What is asked of arguments: dense tensors, finite and whole numbers. What is wrong is named in a sentence."""

from __future__ import annotations

from math import isfinite
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

Number = int | float | complex

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex128, torch.complex64)
"""What the numbers of a matrix may be. (Eight-bit floats and complex halves can be stored, but not computed with.)"""


def kind_of(value: object) -> str:
    """What a value is, as one says it: ``a list``, ``an int``, ``a numpy array``."""
    name = type(value).__name__
    if name == "ndarray":
        return "a numpy array"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def check_tensor(value: object, name: str, core: int, owner: str) -> None:
    """A dense floating or complex tensor with at least ``core`` dimensions, or a TypeError/ValueError that says so."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} of {owner} is {kind_of(value)}; it must be a torch.Tensor")
    compiling = torch.compiler.is_compiling()  # which traces no layout in a backward pass, and has no sparse tensors
    if not compiling and (value.layout != torch.strided or value.is_nested):
        layout = "nested" if value.is_nested else str(value.layout)
        raise TypeError(f"{name} of {owner} is {layout}; it must be a dense tensor, such as {name}.to_dense()")
    if value.dtype not in DTYPES:
        kinds = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
        raise TypeError(f"{name} of {owner} has dtype {value.dtype}; it must be one of {kinds}")
    if value.ndim < core:
        raise ValueError(f"{name} of {owner} has shape {tuple(value.shape)}; it needs at least {core} dimension(s)")


def check_finite(**tensors: Tensor) -> None:
    """Numbers that exist and are finite: no meta tensors, no NaN, nothing infinite; a ValueError names the tensor."""
    for name, t in tensors.items():
        if t.is_meta:
            raise ValueError(f"{name} is on the meta device; it must hold numbers")
        if not bool(torch.isfinite(t).all()):
            raise ValueError(f"{name} holds NaN or infinite numbers; all must be finite")


def check_number(value: Any, name: str, dtype: torch.dtype | None = None) -> None:
    """A finite number, no boolean, that ``dtype`` can hold; or a TypeError/ValueError."""
    if isinstance(value, bool) or not isinstance(value, Number):
        raise TypeError(f"{name} is {kind_of(value)}; it must be a number")
    parts = (
        (value.real, value.imag) if isinstance(value, complex) else (value,)
    )  # torch.compile knows neither int.real nor cmath
    try:
        held = all(isfinite(part) and (dtype is None or abs(part) <= torch.finfo(dtype).max) for part in parts)
    except OverflowError:  # an int that no float holds
        held = False
    if not held:
        raise ValueError(f"{name} is {value}; it must be finite" + (f" in {dtype}" if dtype else ""))
    if isinstance(value, int) and abs(value) >= 2**63:  # torch multiplies by no larger ones
        raise ValueError(f"{name} is {value}; an integer must be below 2^63: write it as a float")


def check_tolerance(value: Any, name: str = "tol") -> None:
    """None, or a finite real number of at least 0."""
    if value is None:
        return
    check_number(value, name)
    if isinstance(value, complex) or value < 0:
        raise ValueError(f"{name} is {value}; it must be a real number of at least 0")


def check_whole(value: Any, name: str, least: int = 1, most: int | None = None) -> None:
    """A whole number in ``least .. most``, no boolean and no float; a ValueError."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        wanted = f"an integer of at least {least}"
        if most is not None:
            wanted = f"in {least} .. {most}" + ("" if whole else ", an integer")
        raise ValueError(f"{name} is {value!r}; it must be {wanted}")


def check_flag(value: Any, name: str) -> None:
    """True or False, or a TypeError."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {kind_of(value)}; it must be True or False")


def check_length(value: Any, name: str) -> None:
    """A size: a whole number of at least 1 that a search for its divisors, or memory, has a chance with."""
    check_whole(value, name)
    if value >= 2**31:
        raise ValueError(f"{name} is {value:.3g}; it must be below 2^31" if value < 2**900 else f"{name} is too large")


def check_draw(dtype: torch.dtype | None, device: torch.device | str | None, generator: torch.Generator | None) -> None:
    """What ``random`` draws with: a dtype that a matrix can have, a device that is there, a generator."""
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype in DTYPES):
        kinds = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
        raise TypeError(f"dtype is {dtype!r}; it must be one of {kinds}")
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator is {kind_of(generator)}; it must be a torch.Generator")
    if device is not None:
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError, TypeError, ValueError) as error:
            said = str(error).splitlines()[0]
            raise ValueError(f"device is {device!r}; it must be one that this torch has ({said})") from None


def broadcast(name: str, shape: torch.Size, other: str, other_shape: torch.Size) -> torch.Size:
    """``torch.broadcast_shapes`` with an error that names both sides."""
    if not other_shape:  # the usual case; torch takes as long for it as for a small FFT
        return shape
    try:
        return torch.broadcast_shapes(shape, other_shape)
    except RuntimeError:
        raise ValueError(
            f"the batch dimensions {tuple(shape)} of {name} do not broadcast with {tuple(other_shape)} of {other}"
        ) from None
