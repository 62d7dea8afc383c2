"""Structured matrices for fine-tuning, and the book that teaches them."""

__version__ = "0.1.0"

from surm_lite import checks, data, models
from surm_lite.adapters import (
    Adapter,
    Method,
    adapt,
    count,
    disabled,
    export,
    load_adapter,
    merge,
    methods,
    register,
    save_adapter,
    thin,
    trainable_parameters,
    unmerge,
)
from surm_lite.checks import check_family, check_method
from surm_lite.comparison import compare
from surm_lite.device import device
from surm_lite.explore import explore
from surm_lite.guard import no_dense
from surm_lite.matrices import (
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
from surm_lite.matrices.algorithms.butterfly import dft_butterflies
from surm_lite.matrices.algorithms.closure import leading_block, schur_complement
from surm_lite.matrices.algorithms.conjugate_gradients import conjugate_gradients
from surm_lite.matrices.algorithms.decompose import decompose
from surm_lite.matrices.algorithms.displacement import displacement_rank, generators, recover, stein, sylvester
from surm_lite.matrices.algorithms.family_table import families
from surm_lite.matrices.algorithms.gko import SingularMatrixError
from surm_lite.matrices.algorithms.inverse import inverse
from surm_lite.matrices.algorithms.nearest import nearest
from surm_lite.matrices.algorithms.solve import ResidualWarning, solve
from surm_lite.matrices.algorithms.to_ldr import as_ldr
from surm_lite.matrices.algorithms.toeplitz_inverse import levinson, toeplitz_inverse
from surm_lite.matrices.algorithms.which import which_structure
from surm_lite.matrices.families.krylov import Krylov, krylov
from surm_lite.matrices.generator_form import compress
from surm_lite.matrices.operators import Shift, SingularPairError, shift
from surm_lite.predict import Prediction, predict
from surm_lite.quiz import guess, quiz
from surm_lite.tasks import Task
from surm_lite.training.memory import Memory, memory
from surm_lite.training.record import Record
from surm_lite.training.train import train
from surm_lite.training.watch import JsonLog, Progress

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
    "JsonLog",
    "Kronecker",
    "KroneckerSum",
    "Krylov",
    "LowRank",
    "Memory",
    "Method",
    "Monarch",
    "OverlappingNodesError",
    "Prediction",
    "Progress",
    "Record",
    "ResidualWarning",
    "Shift",
    "SingularMatrixError",
    "SingularPairError",
    "SkewCirculant",
    "StructuredMatrix",
    "SymmetricToeplitz",
    "Task",
    "Toeplitz",
    "ToeplitzPlusHankel",
    "Vandermonde",
    "adapt",
    "as_ldr",
    "check_family",
    "check_method",
    "checks",
    "compare",
    "compress",
    "conjugate_gradients",
    "count",
    "data",
    "decompose",
    "device",
    "dft_butterflies",
    "disabled",
    "displacement_rank",
    "explore",
    "export",
    "families",
    "generators",
    "guess",
    "inverse",
    "krylov",
    "leading_block",
    "levinson",
    "load_adapter",
    "memory",
    "merge",
    "methods",
    "models",
    "nearest",
    "no_dense",
    "predict",
    "quiz",
    "recover",
    "register",
    "save_adapter",
    "schur_complement",
    "shift",
    "solve",
    "stein",
    "sylvester",
    "thin",
    "toeplitz_inverse",
    "train",
    "trainable_parameters",
    "unmerge",
    "which_structure",
]
