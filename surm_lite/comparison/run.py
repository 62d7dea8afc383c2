"""Run a plan, one kept file a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from surm_lite import data as data_sets
from surm_lite.comparison.plan import Plan, only_kept
from surm_lite.comparison.result import Comparison, row
from surm_lite.data import CATALOGUE, LabelledSet
from surm_lite.data.arguments import check_flag
from surm_lite.device import device as find_device
from surm_lite.evaluate import knn_accuracy, linear_probe
from surm_lite.files import as_path, check_output, seal, unseal, write_whole
from surm_lite.models import MODELS
from surm_lite.training.record import Record
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

    Every finished run is a file of the folder, written completely or not at all. Called again, the comparison goes on
    where it stopped. Several processes may share a folder if each has arms of its own.

    Args:
        plan: what to run.
        folder: where the runs are kept; made where it does not exist.
        root, download: where the data set is, as in `sl.data.load`.
        device: as in `sl.train`.
        progress: show a bar with an estimate of the time left.

    Returns:
        Comparison: a row a run, and what validation chose.

    Raises:
        ValueError: a kept run was made with other settings, or changed since; the message names the file and the
            difference. Two sizes of the training part are one.
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
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    frozen: list[dict[str, Any]] = []
    sets: dict[int | None, LabelledSet] = {}
    with tqdm(total=plan.n_runs, disable=not progress, unit="run") as bar:
        for examples, name, arm in plan.cases():
            if examples not in sets:
                sets[examples] = _load(plan, examples, sets, root, download)
                frozen += [_frozen(plan, folder, examples, sets[examples])] if plan.frozen else []

            def one(lr: float, seed: int, name: str = name, examples: int | None = examples) -> dict[str, Any]:
                bar.set_postfix_str(f"{name} lr {lr:g} seed {seed}")
                made = _cell(plan, folder, name, examples, lr, seed, sets[examples], on)
                bar.update()
                return made

            sweep = [one(lr, arm.seeds[0]) for lr in arm.lrs]
            good = [made for made in sweep if made["validation"] is not None]
            # The smallest of equals, since the rates ascend.
            best = max(good, key=lambda made: made["validation"])["lr"] if good else None
            rest = [] if best is None else [one(best, seed) for seed in arm.seeds[1:]]
            bar.update(0 if rest else len(arm.seeds) - 1)
            rows += [
                made | {"examples": len(sets[examples].train), "chosen": made["lr"] == best} for made in sweep + rest
            ]
    about = {key: getattr(plan, key) for key in ("data", "model", "epochs", "min_steps", "batch_size", "head_lr")}
    sizes = {part: len(split) for part, split in next(iter(sets.values())).parts.items() if part != "train"}
    return Comparison(about | sizes | {"credit": CATALOGUE[plan.data].credit}, rows, frozen)


def _load(
    plan: Plan, examples: int | None, others: dict[int | None, LabelledSet], root: str | Path | None, download: bool
) -> LabelledSet:
    """The data set at one size of the training part."""
    data = data_sets.load(plan.data, train=examples, root=root, download=download)
    data.task.check(data)
    for other, known in others.items():
        if len(known.train) == len(data.train):
            raise ValueError(f"examples: {other} and {examples} are both {len(data.train)}, the whole training part")
    return data


def _cell(
    plan: Plan,
    folder: Path,
    name: str,
    examples: int | None,
    lr: float,
    seed: int,
    data: LabelledSet,
    device: torch.device,
) -> dict[str, Any]:
    """One training run as a row: read back where it is kept, else made and kept."""
    settings = plan.settings(name, examples, lr, seed)
    path = folder / f"{name}-{examples or 'all'}-lr{lr:g}-seed{seed}.json"
    as_row = partial(row, name, plan.arms[name])
    kept = _kept(path, settings, as_row)
    if kept is not None:
        return kept
    record: Record | None = None
    trouble = None
    try:
        epochs, model = plan.passes(len(data.train)), plan.build(name, data, seed=seed, device=device)
        record = train(
            model, data, epochs=epochs, evaluate_every=epochs, lr=lr,
            head_lr=lr if only_kept(model) else plan.head_lr, batch_size=plan.batch_size, precision=plan.precision,
            seed=seed, device=device, progress=False,
        )  # fmt: skip
    except FloatingPointError as error:  # diverged: a result too
        trouble = str(error)
    made = {
        "settings": settings,
        "record": None if record is None else json.loads(record.to_json()),
        "diverged": trouble,
    }
    write_whole(path, seal(json.dumps(made)).encode())
    return as_row(made)


def _frozen(plan: Plan, folder: Path, examples: int | None, data: LabelledSet) -> dict[str, Any]:
    """What the frozen features can tell without touching the network."""
    settings = {"data": plan.data, "model": plan.model, "examples": examples}
    path = folder / f"frozen-{examples or 'all'}.json"
    found = _kept(path, settings, lambda made: {key: made["found"][key] for key in FROZEN})
    if found is None:
        model = MODELS[plan.model](num_classes=data.task.n_outputs(data))
        knn, neighbours = knn_accuracy(model, data)
        probe, decay, _ = linear_probe(model, data)
        found = dict(zip(FROZEN, (knn, neighbours, probe, decay)))
        write_whole(path, seal(json.dumps({"settings": settings, "found": found})).encode())
    return {"examples": len(data.train)} | found


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
