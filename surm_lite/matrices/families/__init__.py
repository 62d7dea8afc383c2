"""The families of structured matrices, one a file, and the registry of them all."""

from surm_lite.matrices.base import StructuredMatrix
from surm_lite.matrices.families.block_circulant import BlockCirculant
from surm_lite.matrices.families.cauchy import Cauchy, CauchyLike, OverlappingNodesError
from surm_lite.matrices.families.circulant import Circulant, FCirculant, SkewCirculant
from surm_lite.matrices.families.kronecker import Kronecker, factor_shapes
from surm_lite.matrices.families.kronecker_sum import KroneckerSum
from surm_lite.matrices.families.ldr import LDR
from surm_lite.matrices.families.low_rank import LowRank
from surm_lite.matrices.families.monarch import Monarch
from surm_lite.matrices.families.toeplitz import Hankel, SymmetricToeplitz, Toeplitz
from surm_lite.matrices.families.toeplitz_hankel import ToeplitzPlusHankel
from surm_lite.matrices.families.vandermonde import Vandermonde

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
    "SymmetricToeplitz",
    "Toeplitz",
    "ToeplitzPlusHankel",
    "Vandermonde",
    "factor_shapes",
]
