"""What a training run leaves behind."""

from __future__ import annotations

import dataclasses
import json
import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from surm_lite.data.arguments import check_numbers
from surm_lite.files import text_of, write_text


def versions() -> dict[str, str]:
    """The versions that a number may depend on."""
    try:
        own = version("surm-lite")
    except PackageNotFoundError:  # used from a source tree that is not installed
        own = "not installed"
    return {"surm_lite": own, "torch": torch.__version__, "python": platform.python_version()}


@dataclass
class Record:
    """One training run, in numbers.

    Args:
        data: name and sizes of the data set, and its task.
        methods: the adapters that were trained, with their options; empty for a plain model.
        options: every argument of `train` that changes the result.
        device: where it ran.
        processes: how many trained together.
        parameters: at the end, how many numbers are trained, stored in an adapter file, and left in the deployed model.
        loss: the training loss of each step, without penalties.
        penalty: what the methods added to it, each step; empty where no method has one.
        train_score: mean score in each epoch, on the batches as they were trained on (the task says what a score is).
        validation_score: the same after each evaluated epoch, as a map from the epoch (counted from 1).
        best_epoch: the epoch whose numbers the model is left with, where `patience` asked for the best; else None.
        test_score: at the end; look at it once the hyper-parameters are fixed.
        seconds: wall time of the whole call.
        peak_memory: bytes (see `surm_lite.device.peak_memory`), None where it is not known.

    Example:
        >>> record = Record(data={}, methods=[], options={"seed": 0}, device="cpu", loss=[2.3, 1.1])
        >>> Record.from_json(record.to_json()) == record
        True

    Taught in:
        21_finetune_vit, 27_scale_out
    """

    data: dict[str, Any]
    methods: list[dict[str, Any]]
    options: dict[str, Any]
    device: str
    processes: int = 1
    parameters: dict[str, int] = field(default_factory=dict)
    loss: list[float] = field(default_factory=list)
    penalty: list[float] = field(default_factory=list)
    train_score: list[float] = field(default_factory=list)
    validation_score: dict[int, float] = field(default_factory=dict)
    best_epoch: int | None = None
    test_score: float | None = None
    seconds: float = 0.0
    peak_memory: int | None = None
    versions: dict[str, str] = field(default_factory=versions)

    def to_json(self, path: str | Path | None = None) -> str:
        """The record as JSON; with a path it is also written there, completely or not at all."""
        text = json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False) + "\n"
        if path is not None:
            write_text("path", path, text)
        return text

    @classmethod
    def from_json(cls, source: str | Path) -> Record:
        """Reads a record back, from a `Path` or from the JSON text itself.

        Raises:
            ValueError: no JSON, or JSON that is no record.
        """
        try:
            content = json.loads(text_of("source", source))
        except (json.JSONDecodeError, RecursionError):
            content = None
        known = {part.name for part in dataclasses.fields(cls)}
        if (
            not isinstance(content, dict)
            or set(content) - known
            or not {"data", "methods", "options", "device"} <= set(content)
        ):
            raise ValueError(f"source: is not a training record, which has the fields {', '.join(sorted(known))}")
        for name, value in content.items():
            if not isinstance(value, KINDS[name]):
                need = " or ".join(kind.__name__ for kind in KINDS[name])
                raise ValueError(f"source: {name} of the record is {value!r}, need {need}")
        try:
            scores = content.get("validation_score", {})
            content["validation_score"] = {int(epoch): float(score) for epoch, score in scores.items()}
            for name in ("loss", "penalty", "train_score"):
                check_numbers(name, content.get(name, []))
            json.dumps(content, allow_nan=False)
        except (ValueError, TypeError) as error:
            raise ValueError(f"source: the record holds what none has ({error})") from None
        return cls(**content)


NUMBER = (int, float)
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("data", "options", "parameters", "validation_score", "versions"), (dict,)),
    **dict.fromkeys(("methods", "loss", "penalty", "train_score"), (list,)),
    "device": (str,), "processes": (int,), "seconds": NUMBER, "test_score": (*NUMBER, type(None)),
    **dict.fromkeys(("best_epoch", "peak_memory"), (int, type(None))),
}  # fmt: skip
"""What JSON has in the place of each field of a record."""
