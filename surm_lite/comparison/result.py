"""What a comparison found: a tidy table of runs, and the summary that validation chose."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from surm_lite.comparison.measure import MEASURES
from surm_lite.files import seal, text_of, unseal, write_text
from surm_lite.training.record import Record

if TYPE_CHECKING:
    from surm_lite.comparison.plan import Arm


def row(name: str, arm: Arm, made: dict[str, Any]) -> dict[str, Any]:
    """A kept run as one flat row of the table."""
    settings = made["settings"]
    record = None if made["record"] is None else Record.from_json(json.dumps(made["record"]))
    about = {"arm": name, "label": arm.label, "equal": arm.equal, "diverged": made["diverged"]}
    about |= {key: settings[key] for key in ("method", "options", "targets", "keep", "pretrained", "lr", "seed")}
    if record is None:
        return about | dict.fromkeys(("validation", "test"), None) | {"loss": []}
    last = max(record.validation_score)
    return about | {
        "validation": record.validation_score[last],
        "test": record.test_score,
        **{key: record.parameters[key] for key in ("trained", "kept", "stored", "deployed")},
        "seconds": record.seconds,
        "peak_memory": record.peak_memory,
        "device": record.device,
        "versions": record.versions,
        "loss": [round(value, 5) for value in record.loss],
        **(dict.fromkeys(MEASURES) | made.get("measures", {})),
    }


@dataclass(frozen=True)
class Summary:
    """One arm at one size of the training part, at the learning rate that validation chose.

    `trained` leaves out modules that are kept for training (the head), `curve` maps each learning rate to its
    validation score (None where the loss was not finite), `test_std` is the sample standard deviation over the seeds
    (None for a single one). `deployed` counts numbers more than the base model once updates are merged or layers cut;
    it and those of `measure.MEASURES` are means over the seeds, None where a run did not look.
    """

    arm: str
    label: str
    method: str
    examples: int
    equal: bool
    trained: int
    lr: float
    at_grid_edge: bool
    curve: dict[float, float | None]
    seeds: list[int]
    validation: list[float]
    test: list[float]
    test_mean: float
    test_std: float | None
    seconds: float
    peak_memory: int | None
    loss: list[list[float]]
    deployed: float | None
    step_seconds: float | None
    file_bytes: float | None
    tensor_bytes: float | None
    rank: float | None
    effective_rank: float | None
    forgetting: float | None


@dataclass
class Comparison:
    """The rows of a comparison, one a training run, and how it was made.

    Args:
        about: the plan's own settings, sizes of the validation and test parts, the credit of the data.
        rows: a dictionary a run: arm, method, options, learning rate, seed, whether its rate was chosen, scores,
            counts, seconds, bytes, device, versions, loss of each step.
        frozen: what frozen features can do, by size of the training part.

    Example:
        >>> Comparison.from_json(Comparison({"data": "digits"}, [], []).to_json()).about
        {'data': 'digits'}

    Taught in:
        22_what_moves_accuracy, 41_leaderboard
    """

    about: dict[str, Any]
    rows: list[dict[str, Any]]
    frozen: list[dict[str, Any]] = field(default_factory=list)

    def summary(self) -> list[Summary]:
        """The chosen runs of each arm, averaged; arms that diverged at every rate are left out."""
        cases = dict.fromkeys((one["examples"], one["arm"]) for one in self.rows)
        return [self._summarise(examples, arm) for examples, arm in cases if self._chosen(examples, arm)]

    def _chosen(self, examples: int, arm: str) -> list[dict[str, Any]]:
        own = (one for one in self.rows if (one["examples"], one["arm"]) == (examples, arm))
        return [one for one in own if one["chosen"] and one["test"] is not None]

    def _summarise(self, examples: int, arm: str) -> Summary:
        chosen = self._chosen(examples, arm)
        first = chosen[0]
        own = [one for one in self.rows if (one["examples"], one["arm"], one["seed"]) == (examples, arm, first["seed"])]
        rates = sorted(one["lr"] for one in own)
        tests = [one["test"] for one in chosen]
        return Summary(
            arm=arm,
            label=first["label"],
            method=first["method"],
            examples=examples,
            equal=first["equal"],
            trained=first["trained"] - first["kept"],
            lr=first["lr"],
            at_grid_edge=len(rates) > 1 and first["lr"] in (rates[0], rates[-1]),
            curve={one["lr"]: one["validation"] for one in own},
            seeds=[one["seed"] for one in chosen],
            validation=[one["validation"] for one in chosen],
            test=tests,
            test_mean=mean(tests),
            test_std=stdev(tests) if len(tests) > 1 else None,
            seconds=mean(one["seconds"] for one in chosen),
            peak_memory=first["peak_memory"],
            loss=[one["loss"] for one in chosen],
            **{key: _mean(one.get(key) for one in chosen) for key in ("deployed", *MEASURES)},
        )

    def to_json(self, path: str | Path | None = None) -> str:
        """The comparison as JSON, a row a line, and a digest of it all; with a path also written there."""
        rows = ",\n".join(json.dumps(one) for one in self.rows)
        text = f'{{"about": {json.dumps(self.about)},\n"frozen": {json.dumps(self.frozen)},\n"rows": [\n{rows}\n]}}\n'
        return _written(seal(text), path)

    @classmethod
    def from_json(cls, source: str | Path) -> Comparison:
        """Reads a comparison back, from a `Path` or from the JSON text itself.

        Raises:
            ValueError: no JSON, JSON that is no comparison, or one with anything changed.
        """
        text = text_of("source", source)
        named = f"{source} " if isinstance(source, Path) else ""
        try:
            content = unseal(text)
            found = cls(content["about"], content["rows"], content["frozen"])
            found.summary()
            str(found)
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(
                f"source: {named}is not a comparison, which has about, rows and frozen ({error!r})"
            ) from error
        except ValueError as error:
            raise ValueError(f"source: {named}is not a comparison as it was written ({error})") from error
        return found

    def to_csv(self, path: str | Path | None = None) -> str:
        """A line a run, without the losses; with a path it is also written there."""
        names = list(dict.fromkeys(key for one in self.rows for key in one if key != "loss"))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return _written(text.getvalue(), path)

    def __str__(self) -> str:
        lines = [("method", "examples", "trained", "lr", "validation", "test", "+-", "seeds", "seconds")]
        for one in self.summary():
            spread = "" if one.test_std is None else f"{one.test_std:.3f}"
            edge = " (edge)" if one.at_grid_edge else ""
            lines.append(
                (one.label, str(one.examples), f"{one.trained:,}", f"{one.lr:g}{edge}", f"{mean(one.validation):.3f}",
                 f"{one.test_mean:.3f}", spread, str(len(one.seeds)), f"{one.seconds:.0f}")
            )  # fmt: skip
        for found in self.frozen:
            for name, told in (("linear_probe", "frozen: linear probe"), ("knn", "frozen: nearest neighbours")):
                lines.append((told, str(found["examples"]), "0", "", "", f"{found[name]:.3f}", "", "", ""))
        return "\n\n".join([_table(lines), *self._measured()])

    def _measured(self) -> list[str]:
        """A second table, of what the chosen runs cost and did to the model, where they looked."""
        heads = ("ms a step", "file kB", "tensors MB", "deployed", "rank", "effective", "forgot")
        lines: list[tuple[str, ...]] = [("method", "examples", *heads)]
        for one in self.summary():
            if one.step_seconds is not None and one.file_bytes is not None and one.tensor_bytes is not None:
                lines.append(
                    (one.label, str(one.examples), f"{1000 * one.step_seconds:.0f}", f"{one.file_bytes / 1000:.0f}",
                     f"{one.tensor_bytes / 1e6:.0f}", "" if one.deployed is None else f"{one.deployed:+,.0f}",
                     *("" if value is None else f"{value:.1f}" for value in (one.rank, one.effective_rank)),
                     "" if one.forgetting is None else f"{one.forgetting:.3f}")
                )  # fmt: skip
        return [_table(lines)] if len(lines) > 1 else []


def _table(lines: Sequence[tuple[str, ...]]) -> str:
    """Lines of one length, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    pad: list[Callable[..., str]] = [str.ljust, *[str.rjust] * (len(widths) - 1)]
    return "\n".join("  ".join(f(cell, w) for f, cell, w in zip(pad, line, widths)).rstrip() for line in lines)


def _mean(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if None in known else float(mean(value for value in known if value is not None))


def _written(text: str, path: str | Path | None) -> str:
    if path is not None:
        write_text("path", path, text)
    return text
