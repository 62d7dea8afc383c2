"""The algebra of structured matrices. It knows nothing of training."""

from .base import StructuredMatrix
from .blocks import BlockCirculant
from .circulant import Circulant, FCirculant, SkewCirculant
from .kronecker import Kronecker, factor_shapes
from .ldr import LDR
from .lowrank import LowRank
from .monarch import Monarch
from .toeplitz import Hankel, SymmetricToeplitz, Toeplitz

FAMILIES: dict[str, type[StructuredMatrix]] = {
    "circulant": Circulant,
    "skew_circulant": SkewCirculant,
    "f_circulant": FCirculant,
    "toeplitz": Toeplitz,
    "symmetric_toeplitz": SymmetricToeplitz,
    "hankel": Hankel,
    "kronecker": Kronecker,
    "low_rank": LowRank,
    "ldr": LDR,
    "block_circulant": BlockCirculant,
    "monarch": Monarch,
}
"""The registry: one line here gives a family the whole contract, a row in ``doctor`` and in the book's table."""

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
    "factor_shapes",
]
