"""Structured matrices for fine-tuning, and the book that teaches them."""

__version__ = "0.1.0"

from . import checks
from .checks import check_family
from .explore import explore
from .guard import no_dense
from .matrices import (
    FAMILIES,
    LDR,
    BlockCirculant,
    Circulant,
    FCirculant,
    Hankel,
    Kronecker,
    LowRank,
    Monarch,
    SkewCirculant,
    StructuredMatrix,
    SymmetricToeplitz,
    Toeplitz,
)
from .matrices.displacement import displacement_rank, generators, recover, shift, stein, sylvester
from .matrices.nearest import nearest
from .matrices.which import which_structure

__all__ = [
    "FAMILIES",
    "LDR",
    "BlockCirculant",
    "Circulant",
    "FCirculant",
    "Hankel",
    "Kronecker",
    "LowRank",
    "Monarch",
    "SkewCirculant",
    "StructuredMatrix",
    "SymmetricToeplitz",
    "Toeplitz",
    "check_family",
    "checks",
    "displacement_rank",
    "explore",
    "generators",
    "nearest",
    "no_dense",
    "recover",
    "shift",
    "stein",
    "sylvester",
    "which_structure",
]
