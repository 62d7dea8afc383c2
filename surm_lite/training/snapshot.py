"""What a checkpoint holds of a run, and how a run takes it back."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surm_lite.adapters import Method
from surm_lite.adapters.frozen import unpacked
from surm_lite.adapters.names import below, walk_layers
from surm_lite.data import LabelledSet
from surm_lite.files import digest
from surm_lite.training import checkpoint
from surm_lite.training.best import tensors_of, with_extra_state
from surm_lite.training.optimizer import restore_state, state_of
from surm_lite.training.record import Record
from surm_lite.training.run import Run


@dataclass(frozen=True)
class Found:
    """A checkpoint that was read and belongs to this run."""

    header: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def step(self) -> int:
        return int(self.header["step"])

    def restore_methods(self, methods: Sequence[Method]) -> None:
        """Puts the methods where they were; they then ask for the same parameter groups."""
        for k, (method, values) in enumerate(zip(methods, self.header["methods"])):
            method.load_state_dict(values | self._under(f"method/{k}/"))

    def restore(self, run: Run) -> None:
        """Puts all the rest where it was, bit for bit."""
        header, group, saved = self.header, run.group, self._under("model/")
        here = tensors_of(run.state.model)
        then, now = ({name: tuple(t.shape) for name, t in those.items()} for those in (saved, here))
        if then != now:
            name = next(name for name in {**now, **then} if then.get(name) != now.get(name))
            raise ValueError(
                f"checkpoint: {name} is {then.get(name)} in the checkpoint and {now.get(name)} in the model; a method "
                "that changes layers must change them again in load_state_dict"
            )
        with torch.no_grad():
            for name, tensor in here.items():
                tensor.copy_(saved[name])
        for name, module in with_extra_state(run.state.model).items():
            module.set_extra_state(header["extra"][name])
        restore_state(run.state.optimizer, header["optimizer"], self._under("optimizer/"))
        run.state.step, run.state.epoch = self.step, header["epoch"]
        run.seen, run.score = header["seen"], header["score"]
        run.record = Record.from_json(json.dumps(header["record"]))
        if run.best:
            run.best.tensors = {name: t.to(group.device) for name, t in self._under("best/").items()}
            run.best.extra = header.get("best extra", {})  # a file of before has none
        run.chance.set_state(self.tensors["chance/epoch"])
        own = self._under(f"chance/{group.rank}/")
        torch.set_rng_state(own["cpu"])
        if group.device.type != "cpu":
            _set_rng(group.device, own[group.device.type])

    def _under(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


class Snapshots:
    """The checkpoint file of one run.

    Args:
        path: the file; its folder exists.
        run_of: what the run is, apart from how far it is (see `identity`): a checkpoint of anything else is refused.
    """

    def __init__(self, path: Path, run_of: dict[str, Any]) -> None:
        self.path = path
        self.run_of = run_of
        self.step: int | None = None  # of the last good checkpoint
        self.began = time.perf_counter()

    def find(self, resume: bool | str) -> Found | None:
        """The checkpoint to go on from, checked; None where the run starts anew. Nothing is changed yet."""
        if resume == "auto" and not self.path.exists():
            return None
        if not resume:
            if self.path.exists():
                raise FileExistsError(
                    f"checkpoint: {self.path} exists; go on from it with resume=True, or remove it to start anew"
                )
            return None
        found = Found(*checkpoint.read(self.path))
        checkpoint.refuse_other(self.path, found.header["run"], self.run_of)
        self.step = found.step
        return found

    def save(self, run: Run) -> None:
        """Writes where the run is. Only what is good is written: all losses and weights so far are finite.

        Raises:
            FloatingPointError: something is not finite; the checkpoint before stays.
            OSError: the file could not be written; the checkpoint before stays.
        """
        run.look()
        state, record, on = run.state, run.record, run.group.device
        changing = tensors_of(state.model)
        finite = [tensor.isfinite().all() for tensor in changing.values()]
        if finite and not torch.stack(finite).all():
            name = next(name for name, tensor in changing.items() if not tensor.isfinite().all())
            raise FloatingPointError(f"weights: {name} is not finite after step {state.step}; try a smaller lr")
        optimizer, moments = state_of(state.optimizer)
        chance = {"cpu": torch.get_rng_state(), on.type: _rng(on)}
        tensors = {f"model/{name}": tensor for name, tensor in changing.items()}
        tensors |= {f"optimizer/{name}": value for name, value in moments.items()}
        for kind, numbers in chance.items():
            tensors |= {f"chance/{rank}/{kind}": each for rank, each in enumerate(run.group.gather(numbers))}
        tensors |= {f"best/{name}": tensor for name, tensor in (run.best.tensors if run.best else {}).items()}
        tensors["chance/epoch"] = run.chance.get_state()
        values: list[dict[str, Any]] = []
        for k, method in enumerate(run.methods):
            own = method.state_dict()
            tensors |= {f"method/{k}/{name}": value for name, value in own.items() if isinstance(value, Tensor)}
            values.append({name: value for name, value in own.items() if not isinstance(value, Tensor)})
        header = {
            "run": self.run_of,
            "step": state.step, "epoch": state.epoch, "seen": run.seen, "score": run.score,
            "record": dataclasses.asdict(record) | {"seconds": record.seconds + time.perf_counter() - self.began},
            "optimizer": optimizer,
            "methods": values,
            "extra": {name: module.get_extra_state() for name, module in with_extra_state(state.model).items()},
            "best extra": run.best.extra if run.best else {},
        }  # fmt: skip
        if run.group.first:
            try:
                checkpoint.write(self.path, header, tensors)
            except OSError as error:
                raise OSError(
                    error.errno, f"checkpoint: {self.path} could not be written ({error.strerror}){self.kept()}"
                ) from error
        self.step = state.step

    def kept(self) -> str:
        """The end of an error message: what is left."""
        return "" if self.step is None else f"; the checkpoint of step {self.step} is kept in {self.path}"


def identity(record: Record, model: nn.Module, data: LabelledSet) -> dict[str, Any]:
    """What a run is, apart from how far it is, as JSON gives it back."""
    changing = tensors_of(model)
    frozen = {
        p: below(name, key)
        for name, module in reversed([*walk_layers(model)])  # a tied tensor has the first of its names
        for key, p in module._parameters.items()
        if p is not None and not p.requires_grad
    }
    examples = {
        f"{name} {kind}": getattr(part, kind) for name, part in data.parts.items() for kind in ("inputs", "labels")
    }
    whole = {
        "versions": {name: record.versions[name] for name in ("surm_lite", "torch")},
        "options": record.options,
        "methods": {str(k): method for k, method in enumerate(record.methods)},
        "processes": record.processes,
        "device": record.device.partition(":")[0],
        "data": record.data | {"inputs and labels, sha256": digest(examples)},
        "model": {name: f"{tuple(t.shape)} {t.dtype}" for name, t in changing.items()},
        "frozen weights, sha256": digest({name: unpacked(p) for p, name in frozen.items()}),
    }
    again: dict[str, Any] = json.loads(json.dumps(whole))
    return again


def _rng(on: torch.device) -> Tensor:
    if on.type == "cuda":
        return torch.cuda.get_rng_state(on)
    return torch.mps.get_rng_state() if on.type == "mps" else torch.get_rng_state()


def _set_rng(on: torch.device, numbers: Tensor) -> None:
    if on.type == "cuda":
        torch.cuda.set_rng_state(numbers, on)
    else:
        torch.mps.set_rng_state(numbers)
