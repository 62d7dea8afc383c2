"""Run a plan, one kept file a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from surm_lite import data as data_sets
from surm_lite.adapters import save_adapter
from surm_lite.adapters.targets import select
from surm_lite.comparison.measure import MEASURES, step_times, tensor_bytes, typical_step, update_ranks
from surm_lite.comparison.outlook import outlook
from surm_lite.comparison.plan import Plan, next_rate, only_kept
from surm_lite.comparison.result import Comparison, row
from surm_lite.data import LabelledSet
from surm_lite.data.arguments import check_flag
from surm_lite.device import device as find_device
from surm_lite.evaluate import Probe, knn_accuracy, linear_probe
from surm_lite.files import as_path, check_output, seal, unseal, write_whole
from surm_lite.models import MODELS, apart
from surm_lite.training.train import train

FROZEN = ("knn", "neighbours", "linear_probe", "decay")


def compare(
    plan: Plan,
    folder: str | Path,
    *,
    root: str | Path | None = None,
    download: bool = False,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> Comparison:
    """Runs a plan: a sweep of learning rates for each arm, then the other seeds at the rate that validation chose.

    Every finished run is a file of the folder, written completely or not at all; its adapter lies beside it. Called
    again, the comparison goes on where it stopped. Several processes may share a folder if each has arms of its own.
    Each run also says what a step took, the bytes of its file and of all tensors at once, the ranks of the update and
    what was forgotten (`surm_lite.comparison.measure`).

    Args:
        plan: what to run.
        folder: where the runs are kept; made with the first result where it does not exist.
        root, download: where a data set by name is, as in `sl.data.load`.
        device: as in `sl.train`.
        progress: say how many runs are missing and how long they will take, and show a bar.

    Returns:
        Comparison: a row a run, and what validation chose.

    Raises:
        ValueError: a kept run was made with other settings, or changed since; the message names the file and the
            difference. Two sizes of the training part are one. An arm names layers that the model has not; said before
            anything is run.
        OSError: the folder cannot be written; said before anything is run.

    Cost:
        `plan.n_runs` training runs, less those that are kept.

    Example:
        >>> import tempfile
        >>> from surm_lite.comparison import Arm, Plan
        >>> arms = {"linear": Arm("linear probe", (1e-3, 1e-2), "head", seeds=(0, 1))}
        >>> plan = Plan("digits", arms, model="tiny_vit", examples=(40,), epochs=1, frozen=False)
        >>> len(compare(plan, tempfile.mkdtemp(), progress=False).rows)
        3

    Taught in:
        22_what_moves_accuracy
    """
    if not isinstance(plan, Plan):
        raise TypeError(f"plan: got a {type(plan).__name__}, need a Plan of surm_lite.comparison")
    check_flag("download", download)
    check_flag("progress", progress)
    on = find_device(device)
    folder = as_path("folder", folder)
    check_output("folder", folder, folder=True)
    sets: dict[int | None, LabelledSet] = {}
    for examples in plan.examples:
        sets[examples] = _load(plan, examples, sets, root, download)
    _check_layers(plan)
    frozen = [_frozen(plan, folder, *one) for one in sets.items()] if plan.frozen else []
    if progress:
        print(outlook(plan, folder, sets, on), flush=True)
    found: list[tuple[float | None, list[dict[str, Any]]]] = []
    rows: list[dict[str, Any]] = []
    with tqdm(total=plan.n_runs, disable=not progress, unit="run") as bar:
        cells = _Cells(plan, folder, on, bar)
        for examples, name, _ in plan.cases():  # every sweep comes first: soon each arm has something to say
            found.append(cells.sweep(name, examples, sets[examples]))
        for (examples, name, arm), (best, sweep) in zip(plan.cases(), found):
            seeds = arm.seeds[1:]
            rest = [cells.row(name, examples, sets[examples], best, seed) for seed in seeds if best is not None]
            bar.update(len(seeds) - len(rest))
            rows += [
                made | {"examples": len(sets[examples].train), "chosen": made["lr"] == best} for made in sweep + rest
            ]
    about = {key: getattr(plan, key) for key in ("model", "epochs", "min_steps", "batch_size", "head_lr")}
    data = next(iter(sets.values()))
    sizes = {part: len(split) for part, split in data.parts.items() if part != "train"}
    return Comparison({"data": plan.data_name} | about | sizes | {"credit": data.credit}, rows, frozen)


def _check_layers(plan: Plan) -> None:
    """Every arm finds its layers: asked before the first run, not after the hours of other arms."""
    model = apart(MODELS[plan.model]())
    for name in plan.arms:
        try:
            select(model, plan.layers(name), ("head",))
        except ValueError as error:
            raise ValueError(f"arms: {name}: {error}") from None


def _load(
    plan: Plan, examples: int | None, others: dict[int | None, LabelledSet], root: str | Path | None, download: bool
) -> LabelledSet:
    """The data set at one size of the training part."""
    if isinstance(plan.data, LabelledSet):
        if examples is not None and examples > len(plan.data.train):
            raise ValueError(f"examples: got {examples}, but {plan.data.name} has {len(plan.data.train)} to train on")
        data = replace(plan.data, train=plan.data.train[:examples])
    else:
        data = data_sets.load(plan.data, train=examples, root=root, download=download)
    data.task.check(data)
    for other, known in others.items():
        if len(known.train) == len(data.train):
            raise ValueError(f"examples: {other} and {examples} are both {len(data.train)}, the whole training part")
    return data


def _best(made: dict[float, dict[str, Any]]) -> float | None:
    """The rate with the best validation score, the smallest of equals; None where all have diverged."""
    good = [lr for lr in sorted(made) if made[lr]["validation"] is not None]
    return max(good, key=lambda lr: made[lr]["validation"]) if good else None


@dataclass
class _Cells:
    """The runs of a plan, each read back where it is kept, else made and kept."""

    plan: Plan
    folder: Path
    device: torch.device
    bar: Any

    def sweep(self, name: str, examples: int | None, data: LabelledSet) -> tuple[float | None, list[dict[str, Any]]]:
        """The rate that validation chooses with the first seed, and a row a rate."""
        arm = self.plan.arms[name]
        made = {lr: self.row(name, examples, data, lr, arm.seeds[0]) for lr in arm.lrs}
        for _ in range(self.plan.widen):
            best = _best(made)
            if best is not None and min(made) < best < max(made):
                break
            up = best is not None and best == max(made)  # where every rate has diverged, a smaller one may not
            new = next_rate(max(made) if up else min(made), up)
            self.bar.total += 1
            made[new] = self.row(name, examples, data, new, arm.seeds[0])
        return _best(made), [made[lr] for lr in sorted(made)]

    def row(self, name: str, examples: int | None, data: LabelledSet, lr: float, seed: int) -> dict[str, Any]:
        """One run as a row of the table."""
        self.bar.set_postfix_str(f"{name} lr {lr:g} seed {seed}")
        settings = self.plan.settings(name, examples, lr, seed)
        path = self.folder / f"{name}-{examples or 'all'}-lr{lr:g}-seed{seed}.json"
        as_row = partial(row, name, self.plan.arms[name])
        kept = _kept(path, settings, as_row)
        if kept is None:
            made = {"settings": settings, **self._run(name, data, lr, seed, path.with_suffix(".safetensors"))}
            _keep(path, made)
            kept = as_row(made)
        self.bar.update()
        return kept

    def _run(self, name: str, data: LabelledSet, lr: float, seed: int, file: Path) -> dict[str, Any]:
        """A training run and what it measured; its adapter goes to `file`."""
        plan, passes, probe = self.plan, self.plan.passes(len(data.train)), self.probe
        build = partial(plan.build, name, data, seed=seed, device=self.device)
        model = build()
        how: dict[str, Any] = {
            "lr": lr, "head_lr": lr if only_kept(model) else plan.head_lr, "batch_size": plan.batch_size,
            "precision": plan.precision, "seed": seed, "device": self.device, "progress": False,
        }  # fmt: skip
        try:
            with step_times(self.device) as moments:
                record = train(model, data, epochs=passes, evaluate_every=passes, **how)
            most = tensor_bytes(build(), data, **how)
        except FloatingPointError as error:  # diverged: a result too
            return {"record": None, "diverged": str(error)}
        file.parent.mkdir(parents=True, exist_ok=True)
        save_adapter(model, file)
        before = select(plan.base(name, data, seed=seed), plan.layers(name), ("head",))
        rank, effective = update_ranks(before, model)
        values = (
            typical_step(moments), file.stat().st_size, most, rank, effective,
            None if probe is None else probe.forgotten(model),
        )  # fmt: skip
        measures = dict(zip(MEASURES, values, strict=True))
        return {"record": json.loads(record.to_json()), "diverged": None, "measures": measures}

    @cached_property
    def probe(self) -> Probe | None:
        """What watches for forgetting: fitted once, and only where a run is missing."""
        if self.plan.elsewhere is None:
            return None
        other = data_sets.load(self.plan.elsewhere, test=400)
        return Probe.of(MODELS[self.plan.model](num_classes=other.task.n_outputs(other)), other)


def _frozen(plan: Plan, folder: Path, examples: int | None, data: LabelledSet) -> dict[str, Any]:
    """What the frozen features can tell without touching the network."""
    settings = {"data": plan.data_name, "model": plan.model, "examples": examples}
    path = folder / f"frozen-{examples or 'all'}.json"
    found = _kept(path, settings, lambda made: {key: made["found"][key] for key in FROZEN})
    if found is None:
        model = MODELS[plan.model](num_classes=data.task.n_outputs(data))
        knn, neighbours = knn_accuracy(model, data)
        probe, decay, _ = linear_probe(model, data)
        found = dict(zip(FROZEN, (knn, neighbours, probe, decay)))
        _keep(path, {"settings": settings, "found": found})
    return {"examples": len(data.train)} | found


def _keep(path: Path, made: dict[str, Any]) -> None:
    """Writes a result; the folder is made with the first one, so that a comparison that is refused leaves none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, seal(json.dumps(made)).encode())


def _kept(
    path: Path, settings: dict[str, Any], read: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any] | None:
    """What `read` makes of a kept file, or None; one made with other settings, or no such file at all, is refused."""
    if not path.exists():
        return None
    try:
        made = unseal(path.read_text(encoding="utf-8"))
        then = made["settings"]
        differing = [key for key in {**settings, **then} if settings.get(key, ...) != then.get(key, ...)]
        found = None if differing else read(made)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"folder: {path} is not a kept run ({error}); move it away to run it again") from error
    if differing:
        key = differing[0]
        raise ValueError(
            f"folder: {path} was run with {key} = {then.get(key)!r}, and the plan says {settings.get(key)!r}; "
            "take another folder, or another name for the arm"
        )
    return found
