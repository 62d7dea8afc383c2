"""The methods there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import Method, near
from .bottleneck import Bottleneck
from .circulant import CirculantUpdate
from .kronecker import KroneckerUpdate
from .ldr import LDRUpdate
from .lora import LoRA
from .toeplitz import SymmetricToeplitzUpdate, ToeplitzUpdate

METHODS: dict[str, type[Method]] = {
    "lora": LoRA,
    "circulant": CirculantUpdate,
    "toeplitz": ToeplitzUpdate,
    "symmetric_toeplitz": SymmetricToeplitzUpdate,
    "kronecker": KroneckerUpdate,
    "ldr": LDRUpdate,
    "bottleneck": Bottleneck,
}
"""The registry: one line here gives a method all adapter tests, a row of ``methods()`` and a row of the comparison."""


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
        learning rate for AdamW to start a search from). It prints as a table.

    Example:
        >>> [row["name"] for row in methods()][:3]
        ['lora', 'circulant', 'toeplitz']
        >>> methods()[0]["options"]
        {'rank': 8, 'alpha': 8.0, 'rslora': False}

    Taught in:
        18_lora_adapters, 21_finetune_vit, 26_choose_a_structure
    """
    return MethodTable(
        {
            "name": name,
            "paper": method.paper,
            "options": method().options(),
            "exact_at_init": method.exact_at_init,
            "mergeable": method.mergeable,
            "lr": method.lr,
        }
        for name, method in METHODS.items()
    )


def make_method(method: str, options: Mapping[str, Any]) -> Method:
    """A method by name, its options checked: ValueError on an unknown name or option."""
    if method not in METHODS:
        raise ValueError(near("method", method, METHODS))
    known = METHODS[method]().options()
    for name in options:
        if name not in known:
            raise ValueError(near(f"option of method {method!r}", name, known))
    return METHODS[method](**options)
