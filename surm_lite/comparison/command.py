"""`surm-lite compare`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from surm_lite import adapters, models
from surm_lite.adapters.base import near
from surm_lite.adapters.targets import select

from .budget import options_for_budget
from .plan import QKV, WHOLE, Arm, Plan
from .result import Comparison
from .run import compare

T = TypeVar("T")


def add_parser(commands: Any) -> None:
    """Adds the command to those of `surm-lite`."""
    parser = commands.add_parser(
        "compare",
        help="methods x budgets x learning rates x seeds, as one table",
        description="Trains every method at every budget: each learning rate with the first seed, then the other seeds "
        "at the rate that validation chose. Every run is kept, so the same command goes on where it was stopped.",
        allow_abbrev=False,
    )
    parser.add_argument("--plan", help="a comparison of the book (see surm_lite.experiments) instead of --methods")
    parser.add_argument("--methods", help=f"comma-separated: {', '.join([*adapters.METHODS, *WHOLE])}")
    parser.add_argument("--budgets", help="comma-separated numbers a layer (default: each method's own options)")
    parser.add_argument("--lrs", help="comma-separated (default: a third, once and three times the method's own)")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated; the first one chooses (default: 0,1,2)")
    parser.add_argument("--data", default="mnist5k")
    parser.add_argument("--model", default="vit_s14", help=f"{', '.join(models.MODELS)} (default: vit_s14)")
    parser.add_argument("--targets", default=",".join(QKV), help="comma-separated patterns of layers")
    parser.add_argument("--images", help="comma-separated sizes of the training part (default: the set's own)")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--min-steps", type=int, default=0, help="small sets are passed over until so many steps")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--head-lr", type=float, default=3e-3)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--device", help="auto, cuda, mps, cpu (default: auto)")
    parser.add_argument("--root", help="folder with the files of the image set")
    parser.add_argument("--download", action="store_true", help="allow a download of the image set")
    parser.add_argument("--out", type=Path, help="folder of the runs (default: runs/<plan> or runs/compare)")
    parser.add_argument("--show", type=Path, help="run nothing: print this folder's or file's table and draw it")
    parser.add_argument("--figure", type=Path, help="where to draw (default: accuracy.svg beside the table)")


def run(args: argparse.Namespace) -> int:
    """Runs or shows a comparison; the exit status."""
    if args.show is not None:
        path = args.show / "comparison.json" if args.show.is_dir() else args.show
        if not path.exists():
            raise FileNotFoundError(f"--show: {path} does not exist; `surm-lite compare` writes it when it ends")
        return _show(Comparison.from_json(path), args.figure or path.with_name("accuracy.svg"))
    if (args.plan is None) == (args.methods is None):
        raise ValueError("compare: needs either --plan or --methods")
    plan = _named(args.plan) if args.plan else _plan(args)
    folder = args.out or Path("runs") / (args.plan or "compare")
    print(f"{plan.n_runs} runs, kept in {folder}")
    comparison = compare(plan, folder, root=args.root, download=args.download, device=args.device)
    comparison.to_json(folder / "comparison.json")
    comparison.to_csv(folder / "comparison.csv")
    print(f"written: {folder / 'comparison.json'}, {folder / 'comparison.csv'}")
    return _show(comparison, args.figure or folder / "accuracy.svg")


def _show(comparison: Comparison, figure: Path) -> int:
    print(comparison)
    if not comparison.summary():
        print("no run has ended well, so there is nothing to draw")
        return 1
    from .figure import accuracy_figure  # needs matplotlib

    try:
        accuracy_figure(comparison).savefig(figure, facecolor="white")
    except ModuleNotFoundError as error:
        print(f"no figure: {error}")
    else:
        print(f"drawn:   {figure}")
    return 0


def _named(name: str) -> Plan:
    from surm_lite.experiments import PLANS

    if name not in PLANS:
        raise ValueError(near("plan", name, PLANS))
    return PLANS[name]


def _plan(args: argparse.Namespace) -> Plan:
    """The plan that the options describe; without a budget each method has its default options."""
    names = _list("methods", args.methods, str)
    budgets: list[int | None] = list(_list("budgets", args.budgets, int)) if args.budgets else [None]
    seeds = tuple(_list("seeds", args.seeds, int))
    targets = tuple(_list("targets", args.targets, str))
    lrs = tuple(_list("lrs", args.lrs, float)) if args.lrs else None
    shape = _layer(args.model, targets)
    arms: dict[str, Arm] = {}
    for name in names:
        if name not in adapters.METHODS and name not in WHOLE:
            raise ValueError(near("method", name, {**adapters.METHODS, **WHOLE}))
        usual = {"full": 1e-4, "head": args.head_lr}.get(name) or adapters.METHODS[name].lr
        for budget in budgets if name not in WHOLE else [None]:
            options = options_for_budget(name, *shape, budget) if budget else {}
            label = " ".join([name, *(f"{key}={value}" for key, value in options.items())])
            # Labels tell arms apart: two budgets that a method answers with the same options are one arm.
            rates = lrs or (usual / 3, usual, usual * 3)
            arms[label.replace(" ", "_").replace("/", "")] = Arm(label, rates, name, options, targets, seeds=seeds)
    return Plan(
        args.data, arms, model=args.model, epochs=args.epochs, min_steps=args.min_steps, batch_size=args.batch_size,
        head_lr=args.head_lr, precision=args.precision,
        images=tuple(_list("images", args.images, int)) if args.images else (None,),
    )  # fmt: skip


def _layer(model: str, targets: tuple[str, ...]) -> tuple[int, int]:
    """Size of the layers that a budget is counted on: all of one size, or the budget would mean nothing."""
    if model not in models.MODELS:
        raise ValueError(near("model", model, models.MODELS))
    layers = select(models.split_qkv(models.MODELS[model]()), targets, ("head",))
    shapes = {tuple(layer.weight.shape) for layer in layers.values() if isinstance(layer, nn.Linear)}
    if len(shapes) > 1:
        raise ValueError(f"targets: {', '.join(targets)} have layers of sizes {sorted(shapes)}; need one size")
    m, n = shapes.pop()
    return m, n


def _list(name: str, text: str, kind: Callable[[str], T]) -> list[T]:
    try:
        return [kind(word.strip()) for word in text.split(",")]
    except ValueError:
        raise ValueError(f"--{name}: got {text!r}, need comma-separated {kind.__name__} values") from None
