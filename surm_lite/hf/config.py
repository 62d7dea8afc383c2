"""What a user of peft writes: `SurmConfig(structure="toeplitz", target_modules=[...])`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from peft import PeftConfig
from peft.utils.other import get_pattern_key
from peft.utils.peft_types import PeftType

from surm_lite.adapters import METHODS, Method, Update
from surm_lite.adapters.methods.registry import make_method
from surm_lite.adapters.options import near

NAME = "SURM"
FILE_TYPE = "SURM: import surm_lite.hf"
"""What a saved folder gives as its type. peft looks it up in a dictionary and has no entry points, so that loading the
folder before this module is imported ends in a KeyError of that very string: it says what to import."""
HOOKS = (
    "calibrate", "param_groups", "before_step", "penalty", "after_backward", "after_step", "after_epoch", "finish",
)  # fmt: skip


def why_not(method: Method) -> str | None:
    """Why peft cannot run a method, or None where it can: peft adds matrices to weights and calls no hooks."""
    if not isinstance(method, Update):
        return "is not a matrix that is added to the weight"
    if method.needs:
        return f"needs {' and '.join(method.needs)} from the training loop, and peft passes none on"
    hooks = [hook for hook in HOOKS if method.acts(hook)]
    return f"acts while it is trained ({', '.join(hooks)}), and peft calls no hooks" if hooks else None


def structures() -> tuple[str, ...]:
    """The names of all methods that peft can run, those of ``register`` included."""
    return tuple(name for name, method in METHODS.items() if why_not(method()) is None)


@dataclass
class SurmConfig(PeftConfig):
    """A structured update for peft: what `LoraConfig` is for LoRA.

    ``W = W0 + S`` with S a Toeplitz, circulant, Kronecker, low-displacement-rank, ... matrix.

    Args:
        structure: what S is, by the name of a method: "toeplitz", "circulant", "kronecker", "ldr", ...
        options: that method's own options, for example {"rank": 4}.
        options_pattern: other options for some layers, {"layers.0.q_proj": {"rank": 8}}. A key is the end of a module
            name, cut at a dot, or an expression for it, as in the ``rank_pattern`` of LoRA; the first to fit counts.
        seed: for the random factors; every layer draws from a stream of its own, the same one as with `adapt`.
        target_modules: ends of module names, or a regular expression for whole names, or "all-linear". None: what peft
            has for LoRA in this type of model; for types that it does not know, the query, key and value projections.
        exclude_modules: names or a regular expression of modules to leave out.
        modules_to_save: modules that are trained whole and saved, such as "classifier".
        layers_to_transform: indices of the only layers to adapt.
        layers_pattern: the name of the list that these indices count in.

    Raises:
        ValueError: an unknown structure, one that peft cannot run, or an option that it does not have or take.

    Example:
        >>> import peft
        >>> base = torch.nn.Sequential(torch.nn.Linear(6, 4))
        >>> model = peft.get_peft_model(base, SurmConfig(structure="toeplitz", target_modules=["0"]))
        >>> model.get_nb_trainable_parameters()
        (9, 37)

    Taught in:
        25_your_own_model
    """

    structure: str = field(default="toeplitz", metadata={"help": f"One of {', '.join(structures())}."})
    options: dict[str, Any] = field(default_factory=dict, metadata={"help": "Options of the structure by name."})
    options_pattern: Any = field(  # a dictionary; in a file, pairs
        default_factory=dict, metadata={"help": "Other options for the layers that a name or expression means."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of the random factors."})
    target_modules: Any = field(default=None, metadata={"help": "Names or a regular expression of layers to adapt."})
    exclude_modules: Any = field(default=None, metadata={"help": "Names or a regular expression of layers to skip."})
    modules_to_save: list[str] | None = field(default=None, metadata={"help": "Modules to train and save whole."})
    layers_to_transform: list[int] | int | None = field(default=None, metadata={"help": "Indices of layers to adapt."})
    layers_pattern: list[str] | str | None = field(default=None, metadata={"help": "Name of the list of layers."})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType[NAME]
        for name in ("target_modules", "exclude_modules"):
            if isinstance(value := getattr(self, name), list):
                setattr(self, name, set(value))
        self._check_pattern()

    def method(self, key: str | None = None) -> Update:
        """The structure with its options, as `adapt` would make it: for the layer of that name, or for most layers."""
        if self.structure not in METHODS:
            raise ValueError(near("structure", str(self.structure), structures()))
        own = {} if key is None else self.options_pattern.get(get_pattern_key(list(self.options_pattern), key), {})
        # JSON has no tuples, and no option is a list
        options = {name: tuple(v) if isinstance(v, list) else v for name, v in {**self.options, **own}.items()}
        made = make_method(self.structure, options)
        if (why := why_not(made)) is not None:
            raise ValueError(
                f"structure is {self.structure!r}, which {why}; use surm_lite.adapt for it, "
                f"or here one of {', '.join(structures())}"
            )
        return cast(Update, made)

    def to_dict(self) -> dict[str, Any]:
        """The config as it is saved. Patterns become pairs: peft sorts keys in the file, and their order counts."""
        pairs = [[pattern, options] for pattern, options in self.options_pattern.items()]
        return {**super().to_dict(), "peft_type": FILE_TYPE, "options_pattern": pairs}

    def _check_pattern(self) -> None:
        """Every pattern is an expression, and its options make sense."""
        self.method()
        try:
            self.options_pattern = dict(self.options_pattern)
        except (TypeError, ValueError):
            raise TypeError(
                f"options_pattern is {self.options_pattern!r}; it must be a dictionary of dictionaries"
            ) from None
        for pattern, own in self.options_pattern.items():
            if not isinstance(pattern, str) or not isinstance(own, Mapping):
                raise TypeError(f"options_pattern[{pattern!r}] is {own!r}; it must be options by name, under a string")
            try:
                re.compile(pattern)
                SurmConfig(structure=self.structure, options={**self.options, **own})
            except (ValueError, re.error) as error:
                raise ValueError(f"options_pattern[{pattern!r}]: {error}") from None
