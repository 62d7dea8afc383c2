"""FourierFT: a few trained entries of the spectrum of the update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from surm_lite.adapters.additive import Update
from surm_lite.adapters.options import check_count, check_flag, check_number, check_seed
from surm_lite.matrices.spectrum import SparseSpectrum


@dataclass
class FourierFT(Update):
    """An update whose two-dimensional spectrum is zero but for a few places.

    ``W = W0 + scaling Re(ifft2(E))`` with E the m x n matrix that holds the trained numbers at places drawn without
    repetition, the ones that peft draws: each number weighs one cosine wave. (A place and the one opposite to it,
    (-u, -v), give the same wave.)

    Args:
        n_frequency: how many numbers, at least 1; at most m n are taken.
        scaling: of the update. A wave has the height scaling / (m n), which is why it is large, and the rate too.
        random_loc_seed: seed of the places.
        init_weights: start at zero, so that the first W is W0. False draws from N(0, 1), as the paper does and as peft
            does by default: then the first W is not W0.

    Raises:
        ValueError: an option has the wrong type or size.

    Cost:
        n_frequency numbers, and twice as many integers in memory for the places; O((m + n) log(m + n)) time a token.

    Example:
        >>> FourierFT().n_params(768, 768)
        1000

    Source:
        Gao et al. (2024), section 3.

    Taught in:
        39_rotations_spectra_bases
    """

    name = "fourierft"
    paper = "Gao et al. 2024, arXiv 2405.03003"
    lr = 3e-2  # it goes with the scaling

    n_frequency: int = 1000
    scaling: float = 150.0
    random_loc_seed: int = 777
    init_weights: bool = True

    def __post_init__(self) -> None:
        check_count(self.name, "n_frequency", self.n_frequency)
        check_number(self.name, "scaling", self.scaling)
        check_seed(self.name, "random_loc_seed", self.random_loc_seed)
        check_flag(self.name, "init_weights", self.init_weights)
        self.exact_at_init = self.init_weights  # type: ignore[misc]  # of this object, not of the class

    def n_params(self, m: int, n: int) -> int:
        return min(self.n_frequency, m * n)

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        yield from ({"n_frequency": count} for count in range(1, min(m * n, 8 * (m + n)) + 1))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        m, n = weight.shape
        k = self.n_params(m, n)
        places = torch.randperm(m * n, generator=torch.Generator().manual_seed(self.random_loc_seed))[:k]
        spectrum = torch.zeros(k) if self.init_weights else torch.randn(k, generator=generator)
        return {"spectrum": spectrum, "places": nn.Buffer(places, persistent=False)}

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> SparseSpectrum:
        return SparseSpectrum(self.scaling * tensors["spectrum"], tensors["places"], m, n)
