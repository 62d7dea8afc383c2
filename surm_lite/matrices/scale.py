"""Powers of two: numbers are brought near one before they are squared, and back afterwards, without rounding."""

from __future__ import annotations

from collections.abc import Sequence
from math import frexp, inf, log10
from math import ldexp as _ldexp

import torch
from torch import Tensor


def exponent(*tensors: Tensor) -> int:
    """The least even k with all numbers (of a complex one, both parts) below 2^k; 0 where all are 0.

    Even, so that two factors can share 2^k.
    """
    k = frexp(max(float(_parts(t).abs().amax()) for t in tensors))[1]
    return k + k % 2


def exponents(rows: Tensor) -> list[int]:
    """``exponent`` of each row of a (k, n) tensor."""
    largest = _parts(rows).flatten(1).abs().amax(1)
    return [k + k % 2 for k in (frexp(size)[1] for size in largest.tolist())]


def shifted(t: Tensor, k: int | Sequence[int]) -> Tensor:
    """``t 2^k``, for a sequence row by row: exact, unless a result is too large or too small for the dtype."""
    powers = [k] if isinstance(k, int) else list(k)
    if not any(powers):
        return t
    dtype = t.dtype.to_real()
    for part in range(4):  # 2^k may lie outside of the dtype where t 2^k does not
        factor = torch.tensor([ldexp(1.0, (p + part) // 4) for p in powers], dtype=dtype, device=t.device)
        t = t * (factor[0] if isinstance(k, int) else factor[:, None])
    return t


def ldexp(x: float, k: int) -> float:
    """``x 2^k``; infinite where that is too large for a float."""
    try:
        return _ldexp(x, k)
    except OverflowError:
        return inf if x > 0 else -inf


def rescaled(t: Tensor, k: int | Sequence[int], name: str, dtype: torch.dtype | None = None) -> Tensor:
    """``shifted``, then cast; a ValueError about ``name`` where numbers do not survive it (see ``check_kept``)."""
    result = shifted(t, k).to(dtype or t.dtype)
    if isinstance(k, int):
        check_kept(t.reshape(1, -1), result.reshape(1, -1), [k], name)
    else:
        check_kept(t, result, k, name)
    return result


def check_kept(before: Tensor, after: Tensor, k: Sequence[int], name: str) -> None:
    """Rows of ``before`` times 2^k and in the dtype of ``after``: none became infinite, none of them wholly 0.

    Raises:
        ValueError: some numbers are too large for the dtype, or all of a row are too small.
    """
    before, after = before.detach(), after.detach()
    large = (torch.isfinite(before) & ~torch.isfinite(after)).any(-1)
    small = (before != 0).any(-1) & (after == 0).all(-1)
    for row in (large | small).nonzero().flatten().tolist():
        size = log10(float(_parts(before[row]).abs().amax())) + log10(2) * k[row]
        raise ValueError(f"{name} holds numbers near 1e{size:+.0f}, which {after.dtype} does not: take a wider dtype")


def _parts(t: Tensor) -> Tensor:
    t = t.detach()
    return torch.view_as_real(t.resolve_conj()) if t.is_complex() else t
