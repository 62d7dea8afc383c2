"""Finished adapters for others: a plain merged model, or the nearest LoRA in peft's format."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surm_lite.adapters import frozen
from surm_lite.adapters.additive import Additive
from surm_lite.adapters.attached import require_adapters
from surm_lite.adapters.base import Adapter
from surm_lite.adapters.held import about, changed_buffers, kept_parameters
from surm_lite.adapters.layouts import LAYOUTS, layout_of
from surm_lite.adapters.merge import folded, untied
from surm_lite.adapters.names import merged_from, plain_state, swap, unwrap, walk
from surm_lite.adapters.options import near
from surm_lite.files import as_path, check_output, packed, write_whole

FORMS = ("merged", "lora")


@dataclass(frozen=True)
class Exported:
    """What `export` wrote; it prints as a sentence.

    Example:
        >>> print(Exported(Path("lora"), "lora", 96, {"0": 4, "1": 2}, {"0": 0.3, "1": 0.1}, 0.25))
        lora: a LoRA of rank 2 to 4 on 2 layers, 96 numbers; relative error of the update 0.25 in all, at most 0.3 (0)

    Taught in:
        25_your_own_model
    """

    path: Path
    form: str
    numbers: int
    """Numbers in the file."""
    ranks: dict[str, int]
    """LoRA: the rank of each layer."""
    errors: dict[str, float]
    """LoRA: ||S - B A|| / ||S|| of each layer, S the update and B A its LoRA, in the Frobenius norm."""
    error: float
    """LoRA: the same over all layers together; 0 for a merged model."""

    def __str__(self) -> str:
        if self.form == "merged":
            return f"{self.path}: a plain model, {self.numbers:,} numbers"
        low, high = min(self.ranks.values()), max(self.ranks.values())
        worst = max(self.errors, key=self.errors.__getitem__)
        return (
            f"{self.path}: a LoRA of rank {low if low == high else f'{low} to {high}'} on {len(self.ranks)} layers, "
            f"{self.numbers:,} numbers; relative error of the update {self.error:.2g} in all, "
            f"at most {self.errors[worst]:.2g} ({worst})"
        )


def export(
    model: nn.Module, path: str | os.PathLike[str], form: str = "merged", *, rank: int | None = None
) -> Exported:
    """Writes a finished model for those who do not have this library: merged, or as a LoRA.

    "merged" is one safetensors file with the ``state_dict`` of the plain model, update included. "lora" is a folder in
    the format of peft, with ``B A`` of each layer the best approximation of its update S that rank r allows:

    ``S = U diag(s) V^T,  B A = U_r diag(s_1, ..., s_r) V_r^T,  ||S - B A||^2 = s_{r+1}^2 + s_{r+2}^2 + ...``

    The model is left as it is. A model of transformers can also be merged with ``merge`` and then saved by its own
    ``save_pretrained``.

    Args:
        model: an adapted model, merged or not.
        path: "merged": the file to write; "lora": the folder to write. What is there already is replaced, file by file,
            each one completely or not at all.
        form: "merged" or "lora".
        rank: "lora": the largest rank of a layer, at least 1. None: the rank of its update, so that nothing is lost; a
            structured update often has full rank, and its LoRA is then larger than the layer itself.

    Returns:
        Exported: the ranks, and the relative error of each layer and of all together.

    Raises:
        ValueError: no adapter, one that cannot be merged, an unknown form, a rank for a merged model or below 1, a kept
            parameter that a LoRA file has no place for, or a path of the wrong kind.

    Cost:
        "merged": a second weight of every adapted layer; "lora": one singular value decomposition of each, O(m n min(m,
        n)) in float64.

    Example:
        >>> import tempfile
        >>> from surm_lite.adapters import adapt
        >>> model = adapt(nn.Sequential(nn.Linear(6, 4)), "toeplitz", targets="0")
        >>> with torch.no_grad():
        ...     _ = model[0].row.fill_(1.0)
        >>> done = export(model, Path(tempfile.mkdtemp()) / "lora", "lora", rank=1)
        >>> done.ranks, round(done.error, 2)
        ({'0': 1}, 0.38)

    Source:
        Eckart and Young (1936): the truncated singular value decomposition is the nearest matrix of its rank.

    Taught in:
        25_your_own_model
    """
    path = as_path("path", path)
    if not isinstance(form, str) or form not in FORMS:
        raise ValueError(near("form", str(form), FORMS))
    if rank is not None and (form == "merged" or isinstance(rank, bool) or not isinstance(rank, int) or rank < 1):
        raise ValueError(f"rank is {rank!r} with form {form!r}; it must be an integer of at least 1, with form 'lora'")
    check_output("path", path, folder=form == "lora")
    adapters = require_adapters(model)
    return _export_merged(model, adapters, path) if form == "merged" else _export_lora(model, adapters, path, rank)


def _export_merged(model: nn.Module, adapters: dict[str, Adapter], path: Path) -> Exported:
    merged = {id(merged_from(m)) for m in model.modules()}
    for torn in untied(model, adapters):
        raise ValueError(f"{torn}, and a plain model has one place for both; untie them first, or take form 'lora'")
    layers = {id(a): folded(name, a) for name, a in adapters.items() if id(a) not in merged}
    swap(model, layers)
    try:
        state = plain_state(model)
        layout = layout_of(model)
        state = state if layout is None else LAYOUTS[layout].plain(unwrap(model), state)
        if odd := [name for name, t in state.items() if not isinstance(t, Tensor)]:
            raise ValueError(f"{odd[0]!r} of the state_dict is no tensor, which a safetensors file cannot hold")
        data = packed(state, {"format": "pt", "surm_lite": json.dumps({"model": about(model)})})
    finally:
        swap(model, {id(layer): vars(layer)["surm_origin"][0] for layer in layers.values()})
    write_whole(path, data)
    return Exported(path, "merged", sum(t.numel() for t in state.values()), {}, {}, 0.0)


def _export_lora(model: nn.Module, adapters: dict[str, Adapter], path: Path, rank: int | None) -> Exported:
    _check_one_name(model, adapters)
    modules = _modules_to_save(model, adapters)
    tensors = {
        f"base_model.model.{name}.{key}": t
        for name, module in modules.items()
        for key, t in module.state_dict().items()
    }
    ranks, errors, lost, whole = {}, {}, 0.0, 0.0
    for name, adapter in adapters.items():
        B, A, s = _factors(_update(name, adapter), rank)
        ranks[name], left, size = len(A), s[len(A) :].norm().item(), s.norm().item()
        errors[name] = left / size if size else 0.0
        lost, whole = lost + left**2, whole + size**2
        dtype = torch.promote_types(frozen.weight(adapter.linear).dtype, torch.float32)
        for key, factor in (("lora_A", A), ("lora_B", B)):
            tensors[f"base_model.model.{name}.{key}.weight"] = factor.to(dtype)
    error = sqrt(lost / whole) if whole else 0.0
    note = {"format": "pt", "surm_lite": json.dumps({"relative_error": error, "layers": errors, "model": about(model)})}
    path.mkdir(parents=True, exist_ok=True)
    write_whole(path / "adapter_model.safetensors", packed(tensors, note))
    config = json.dumps(_config(model, adapters, ranks, list(modules)), indent=2)
    write_whole(path / "adapter_config.json", config.encode())
    return Exported(path, "lora", sum(t.numel() for t in tensors.values()), ranks, errors, error)


@torch.no_grad()
def _update(name: str, adapter: Adapter) -> Float[Tensor, "m n"]:
    """What the adapters on one layer add to its weight, dense, in float64."""
    stack = adapter.stack()
    if all(isinstance(a, Additive) for a in stack):
        return sum(
            (a.operator().to(torch.float64).to_dense() for a in stack if isinstance(a, Additive)),
            start=torch.zeros((), dtype=torch.float64, device=frozen.weight(adapter.linear).device),
        )
    try:
        adapter.merge(torch.float64)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    (W, b), b0 = adapter.whole(), frozen.bias(adapter.linear)
    if b is not None and (b0 is None or not torch.equal(b, frozen.wide(b0))):
        raise ValueError(f"{name}: its adapter changes the bias, which a LoRA cannot; export it merged")
    return W.double() - frozen.weight(adapter.linear).double()


def _factors(S: Float[Tensor, "m n"], rank: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """B of shape (m, r) and A of shape (r, n) with B A nearest to S, and all singular values of S."""
    U, s, Vh = torch.linalg.svd(S, full_matrices=False)
    own = int((s > s[0] * max(S.shape) * torch.finfo(s.dtype).eps).sum())  # as torch.linalg.matrix_rank counts
    r = max(1, own if rank is None else min(rank, own))  # peft knows no rank 0
    root = s[:r].sqrt()
    return U[:, :r] * root, root[:, None] * Vh[:r], s


def _modules_to_save(model: nn.Module, adapters: dict[str, Adapter]) -> dict[str, nn.Module]:
    """The modules that were trained whole: peft saves them beside the LoRA."""
    modules = {name: module for name, module in walk(model) if not isinstance(module, Adapter)}
    for name in changed_buffers(model):
        if name.rpartition(".")[0] not in {kept.rpartition(".")[0] for kept in kept_parameters(model)}:
            raise ValueError(
                f"buffer {name!r} was changed by training, which a LoRA file cannot hold; export it merged"
            )
    kept = kept_parameters(model)
    for name in kept:
        if name.rpartition(".")[0] in {"", *adapters}:
            raise ValueError(f"parameter {name!r} was trained whole, which a LoRA file cannot hold; export it merged")
    owners = list(dict.fromkeys(name.rpartition(".")[0] for name in kept))
    for owner in owners:  # peft goes by the ends of names here, so that a name may mean several modules
        if others := [name for name in modules if name.endswith(f".{owner}") and name not in owners]:
            raise ValueError(f"peft would take {others[0]!r} for the trained module {owner!r}; export it merged")
    return {owner: modules[owner] for owner in owners}


def _check_one_name(model: nn.Module, adapters: dict[str, Adapter]) -> None:
    """peft replaces a layer under the first of its names only, and leaves it plain under the others."""
    outer = {id(adapter): name for name, adapter in adapters.items()}
    for name, module in walk(model):
        if id(module) in outer and name != outer[id(module)]:
            raise ValueError(
                f"{outer[id(module)]} and {name} are one layer, which peft would adapt under one name only; "
                "export it merged"
            )


def _config(
    model: nn.Module, adapters: dict[str, Adapter], ranks: dict[str, int], modules: list[str]
) -> dict[str, Any]:
    """What peft's LoraConfig needs to rebuild the layers; alpha = r, so the scale is 1."""
    common = max(ranks.values())
    # peft reads expressions, and puts "anything and a dot" before those of ranks: the anchor keeps names whole
    pattern = {f"^{re.escape(name)}": r for name, r in ranks.items() if r != common}
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": getattr(getattr(unwrap(model), "config", None), "_name_or_path", None),
        "inference_mode": True,
        "r": common,
        "lora_alpha": common,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": any(frozen.is_conv1d(adapter.linear) for adapter in adapters.values()),
        "target_modules": "|".join(re.escape(name) for name in ranks),
        "modules_to_save": modules or None,
    }
