"""Which layers of a model are meant, by name or by predicate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from surm_lite.adapters import frozen
from surm_lite.adapters.base import Adapter
from surm_lite.adapters.names import check_model, walk
from surm_lite.adapters.options import near

Targets = str | Sequence[str] | Callable[[str, nn.Module], bool]

DEFAULT_TARGETS = (
    *("qkv", "query", "key", "value", "q_proj", "k_proj", "v_proj", "q_lin", "k_lin", "v_lin"),
    *("c_attn", "query_key_value"),
)
"""The query, key and value projections under the names of timm and transformers: what LoRA and SURM adapt."""
DEFAULT_KEEP = ("head", "classifier", "pre_classifier", "score")
"""The classification head under the names of timm and transformers: it is trained whole."""


def matches(name: str, pattern: str) -> bool:
    """A shell glob against the last components of a dotted name: "qkv" and "attn.qkv" match "blocks.0.attn.qkv".

    A pattern with a dot in front is held against the whole name: ".fc" is "fc" and not "block.fc". A name matches
    itself, whatever characters are in it.
    """
    return name == pattern or fnmatchcase(f".{name}", pattern if pattern.startswith(".") else f"*.{pattern}")


def is_kept(name: str, keep: Sequence[str]) -> bool:
    """Whether a parameter or module, or anything it lies in, is named by ``keep``."""
    parts = name.split(".")
    return any(matches(".".join(parts[:k]), pattern) for k in range(1, len(parts) + 1) for pattern in keep)


def adaptable(model: nn.Module) -> dict[str, nn.Module]:
    """Every layer that can be adapted, by plain name. A layer reachable by two names appears under both."""
    check_model(model)
    modules = list(model.modules())
    left_out = {id(inner) for m in modules if isinstance(m, Adapter) for inner in m.base_layer.modules()}
    # The attention of torch reads out_proj.weight and never calls the layer: wrapping it could change nothing.
    left_out |= {id(m.out_proj) for m in modules if isinstance(m, nn.MultiheadAttention)}
    return {
        name: module
        for name, module in walk(model, merged=True)
        if (isinstance(module, Adapter) or frozen.is_linear(module)) and id(module) not in left_out
    }


def select(model: nn.Module, targets: Targets | None, keep: Sequence[str]) -> dict[str, nn.Module]:
    """The layers that ``targets`` means, kept modules left out; ValueError where a pattern finds nothing."""
    layers = {name: layer for name, layer in adaptable(model).items() if not is_kept(name, keep)}
    if callable(targets) and not isinstance(targets, type):
        try:
            found = {name: layer for name, layer in layers.items() if targets(name, layer)}
        except TypeError as error:
            raise TypeError(f"targets is {targets!r}, which is no predicate (name, module) -> bool: {error}") from error
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
            f"pass targets=..., for example {', '.join(map(repr, _tails(_inner(model, layers))[:8]))}"
        )
    for pattern, names in hits.items():
        if not names:
            others = {n: m for n, m in walk(model) if n and n not in layers and matches(n, pattern)}
            if others:
                name, module = next(iter(others.items()))
                why = "is kept whole" if is_kept(name, keep) else "cannot be adapted; only a called linear layer can"
                raise ValueError(f"targets: {pattern!r} matches {name!r} ({type(module).__name__}), which {why}")
            raise ValueError(near("targets pattern", pattern, [*_tails(layers), *layers]))
    wanted = {name for names in hits.values() for name in names}
    return {name: layer for name, layer in layers.items() if name in wanted}


def as_patterns(argument: str, value: Any) -> tuple[str, ...]:
    """One name or several, as a tuple; TypeError for anything else."""
    # A tensor of patterns, or a class of them, is none.
    several = isinstance(value, Iterable) and not isinstance(value, type | Tensor)
    patterns: tuple[Any, ...] = (value,) if isinstance(value, str) else tuple(value) if several else (None,)
    if not all(isinstance(p, str) and p for p in patterns):
        raise TypeError(f"{argument} is {value!r}; it must be a name pattern or a sequence of them")
    return patterns


def _inner(model: nn.Module, layers: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """Those of the layers that are not the output layer of a language model, which is the embedding once more."""
    ends = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    output = getattr(model, "get_output_embeddings", lambda: None)()
    return {n: m for n, m in layers.items() if m is not output and id(getattr(m, "weight", None)) not in ends}


def _tails(layers: dict[str, nn.Module]) -> list[str]:
    """The last components of the layers' names, each once."""
    return list(dict.fromkeys(name.rpartition(".")[2] for name in layers))
