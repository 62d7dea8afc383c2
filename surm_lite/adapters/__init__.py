"""Fine-tuning: structured updates on the frozen linear layers of any torch model."""

from .additive import Additive, Update
from .attach import adapt, adapters_of, merge, methods_of, trainable_parameters, unmerge
from .base import Adapter, Method
from .bottleneck import Bottleneck
from .circulant import CirculantUpdate
from .count import Count, count
from .export import Exported, export
from .io import load_adapter, save_adapter
from .kronecker import KroneckerUpdate
from .ldr import LDRUpdate
from .lora import LoRA
from .registry import METHODS, methods
from .toeplitz import SymmetricToeplitzUpdate, ToeplitzUpdate

__all__ = [
    "METHODS",
    "Adapter",
    "Additive",
    "Bottleneck",
    "CirculantUpdate",
    "Count",
    "Exported",
    "KroneckerUpdate",
    "LDRUpdate",
    "LoRA",
    "Method",
    "SymmetricToeplitzUpdate",
    "ToeplitzUpdate",
    "Update",
    "adapt",
    "adapters_of",
    "count",
    "export",
    "load_adapter",
    "merge",
    "methods",
    "methods_of",
    "save_adapter",
    "trainable_parameters",
    "unmerge",
]
