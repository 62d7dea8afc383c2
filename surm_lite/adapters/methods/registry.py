"""The methods there are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

from surm_lite.adapters.base import Method
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
from surm_lite.adapters.methods.singlora import SingLoRA
from surm_lite.adapters.methods.toeplitz import SymmetricToeplitzUpdate, ToeplitzUpdate
from surm_lite.adapters.methods.trp import TRP
from surm_lite.adapters.methods.vera import VeRA
from surm_lite.adapters.methods.whole import BitFit, Full, Head
from surm_lite.adapters.options import near
from surm_lite.matrices import FAMILIES, StructuredMatrix
from surm_lite.viz.palette import add_look

METHODS: dict[str, type[Method]] = {
    "lora": LoRA,
    "circulant": CirculantUpdate,
    "toeplitz": ToeplitzUpdate,
    "symmetric_toeplitz": SymmetricToeplitzUpdate,
    "kronecker": KroneckerUpdate,
    "ldr": LDRUpdate,
    "bottleneck": Bottleneck,
    "c3a": C3A,
    "gralora": GraLoRA,
    "monarch": MonarchUpdate,
    "miss": MiSS,
    "bone": Bone,
    "bat": Bat,
    "loha": LoHa,
    "lokr": LoKr,
    "lokh": LoKH,
    "dora": DoRA,
    "bora": BoRA,
    "loldu": LoLDU,
    "gora": GoRA,
    "singlora": SingLoRA,
    "lorapro": LoRAPro,
    "adalora": AdaLoRA,
    "elalora": ElaLoRA,
    "ardlora": ARDLoRA,
    "trp": TRP,
    "cuttlefish": Cuttlefish,
    "lord": LoRD,
    "lorae": LoRAE,
    "cdvft": CDVFT,
    "fourierft": FourierFT,
    "vera": VeRA,
    "randlora": RandLoRA,
    "oft": OFT,
    "full": Full,
    "head": Head,
    "bitfit": BitFit,
}
"""The registry: one line here gives a method all adapter tests, a row of ``methods()`` and a row of the comparison."""

T = TypeVar("T", bound=type)


def register(cls: T) -> T:
    """Makes a family or a method of your own one of ours: a class decorator.

    A method is then known by its ``name`` to ``adapt``, ``methods``, comparisons, adapter files and exports, a family
    by the snake case of its class name to ``nearest``, ``families`` and ``which_structure``; both get a look in plots.
    ``check_method`` and ``check_family`` say whether it keeps the contract; this does not run them.

    Args:
        cls: a subclass of ``Method`` with a ``name``, or of ``StructuredMatrix``.

    Returns:
        The class itself.

    Raises:
        TypeError: cls is neither.
        ValueError: another class has the name already.

    Cost:
        Two entries of dictionaries, for as long as the process lives.

    Example:
        >>> from surm_lite.adapters import LoRA, methods
        >>> @register
        ... class Twin(LoRA):
        ...     name = "twin"
        >>> methods()[-1]["name"]
        'twin'
        >>> del METHODS["twin"]

    Taught in:
        25_your_own_model
    """
    if isinstance(cls, type) and issubclass(cls, Method):
        registry: dict[str, Any] = METHODS
        name = getattr(cls, "name", None)
    elif isinstance(cls, type) and issubclass(cls, StructuredMatrix):
        registry = FAMILIES
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
    else:
        raise TypeError(f"cls is {cls!r}; it must be a subclass of Method or of StructuredMatrix")
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"name of {cls.__name__} is {name!r}; it must be a Python name")
    known = registry.get(name)
    if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(f"name of {cls.__name__} is {name!r}, which {known.__name__} has already")
    registry[name] = cls
    add_look(name)
    return cls


class MethodTable(list[dict[str, Any]]):
    """Rows of ``methods()``: a list of dictionaries that prints as a table."""

    def __repr__(self) -> str:
        lines = [("method", "options and defaults", "exact at start", "merges", "paper")]
        for row in self:
            options = ", ".join(f"{k}={v!r}" for k, v in row["options"].items())
            flags = ("yes" if row[k] else "no" for k in ("exact_at_init", "mergeable"))
            lines.append((row["name"], options, *flags, row["paper"]))
        widths = [max(map(len, column)) for column in zip(*lines)]
        return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip() for line in lines)


def methods() -> MethodTable:
    """Every registered method with its paper, its options and their defaults.

    Returns:
        A list with one dictionary a method: name, paper, options (name -> default), exact_at_init, mergeable, lr (a
        learning rate for AdamW to start a search from: the leaderboard's choice). It prints as a table.

    Example:
        >>> [row["name"] for row in methods()][:3]
        ['lora', 'circulant', 'toeplitz']
        >>> methods()[0]["options"]
        {'rank': 8, 'alpha': 8.0, 'rslora': False, 'init': 'kaiming', 'lr_ratio': 1.0, 'looked': False}

    Taught in:
        18_lora_adapters, 21_finetune_vit, 26_choose_a_structure
    """
    return MethodTable(
        {
            "name": name,
            "paper": method.paper,
            "options": {f.name: _default(f) for f in fields(method) if f.init},
            "exact_at_init": method.exact_at_init,
            "mergeable": method.mergeable,
            "lr": method.lr,
        }
        for name, method in METHODS.items()
    )


def _default(option: Field[Any]) -> Any:
    return option.default if option.default_factory is MISSING else option.default_factory()


def make_method(method: str, options: Mapping[str, Any]) -> Method:
    """A method by name, its options checked: ValueError on an unknown name or option."""
    if method not in METHODS:
        raise ValueError(near("method", method, METHODS))
    known = [f.name for f in fields(METHODS[method]) if f.init]
    for name in options:
        if name not in known:
            raise ValueError(near(f"option of method {method!r}", name, known))
    return METHODS[method](**options)
