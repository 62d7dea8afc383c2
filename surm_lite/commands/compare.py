"""`surm-lite compare`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from surm_lite import adapters, models
from surm_lite.adapters.targets import select
from surm_lite.commands.examples import HELP, add_columns, own, read_own, which
from surm_lite.commands.places import check_apart
from surm_lite.commands.words import folder, listed, path_of, pick, refuse_rest
from surm_lite.comparison.budget import options_for_budget
from surm_lite.comparison.plan import Arm, Plan
from surm_lite.comparison.plans import PLANS
from surm_lite.comparison.result import Comparison
from surm_lite.comparison.run import compare
from surm_lite.data.arguments import check_positive
from surm_lite.files import as_path, check_output

USUAL = {
    "seeds": "0,1,2", "data": "mnist5k", "model": "vit_s14", "targets": None, "epochs": 4, "min_steps": 0,
    "batch_size": 32, "head_lr": 3e-3, "precision": "float32",
}  # fmt: skip
"""What a plan is made of where the options do not say it."""
OWN = (*USUAL, "budgets", "lrs", "examples")
"""Options that make a plan: a named one says them all."""
PICTURES = (".svg", ".png", ".pdf")


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command to those of `surm-lite`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "compare",
        help="methods x budgets x learning rates x seeds, as one table",
        description="Trains every method at every budget: each learning rate with the first seed, then the other seeds "
        "at the rate that validation chose. Every run is kept, so the same command goes on where it was stopped.",
        allow_abbrev=False,
    )
    parser.add_argument("--plan", help=f"a comparison of the book instead of --methods: {', '.join(PLANS)}")
    parser.add_argument("--methods", help=f"comma-separated: {', '.join(adapters.METHODS)}")
    parser.add_argument("--budgets", help="comma-separated numbers a layer (default: each method's own options)")
    parser.add_argument("--lrs", help="comma-separated (default: a third, once and three times the method's own)")
    parser.add_argument("--seeds", help="comma-separated; the first one chooses (default: 0,1,2)")
    parser.add_argument("--data", help=f"{HELP} (default: mnist5k)")
    add_columns(parser)
    parser.add_argument("--model", help=f"{', '.join(models.MODELS)} (default: vit_s14)")
    parser.add_argument("--targets", help="comma-separated patterns of layers (default: queries, keys and values)")
    parser.add_argument("--examples", help="comma-separated sizes of the training part (default: the set's own)")
    parser.add_argument("--epochs", type=int, help="(default: 4)")
    parser.add_argument("--min-steps", type=int, help="small sets are passed over until so many steps (default: 0)")
    parser.add_argument("--batch-size", type=int, help="(default: 32)")
    parser.add_argument("--head-lr", type=float, help="(default: 0.003)")
    parser.add_argument("--precision", help="(default: float32)")
    parser.add_argument("--device", help="auto, cuda, mps, cpu (default: auto)")
    parser.add_argument("--root", type=folder, help="folder with the files of the data set")
    parser.add_argument("--download", action="store_true", help="allow a download of the data set")
    parser.add_argument("--out", type=path_of, help="folder of the runs (default: runs/<plan> or runs/compare)")
    parser.add_argument("--show", type=path_of, help="run nothing: print this folder's or file's table and draw it")
    parser.add_argument(
        "--figure",
        type=path_of,
        help="where to draw, NAME-seconds, NAME-rates, NAME-deployed too (default: scores.svg beside the table)",
    )
    return parser


def run(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Runs or shows a comparison; the exit status."""
    refuse_rest(args, rest)
    given = [name for name in OWN if getattr(args, name) is not None]
    if args.figure is not None:
        if args.figure.suffix not in PICTURES:
            raise ValueError(f"--figure: got {str(args.figure)!r}, need a name that ends in {', '.join(PICTURES)}")
        check_output("--figure", args.figure)
    if args.show is not None:
        others = ("plan", "methods", "device", "root", "out")
        _refuse([*given, *(name for name in others if getattr(args, name) is not None)], "--show runs nothing")
        as_path("--show", args.show)
        path = args.show / "comparison.json" if args.show.is_dir() else args.show
        if not path.is_file():
            raise FileNotFoundError(f"--show: {path} does not exist; `surm-lite compare` writes it when it ends")
        figure = args.figure or path.with_name("scores.svg")
        check_apart("--figure", figure, {"--show": path})
        return _show(Comparison.from_json(path), figure)
    if (args.plan is None) == (args.methods is None):
        raise ValueError("compare: needs either --plan or --methods")
    if args.plan is not None:
        plan = pick("plan", args.plan, PLANS)
        _refuse(given, f"plan {args.plan!r} says it")
    else:
        plan = _plan(argparse.Namespace(**(vars(args) | {k: v for k, v in USUAL.items() if k not in given})))
    place = args.out or Path("runs") / (args.plan or "compare")
    figure = args.figure or place / "scores.svg"
    written = [place / f"comparison.{kind}" for kind in ("json", "csv")]
    for output in (place, *written, figure):
        check_apart("--figure" if output is args.figure else "--out", output, {"--data": own(args)})
    check_output("--out", place, folder=True)
    print(f"runs are kept in {place}", flush=True)
    try:
        comparison = compare(
            plan, place, root=args.root, download=args.download, device=args.device, progress=not args.quiet
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"finished runs are kept in {place}, and the same command goes on from there") from None
    comparison.to_json(written[0])
    comparison.to_csv(written[1])
    print(f"written: {written[0]}, {written[1]}")
    return _show(comparison, figure)


def _refuse(given: Sequence[str], why: str) -> None:
    if given:
        raise ValueError(f"--{given[0].replace('_', '-')}: {why}; leave it out")


def _show(comparison: Comparison, figure: Path) -> int:
    print(comparison)
    if not comparison.summary():
        print("no run has ended well, so there is nothing to draw")
        return 1
    from surm_lite.comparison.figure import deployed_figure, rate_figure, score_figure, time_figure  # needs matplotlib

    others = {"-seconds": time_figure, "-rates": rate_figure}
    if any(one.deployed for one in comparison.summary()):
        others["-deployed"] = deployed_figure
    try:
        for suffix, draw in {"": score_figure, **others}.items():
            path = figure.with_stem(figure.stem + suffix)
            draw(comparison).savefig(path, facecolor="white")
            print(f"drawn:   {path}")
    except ModuleNotFoundError as error:
        print(f"no figure: {error}")
    return 0


def _plan(args: argparse.Namespace) -> Plan:
    """The plan that the options describe; without a budget each method has its default options."""
    methods = {name: pick("method", name, adapters.METHODS) for name in listed("methods", args.methods, str)}
    budgets: list[int | None] = [None] if args.budgets is None else [*listed("budgets", args.budgets, int)]
    seeds = tuple(listed("seeds", args.seeds, int))
    usual_layers = models.TARGETS.get(args.model, ())
    targets = usual_layers if args.targets is None else tuple(listed("targets", args.targets, str))
    lrs = None if args.lrs is None else tuple(listed("lrs", args.lrs, float))
    examples = (None,) if args.examples is None else tuple(listed("examples", args.examples, int))
    check_positive("--head-lr", args.head_lr)
    wrapping = any(method.wraps for method in methods.values())
    if args.budgets is not None and not wrapping:
        raise ValueError(f"--budgets: got {args.budgets}, but {', '.join(methods)} spends none on a layer")
    which(args)
    shape = _layer(args.model, targets) if wrapping else (0, 0)
    arms: dict[str, Arm] = {}
    for name, method in methods.items():
        # What trains kept modules alone has the rate of the head.
        usual = method.lr if method.wraps or method.keep else args.head_lr
        for budget in budgets if method.wraps else [None]:
            options = {} if budget is None else options_for_budget(name, *shape, budget)
            label = " ".join([name, *(f"{key}={value}" for key, value in options.items())])
            # Labels tell arms apart: two budgets that a method answers with the same options are one arm.
            arms[label.replace(" ", "_").replace("/", "")] = Arm(
                label, lrs or (usual / 3, usual, usual * 3), name, options, targets, equal=method.wraps, seeds=seeds
            )
    examples_of = args.data if own(args) is None else read_own(args)
    return Plan(
        examples_of, arms, model=args.model, epochs=args.epochs, min_steps=args.min_steps, batch_size=args.batch_size,
        head_lr=args.head_lr, precision=args.precision, examples=examples,
    )  # fmt: skip


def _layer(model: str, targets: tuple[str, ...]) -> tuple[int, int]:
    """Size of the layers that a budget is counted on: all of one size, or the budget would mean nothing."""
    layers = select(models.apart(pick("model", model, models.MODELS)()), targets, ("head",))
    shapes = {tuple(layer.weight.shape) for layer in layers.values() if isinstance(layer, nn.Linear)}
    if len(shapes) > 1:
        raise ValueError(f"targets: {', '.join(targets)} have layers of sizes {sorted(shapes)}; need one size")
    m, n = shapes.pop()
    return m, n
