"""A matrix that a few waves add up to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surm_lite.matrices import fft
from surm_lite.matrices.base import StructuredMatrix, check_fields


class SparseSpectrum(StructuredMatrix):
    """The real part of the inverse two-dimensional Fourier transform of an m x n matrix with few entries.

    ``W[i, j] = sum_k c_k cos(2 pi (u_k i / m + v_k j / n)) / (m n)``.

    Args:
        entries: (k,) c, real.
        places: (k,) integers ``u n + v``: where the entries stand, counted row by row.
        m: rows.
        n: columns.

    Cost:
        O(k + m log m + n log n) time.
    """

    fields = {"entries": 1}
    formula = "Re ifft2(E)"
    costly = True
    entries: Tensor
    places: Tensor

    def __init__(self, entries: Tensor, places: Tensor, m: int, n: int) -> None:
        check_fields(type(self), entries=entries)
        self._set((m, n), entries=entries, places=places)

    @property
    def options(self) -> dict[str, Any]:
        return {"places": self.places, **dict(zip("mn", self.shape))}

    def to_dense(self) -> Tensor:
        m, n = self.shape
        E = torch.complex(self.entries, torch.zeros_like(self.entries)).new_zeros(m * n)
        E = E.index_put((self.places,), self.entries.to(E.dtype)).view(m, n)
        columns = fft.Circular(n, E).inverse(E, n)
        return fft.Circular(m, E).inverse(columns.mT, m).mT.real

    def _product(self, x: Tensor) -> Tensor:
        if x.is_complex():
            return torch.complex(self._product(x.real), self._product(x.imag))
        m, n = self.shape
        z = torch.complex(x, torch.zeros_like(x))
        waves = fft.Circular(n, z).forward(z)[..., self.places % n].conj() * self.entries
        Y = z.new_zeros(*x.shape[:-1], m).index_add(-1, self.places // n, waves)
        return fft.Circular(m, z).inverse(Y, m).real / n

    @property
    def T(self) -> SparseSpectrum:
        m, n = self.shape
        return SparseSpectrum(self.entries, self.places % n * m + self.places // n, n, m)

    def flops(self, batch: int = 1) -> int:
        return batch * (sum(fft.flops(size, True) for size in self.shape) + 8 * self.entries.shape[-1])

    @classmethod
    def random(cls, m: int, n: int | None = None, *, generator: torch.Generator | None = None, **like: Any) -> Any:
        raise TypeError(f"{cls.__name__} needs its places; make it of entries and places")
