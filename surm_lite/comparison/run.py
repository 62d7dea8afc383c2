"""Run a plan, one kept file a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from surm_lite import data as image_sets
from surm_lite.data import CATALOGUE, ImageSet
from surm_lite.evaluate import knn_accuracy, linear_probe
from surm_lite.files import write_whole
from surm_lite.models import MODELS
from surm_lite.record import Record
from surm_lite.train import train

from .plan import Arm, Plan
from .result import Comparison, row


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
        root, download: where the image set is, as in `sl.data.load`.
        device: as in `sl.train`.
        progress: show a bar with an estimate of the time left.

    Returns:
        Comparison: a row a run, and what validation chose.

    Raises:
        ValueError: a kept run was made with other settings; the message names the file and the difference.

    Cost:
        `plan.n_runs` training runs, less those that are kept.

    Example:
        >>> import tempfile
        >>> from surm_lite.comparison import Arm, Plan
        >>> arms = {"linear": Arm("linear probe", (1e-3, 1e-2), "head", seeds=(0, 1))}
        >>> plan = Plan("digits", arms, model="tiny_vit", images=(40,), epochs=1, frozen=False)
        >>> len(compare(plan, tempfile.mkdtemp(), progress=False).rows)
        3

    Taught in:
        22_what_moves_accuracy
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    frozen: list[dict[str, Any]] = []
    sets: dict[int | None, ImageSet] = {}
    with tqdm(total=plan.n_runs, disable=not progress, unit="run") as bar:
        for images, name, arm in plan.cases():
            if images not in sets:
                sets[images] = image_sets.load(plan.data, train=images, root=root, download=download)
                frozen += [_frozen(plan, folder, images, sets[images])] if plan.frozen else []

            def one(
                lr: float, seed: int, name: str = name, arm: Arm = arm, images: int | None = images
            ) -> dict[str, Any]:
                bar.set_postfix_str(f"{name} lr {lr:g} seed {seed}")
                made = row(name, arm, _cell(plan, folder, name, images, lr, seed, sets[images], device))
                bar.update()
                return made

            sweep = [one(lr, arm.seeds[0]) for lr in arm.lrs]
            good = [made for made in sweep if made["validation"] is not None]
            # The smallest of equals, since the rates ascend.
            best = max(good, key=lambda made: made["validation"])["lr"] if good else None
            rest = [] if best is None else [one(best, seed) for seed in arm.seeds[1:]]
            bar.update(0 if rest else len(arm.seeds) - 1)
            rows += [made | {"images": len(sets[images].train), "chosen": made["lr"] == best} for made in sweep + rest]
    about = {key: getattr(plan, key) for key in ("data", "model", "epochs", "min_steps", "batch_size", "head_lr")}
    sizes = {part: len(split) for part, split in next(iter(sets.values())).parts.items() if part != "train"}
    return Comparison(about | sizes | {"credit": CATALOGUE[plan.data].credit}, rows, frozen)


def _cell(
    plan: Plan, folder: Path, name: str, images: int | None, lr: float, seed: int, data: ImageSet, device: Any
) -> dict[str, Any]:
    """One training run: read back where it is kept, else made and kept."""
    settings = plan.settings(name, images, lr, seed)
    path = folder / f"{name}-{images or 'all'}-lr{lr:g}-seed{seed}.json"
    kept = _kept(path, settings)
    if kept is not None:
        return kept
    record: Record | None = None
    trouble = None
    try:
        epochs = plan.passes(len(data.train))
        record = train(
            plan.build(name, classes=len(data.classes), seed=seed), data, epochs=epochs, evaluate_every=epochs, lr=lr,
            head_lr=plan.head_lr, batch_size=plan.batch_size, precision=plan.precision, seed=seed, device=device,
            progress=False,
        )  # fmt: skip
    except FloatingPointError as error:  # diverged: a result too
        trouble = str(error)
    made = {
        "settings": settings,
        "record": None if record is None else json.loads(record.to_json()),
        "diverged": trouble,
    }
    write_whole(path, json.dumps(made).encode())
    return made


def _frozen(plan: Plan, folder: Path, images: int | None, data: ImageSet) -> dict[str, Any]:
    """What the frozen features can tell without touching the network."""
    settings = {"data": plan.data, "model": plan.model, "images": images}
    path = folder / f"frozen-{images or 'all'}.json"
    kept = _kept(path, settings)
    if kept is None:
        model = MODELS[plan.model](num_classes=len(data.classes))
        knn, neighbours = knn_accuracy(model, data)
        probe, decay, _ = linear_probe(model, data)
        found = {"knn": knn, "neighbours": neighbours, "linear_probe": probe, "decay": decay}
        kept = {"settings": settings, "found": found}
        write_whole(path, json.dumps(kept).encode())
    return {"images": len(data.train)} | kept["found"]


def _kept(path: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """A kept run, or None; one made with other settings, or no run at all, is refused."""
    if not path.exists():
        return None
    try:
        made = json.loads(path.read_text())
        then = made["settings"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise ValueError(f"folder: {path} is not a kept run; move it away to run it again") from None
    differing = [key for key in {**settings, **then} if settings.get(key) != then.get(key)]
    if differing:
        key = differing[0]
        raise ValueError(
            f"folder: {path} was run with {key} = {then.get(key)!r}, and the plan says {settings.get(key)!r}; "
            "take another folder, or another name for the arm"
        )
    return dict(made)
