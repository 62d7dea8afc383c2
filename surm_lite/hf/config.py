"""What a user of peft writes: `SurmConfig(structure="toeplitz", target_modules=[...])`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from peft import PeftConfig
from peft.utils.peft_types import PeftType

from ..adapters import METHODS, Update
from ..adapters.base import near
from ..adapters.registry import make_method

NAME = "SURM"
STRUCTURES = tuple(name for name, method in METHODS.items() if issubclass(method, Update))
"""The methods that add a structured matrix to the weight."""


@dataclass
class SurmConfig(PeftConfig):
    """A structured update for peft: what `LoraConfig` is for LoRA.

    ``W = W0 + S`` with S a Toeplitz, circulant, Kronecker, low-displacement-rank, ... matrix.

    Args:
        structure: what S is, by the name of a method: "toeplitz", "circulant", "kronecker", "ldr", ...
        options: that method's own options, for example {"rank": 4}.
        seed: for the random factors; every layer draws from a stream of its own, the same one as with `adapt`.
        target_modules: ends of module names, or a regular expression for whole names, or "all-linear". None: the query,
            key and value projections.
        exclude_modules: names or a regular expression of modules to leave out.
        modules_to_save: modules that are trained whole and saved, such as "classifier".
        layers_to_transform: indices of the only layers to adapt.
        layers_pattern: the name of the list that these indices count in.

    Raises:
        ValueError: an unknown structure, or an option that it does not have or take.

    Example:
        >>> import peft
        >>> base = torch.nn.Sequential(torch.nn.Linear(6, 4))
        >>> model = peft.get_peft_model(base, SurmConfig(structure="toeplitz", target_modules=["0"]))
        >>> model.get_nb_trainable_parameters()
        (9, 37)

    Taught in:
        25_your_own_model
    """

    structure: str = field(default="toeplitz", metadata={"help": f"One of {', '.join(STRUCTURES)}."})
    options: dict[str, Any] = field(default_factory=dict, metadata={"help": "Options of the structure by name."})
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
        self.method()

    def method(self) -> Update:
        """The structure with its options, as `adapt` would make it."""
        if self.structure not in STRUCTURES:
            raise ValueError(near("structure", str(self.structure), STRUCTURES))
        # JSON has no tuples, and no option is a list
        options = {name: tuple(v) if isinstance(v, list) else v for name, v in self.options.items()}
        return cast(Update, make_method(self.structure, options))
