"""Which layers of a model are meant, by name or by predicate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from .base import Adapter, near

Targets = str | Sequence[str] | Callable[[str, nn.Module], bool]

DEFAULT_TARGETS = ("qkv", "query", "key", "value", "q_proj", "k_proj", "v_proj", "q_lin", "k_lin", "v_lin")
"""The query, key and value projections under the names of timm and transformers: what LoRA and SURM adapt."""
DEFAULT_KEEP = ("head", "classifier", "score")
"""The classification head under the names of timm and transformers: it is trained whole."""


def matches(name: str, pattern: str) -> bool:
    """A shell glob against the end of a dotted name, cut at a dot: "qkv" and "attn.qkv" match "blocks.0.attn.qkv"."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")


def plain_name(name: str) -> str:
    """The name that a parameter of an adapted layer had before."""
    return name.replace("base_layer.", "")


def is_kept(name: str, keep: Sequence[str]) -> bool:
    """Whether a parameter or module, or anything it lies in, is named by ``keep``."""
    parts = name.split(".")
    return any(matches(".".join(parts[:k]), pattern) for k in range(1, len(parts) + 1) for pattern in keep)


def adaptable(model: nn.Module) -> dict[str, nn.Linear | Adapter]:
    """Every layer that can be adapted, by name. A layer reachable by two names appears under both."""
    modules = list(model.modules())
    left_out = {id(inner) for m in modules if isinstance(m, Adapter) for inner in m.base_layer.modules()}
    # The attention of torch reads out_proj.weight and never calls the layer: wrapping it could change nothing.
    left_out |= {id(m.out_proj) for m in modules if isinstance(m, nn.MultiheadAttention)}
    return {
        name: module
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, nn.Linear | Adapter) and id(module) not in left_out
    }


def select(model: nn.Module, targets: Targets | None, keep: Sequence[str]) -> dict[str, nn.Linear | Adapter]:
    """The layers that ``targets`` means, kept modules left out; ValueError where a pattern finds nothing."""
    layers = {name: layer for name, layer in adaptable(model).items() if not is_kept(name, keep)}
    if callable(targets):
        found = {name: layer for name, layer in layers.items() if targets(name, layer)}
        if not found:
            raise ValueError(f"targets, a predicate, accepts none of the {len(layers)} linear layers of the model")
        return found
    patterns = DEFAULT_TARGETS if targets is None else as_patterns("targets", targets)
    hits = {pattern: [name for name in layers if matches(name, pattern)] for pattern in patterns}
    if targets is None:
        hits = {pattern: names for pattern, names in hits.items() if names}
    if not hits:
        raise ValueError(
            f"targets: no linear layer is named {', '.join(DEFAULT_TARGETS)}; "
            f"pass targets=..., for example {', '.join(map(repr, _tails(layers)[:8]))}"
        )
    for pattern, names in hits.items():
        if not names:
            others = {n: m for n, m in model.named_modules() if n and n not in layers and matches(n, pattern)}
            if others:
                name, module = next(iter(others.items()))
                why = "is kept whole" if is_kept(name, keep) else "cannot be adapted; only a called nn.Linear can"
                raise ValueError(f"targets: {pattern!r} matches {name!r} ({type(module).__name__}), which {why}")
            raise ValueError(near("targets pattern", pattern, [*_tails(layers), *layers]))
    wanted = {name for names in hits.values() for name in names}
    return {name: layer for name, layer in layers.items() if name in wanted}


def as_patterns(argument: str, value: str | Sequence[str]) -> tuple[str, ...]:
    """One name or several, as a tuple; TypeError for anything else."""
    patterns = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(p, str) and p for p in patterns):
        raise TypeError(f"{argument} is {value!r}; it must be a name pattern or a sequence of them")
    return patterns


def _tails(layers: dict[str, nn.Linear | Adapter]) -> list[str]:
    """The last components of the layers' names, each once."""
    return list(dict.fromkeys(name.rpartition(".")[2] for name in layers))
