"""Fine-tuning: structured updates on the frozen linear layers of any torch model."""

from surm_lite.adapters.additive import Additive, Update
from surm_lite.adapters.attach import adapt
from surm_lite.adapters.attached import adapters_of, methods_of, trainable_parameters
from surm_lite.adapters.base import Adapter, Method
from surm_lite.adapters.count import Count, count
from surm_lite.adapters.export import Exported, export
from surm_lite.adapters.io import load_adapter, save_adapter
from surm_lite.adapters.merge import merge, thin, unmerge
from surm_lite.adapters.methods.adalora import AdaLoRA
from surm_lite.adapters.methods.ardlora import ARDLoRA
from surm_lite.adapters.methods.bat import Bat
from surm_lite.adapters.methods.bora import BoRA
from surm_lite.adapters.methods.bottleneck import Bottleneck
from surm_lite.adapters.methods.c3a import C3A
from surm_lite.adapters.methods.cdvft import CDVFT
from surm_lite.adapters.methods.circulant import CirculantUpdate
from surm_lite.adapters.methods.cuttlefish import Cuttlefish
from surm_lite.adapters.methods.dora import DoRA
from surm_lite.adapters.methods.elalora import ElaLoRA
from surm_lite.adapters.methods.fourierft import FourierFT
from surm_lite.adapters.methods.gora import GoRA
from surm_lite.adapters.methods.gralora import GraLoRA
from surm_lite.adapters.methods.kronecker import KroneckerUpdate
from surm_lite.adapters.methods.ldr import LDRUpdate
from surm_lite.adapters.methods.loha import LoHa
from surm_lite.adapters.methods.lokh import LoKH
from surm_lite.adapters.methods.lokr import LoKr
from surm_lite.adapters.methods.loldu import LoLDU
from surm_lite.adapters.methods.lora import LoRA
from surm_lite.adapters.methods.lorae import LoRAE
from surm_lite.adapters.methods.lorapro import LoRAPro
from surm_lite.adapters.methods.lord import LoRD
from surm_lite.adapters.methods.miss import Bone, MiSS
from surm_lite.adapters.methods.monarch import MonarchUpdate
from surm_lite.adapters.methods.oft import OFT
from surm_lite.adapters.methods.randlora import RandLoRA
from surm_lite.adapters.methods.registry import METHODS, methods, register
from surm_lite.adapters.methods.singlora import SingLoRA
from surm_lite.adapters.methods.toeplitz import SymmetricToeplitzUpdate, ToeplitzUpdate
from surm_lite.adapters.methods.trp import TRP
from surm_lite.adapters.methods.vera import VeRA
from surm_lite.adapters.methods.whole import BitFit, Full, Head
from surm_lite.adapters.off import disabled
from surm_lite.adapters.rewrite import Rewrite, Rewritten

__all__ = [
    "C3A",
    "CDVFT",
    "METHODS",
    "OFT",
    "TRP",
    "ARDLoRA",
    "AdaLoRA",
    "Adapter",
    "Additive",
    "Bat",
    "BitFit",
    "BoRA",
    "Bone",
    "Bottleneck",
    "CirculantUpdate",
    "Count",
    "Cuttlefish",
    "DoRA",
    "ElaLoRA",
    "Exported",
    "FourierFT",
    "Full",
    "GoRA",
    "GraLoRA",
    "Head",
    "KroneckerUpdate",
    "LDRUpdate",
    "LoHa",
    "LoKH",
    "LoKr",
    "LoLDU",
    "LoRA",
    "LoRAE",
    "LoRAPro",
    "LoRD",
    "Method",
    "MiSS",
    "MonarchUpdate",
    "RandLoRA",
    "Rewrite",
    "Rewritten",
    "SingLoRA",
    "SymmetricToeplitzUpdate",
    "ToeplitzUpdate",
    "Update",
    "VeRA",
    "adapt",
    "adapters_of",
    "count",
    "disabled",
    "export",
    "load_adapter",
    "merge",
    "methods",
    "methods_of",
    "register",
    "save_adapter",
    "thin",
    "trainable_parameters",
    "unmerge",
]
