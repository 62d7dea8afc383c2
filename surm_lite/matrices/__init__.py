"""The algebra of structured matrices. It knows nothing of training."""

from .base import StructuredMatrix
from .blocks import BlockCirculant
from .cauchy import Cauchy, CauchyLike, OverlappingNodesError
from .circulant import Circulant, FCirculant, SkewCirculant
from .kronecker import Kronecker, factor_shapes
from .kronecker_sum import KroneckerSum
from .ldr import LDR
from .lowrank import LowRank
from .monarch import Monarch
from .toeplitz import Hankel, SymmetricToeplitz, Toeplitz
from .toeplitz_hankel import ToeplitzPlusHankel
from .vandermonde import Vandermonde

FAMILIES: dict[str, type[StructuredMatrix]] = {
    "circulant": Circulant,
    "skew_circulant": SkewCirculant,
    "f_circulant": FCirculant,
    "toeplitz": Toeplitz,
    "symmetric_toeplitz": SymmetricToeplitz,
    "hankel": Hankel,
    "toeplitz_plus_hankel": ToeplitzPlusHankel,
    "vandermonde": Vandermonde,
    "cauchy": Cauchy,
    "cauchy_like": CauchyLike,
    "kronecker": Kronecker,
    "kronecker_sum": KroneckerSum,
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
    "Cauchy",
    "CauchyLike",
    "Circulant",
    "FCirculant",
    "Hankel",
    "Kronecker",
    "KroneckerSum",
    "LowRank",
    "Monarch",
    "OverlappingNodesError",
    "SkewCirculant",
    "StructuredMatrix",
    "SymmetricToeplitz",
    "Toeplitz",
    "ToeplitzPlusHankel",
    "Vandermonde",
    "factor_shapes",
]
