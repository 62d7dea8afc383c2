"""Structured matrices for fine-tuning, and the book that teaches them."""

__version__ = "0.1.0"

from . import checks, data, models
from .adapters import (
    Adapter,
    Method,
    adapt,
    count,
    export,
    load_adapter,
    merge,
    methods,
    save_adapter,
    trainable_parameters,
    unmerge,
)
from .checks import check_family
from .comparison import compare
from .device import device
from .explore import explore
from .guard import no_dense
from .matrices import (
    FAMILIES,
    LDR,
    BlockCirculant,
    Cauchy,
    CauchyLike,
    Circulant,
    FCirculant,
    Hankel,
    Kronecker,
    KroneckerSum,
    LowRank,
    Monarch,
    OverlappingNodesError,
    SkewCirculant,
    StructuredMatrix,
    SymmetricToeplitz,
    Toeplitz,
    ToeplitzPlusHankel,
    Vandermonde,
)
from .matrices.butterfly import dft_butterflies
from .matrices.closure import as_ldr, leading_block, schur_complement
from .matrices.conjugate_gradients import conjugate_gradients
from .matrices.displacement import displacement_rank, generators, recover, stein, sylvester
from .matrices.family_table import families
from .matrices.generator_form import compress
from .matrices.gko import SingularMatrixError
from .matrices.krylov import Krylov, krylov
from .matrices.nearest import nearest
from .matrices.operators import Shift, SingularPairError, shift
from .matrices.solve import ResidualWarning, solve
from .matrices.toeplitz_inverse import levinson, toeplitz_inverse
from .matrices.which import which_structure
from .record import Record
from .train import train

__all__ = [
    "FAMILIES",
    "LDR",
    "Adapter",
    "BlockCirculant",
    "Cauchy",
    "CauchyLike",
    "Circulant",
    "FCirculant",
    "Hankel",
    "Kronecker",
    "KroneckerSum",
    "Krylov",
    "LowRank",
    "Method",
    "Monarch",
    "OverlappingNodesError",
    "Record",
    "ResidualWarning",
    "Shift",
    "SingularMatrixError",
    "SingularPairError",
    "SkewCirculant",
    "StructuredMatrix",
    "SymmetricToeplitz",
    "Toeplitz",
    "ToeplitzPlusHankel",
    "Vandermonde",
    "adapt",
    "as_ldr",
    "check_family",
    "checks",
    "compare",
    "compress",
    "conjugate_gradients",
    "count",
    "data",
    "device",
    "dft_butterflies",
    "displacement_rank",
    "explore",
    "export",
    "families",
    "generators",
    "krylov",
    "leading_block",
    "levinson",
    "load_adapter",
    "merge",
    "methods",
    "models",
    "nearest",
    "no_dense",
    "recover",
    "save_adapter",
    "schur_complement",
    "shift",
    "solve",
    "stein",
    "sylvester",
    "toeplitz_inverse",
    "train",
    "trainable_parameters",
    "unmerge",
    "which_structure",
]
