"""What is attached to a model: its adapters, its methods, and what is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from glob import escape
from typing import Any

from torch import nn

from surm_lite.adapters.base import Adapter, Method
from surm_lite.adapters.names import check_model, unwrap, walk


@dataclass
class Attachment:
    """What a model remembers of what was attached to it: every method, and what is trained whole beside them."""

    methods: list[Method] = field(default_factory=list)
    keep: tuple[str, ...] = ()
    """Patterns that ``adapt`` was told."""
    keep_of_methods: tuple[str, ...] = ()
    """Those of the methods themselves."""
    about: dict[str, Any] = field(default_factory=dict)
    """What else an adapter file is to say, as JSON values, such as the names of the classes."""

    @property
    def trained_whole(self) -> tuple[str, ...]:
        """Patterns of all that is trained beside the adapters."""
        return (*self.keep, *self.keep_of_methods)


def attachment(model: nn.Module) -> Attachment:
    """What was attached to a model, or to a part of it, first attached first; wrappers do not hide it."""
    whole = Attachment()
    for name, part in attachments(model).items():
        whole.methods += part.methods
        whole.keep += _within(name, part.keep)
        whole.keep_of_methods += _within(name, [pattern for method in part.methods for pattern in method.keep])
        whole.about |= part.about
    return whole


def attachments(model: nn.Module) -> dict[str, Attachment]:
    """What was attached to the model itself, whose name is empty, and to parts of it, by their first names."""
    found = {id(m): (name, vars(m)["surm"]) for name, m in reversed([*walk(model)]) if "surm" in vars(m)}
    return dict(reversed(found.values()))


def _within(part: str, patterns: Sequence[str]) -> tuple[str, ...]:
    """Patterns that were told for a part, as patterns for the whole model: what lies elsewhere is not meant."""
    if not part:
        return tuple(patterns)
    at = f".{escape(part)}"
    found: list[str] = []
    for pattern in patterns:
        inner = f".{pattern}"
        found += [f"{at}{pattern}"] if pattern.startswith(".") else [at + inner, f"{at}.*{inner}", at + escape(inner)]
    return tuple(dict.fromkeys(found))


def tell(model: nn.Module, /, **about: Any) -> None:
    """Notes what the adapter file of a model, and of its adapted parts, is to say; a plain model remembers it too."""
    vars(unwrap(model)).setdefault("surm", Attachment())
    for _, module in walk(model):
        if "surm" in vars(module):
            vars(module)["surm"].about |= about


def adapters_of(model: nn.Module) -> dict[str, Adapter]:
    """The outermost adapter of each adapted layer by layer name, merged or not."""
    found: dict[str, Adapter] = {}
    inner: set[int] = set()
    for name, module in walk(model):
        if isinstance(module, Adapter) and id(module) not in inner:
            found[name] = module
            inner.update(map(id, module.stack()))
    return found


def methods_of(model: nn.Module) -> list[Method]:
    """The Method objects attached to a model, first attached first: what a training loop calls the hooks of.

    Args:
        model: any model.

    Returns:
        Each Method once, those that wrap no layer included; empty for a plain model.

    Example:
        >>> from surm_lite.adapters import adapt
        >>> model = adapt(nn.Sequential(nn.Linear(6, 4)), "lora", targets="0", rank=2)
        >>> methods_of(model)
        [LoRA(rank=2, alpha=8.0, rslora=False, init='kaiming', lr_ratio=1.0)]

    Taught in:
        21_finetune_vit
    """
    return attachment(model).methods


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that training changes: the adapters' and those of kept modules.

    Args:
        model: any model; merged adapters are not trained, so they do not appear.

    Returns:
        The parameters with ``requires_grad``, each once, ready for an optimiser.

    Example:
        >>> from surm_lite.adapters import adapt
        >>> model = adapt(nn.Sequential(nn.Linear(6, 4)), "toeplitz", targets="0")
        >>> [tuple(p.shape) for p in trainable_parameters(model)]
        [(4,), (5,)]

    Taught in:
        19_drop_in, 21_finetune_vit, 24_what_it_costs
    """
    check_model(model)
    return [p for p in model.parameters() if p.requires_grad]


def require_adapters(model: nn.Module) -> dict[str, Adapter]:
    adapters = adapters_of(model)
    if not adapters:
        raise ValueError("the model has no adapter; call adapt(model, ...) or load_adapter(model, path) first")
    return adapters
