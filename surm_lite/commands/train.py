"""`surm-lite train`."""

from __future__ import annotations

import argparse
import ast
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from surm_lite import adapters, models
from surm_lite.adapters.methods.registry import make_method
from surm_lite.commands.examples import HELP, add_columns, load, own, which
from surm_lite.commands.places import check_apart
from surm_lite.commands.words import folder, path_of, pick, refuse_rest
from surm_lite.comparison.plan import only_kept
from surm_lite.data import AUGMENTATIONS
from surm_lite.data.arguments import check_seed
from surm_lite.device import device
from surm_lite.files import check_output
from surm_lite.training.memory import memory
from surm_lite.training.processes import is_first
from surm_lite.training.record import Record
from surm_lite.training.train import PRECISIONS, SCHEDULES, train
from surm_lite.training.watch import JsonLog

QUICK = {"train": 100, "validation": 50, "test": 50}
HEAD_LR = 3e-3


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command to those of `surm-lite`."""
    one: argparse.ArgumentParser = commands.add_parser(
        "train",
        help="fine-tune a pretrained model on pictures or sentences",
        description="Fine-tunes a pretrained model on a data set or on your own pictures or sentences, and prints what "
        "came out.",
        epilog="Further options are those of the method, for example --rank 4 with --method lora; "
        "`python -c 'import surm_lite; print(surm_lite.methods())'` lists them.",
        allow_abbrev=False,
    )
    one.add_argument("--method", default="toeplitz", help=f"{', '.join(adapters.METHODS)} (default: toeplitz)")
    one.add_argument("--data", default="mnist5k", help=f"{HELP} (default: mnist5k)")
    add_columns(one)
    one.add_argument("--model", default="vit_s14", help=f"{', '.join(models.MODELS)} (default: vit_s14)")
    one.add_argument("--targets", help="comma-separated patterns of layers (default: queries, keys and values)")
    one.add_argument("--epochs", type=int, help="(default: 5, with --quick 1)")
    one.add_argument("--lr", type=float, help="peak learning rate (default: a start value of the method)")
    one.add_argument("--head-lr", type=float, help=f"that of the head (default: {HEAD_LR:g})")
    one.add_argument("--batch-size", type=int, default=32)
    one.add_argument("--weight-decay", type=float, default=0.0)
    one.add_argument("--accumulate", type=int, default=1, help="pieces of a batch, one after the other: less memory")
    one.add_argument("--clip", type=float, help="largest gradient norm")
    one.add_argument("--schedule", default="onecycle", help=", ".join(SCHEDULES))
    one.add_argument("--warmup", type=float, help="share of the steps (default: 0.3 for onecycle, else 0)")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--device", help="auto, cuda, mps, cpu (default: auto)")
    one.add_argument("--precision", default="float32", help=", ".join(PRECISIONS))
    one.add_argument("--examples", type=int, help="training examples (default: the set's own number)")
    one.add_argument("--augment", help=", ".join(AUGMENTATIONS))
    one.add_argument(
        "--patience", type=int, metavar="EPOCHS", help="stop after so many without a better validation; keep the best"
    )
    one.add_argument("--root", type=folder, help="folder with the files of the data set")
    one.add_argument("--download", action="store_true", help="allow a download of the data set")
    one.add_argument("--quick", action="store_true", help="one epoch on 100 examples, to see that all is in place")
    one.add_argument("--out", type=path_of, help="write the record of the run here (JSON)")
    one.add_argument("--save", type=path_of, help="write the adapter here (safetensors)")
    one.add_argument("--json-log", type=path_of, help="write a line of JSON here after each epoch")
    one.add_argument("--checkpoint", type=path_of, help="keep the last good state of the run in this file")
    one.add_argument("--checkpoint-every", type=int, metavar="STEPS", help="(default: once an epoch)")
    one.add_argument(
        "--resume",
        nargs="?",
        const=True,
        default=False,
        metavar="auto",
        help="go on from --checkpoint; with the word auto: if it exists, else start anew",
    )
    return one


def run(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Trains, reports and writes; the exit status."""
    options = _method_options(args, rest)
    make = pick("model", args.model, models.MODELS)
    which(args)
    check_seed("--seed", args.seed)
    on = device(args.device)
    _check_outputs(args)
    examples = load(args, QUICK if args.quick else {})
    model = models.apart(make(num_classes=examples.task.n_outputs(examples), seed=args.seed))
    method = make_method(args.method, options)
    losses = None if method.ready() else examples.task.losses(model.to(on), examples, seed=args.seed)
    targets = None if args.targets is None else args.targets.split(",")
    adapters.adapt(model, method, targets, seed=args.seed, losses=losses)
    first = is_first()
    if first:
        print(f"{examples}\n  {examples.credit}")
        print(f"{args.model}, {args.method}: {adapters.count(model)}")
        shares = args.accumulate * int(os.environ.get("WORLD_SIZE", "1"))
        how = {"batch_size": args.batch_size, "accumulate": shares, "precision": args.precision}
        print(f"memory of tensors: {memory(model.to(on), examples, **how)}")
    epochs = (1 if args.quick else 5) if args.epochs is None else args.epochs
    lr, head_lr = _rates(args, model)
    try:
        record = train(
            model, examples, epochs=epochs, lr=lr, head_lr=head_lr, batch_size=args.batch_size,
            accumulate=args.accumulate, weight_decay=args.weight_decay, schedule=args.schedule, warmup=args.warmup,
            seed=args.seed, device=args.device, precision=args.precision, clip=args.clip, checkpoint=args.checkpoint,
            checkpoint_every=args.checkpoint_every, resume=args.resume, progress=not args.quiet, augment=args.augment,
            patience=args.patience, callbacks=[] if args.json_log is None else [JsonLog(args.json_log)],
        )  # fmt: skip
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_how_to_go_on(args.checkpoint)) from None
    except FloatingPointError as error:
        raise FloatingPointError(f"training stopped: {error}") from None
    if not first:  # what several processes have trained together, one of them reports
        return 0
    _report(record)
    _write(args, model, record)
    return 0


def _method_options(args: argparse.Namespace, words: Sequence[str]) -> dict[str, Any]:
    """What stands after `--rank` and the like, for the options that the method has."""
    known = pick("method", args.method, adapters.METHODS)().options()
    options: dict[str, Any] = {}
    pairs = [word for joined in words for word in joined.split("=", 1)]
    for flag, value in zip(pairs[::2], [*pairs[1::2], None]):
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or name not in known:
            refuse_rest(args, [flag], others=list(known))
        if name in options:
            raise ValueError(f"{flag}: is given twice")
        if value is None:
            raise ValueError(f"{flag}: needs a value")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise ValueError(f"{flag}: got {value!r}, need a number, True, False or a tuple") from None
    return options


def _check_outputs(args: argparse.Namespace) -> None:
    """Where the results shall go is tried before there are any."""
    places: dict[str, str] = {}
    for name in ("out", "save", "json-log", "checkpoint"):
        path = getattr(args, name.replace("-", "_"))
        if path is not None:
            check_apart(f"--{name}", path, {"--data": own(args)})
            check_output(f"--{name}", path)
            other = places.setdefault(os.path.realpath(path), name)
            if other != name:
                raise ValueError(f"--{other}, --{name}: are both {path}, and the later would replace the earlier")


def _rates(args: argparse.Namespace, model: nn.Module) -> tuple[float, float]:
    """Both learning rates; where the head is all that is trained, they are one."""
    usual = adapters.METHODS[args.method].lr
    if not only_kept(model):
        return usual if args.lr is None else args.lr, HEAD_LR if args.head_lr is None else args.head_lr
    given = {rate for rate in (args.lr, args.head_lr) if rate is not None} or {usual}
    if len(given) > 1:
        raise ValueError(f"--lr, --head-lr: got {args.lr:g} and {args.head_lr:g}, but the head is all that is trained")
    (rate,) = given
    return rate, rate


def _how_to_go_on(checkpoint: Path | None) -> str:
    if checkpoint is None:
        return "nothing is kept; with --checkpoint FILE a run can be gone on with"
    if not checkpoint.exists():
        return f"nothing is kept yet in {checkpoint}; the same command starts anew"
    return f"the same command with --resume auto goes on from {checkpoint}"


def _report(record: Record) -> None:
    last = record.best_epoch or max(record.validation_score)
    whole = " of the whole process" if record.device == "cpu" else ""  # see `device.peak_memory`
    memory = "" if record.peak_memory is None else f", peak memory{whole} {record.peak_memory / 1e6:.0f} MB"
    best = "" if record.best_epoch is None else f"; of epoch {record.best_epoch}, the best of {len(record.train_score)}"
    together = "" if record.processes == 1 else f" in {record.processes} processes"
    print(
        f"loss {record.loss[0]:.3f} -> {record.loss[-1]:.3f}; score: train {record.train_score[-1]:.3f}, "
        f"validation {record.validation_score[last]:.3f}, test {record.test_score:.3f}{best}\n"
        f"{record.seconds:.1f} s on {record.device}{together}{memory}"
    )


def _write(args: argparse.Namespace, model: nn.Module, record: Record) -> None:
    """Every result is tried; one that cannot be written does not take the others with it."""
    wrong: list[str] = []
    write: dict[str, Callable[[Path], object]] = {
        "save": lambda path: adapters.save_adapter(model, path),
        "out": record.to_json,
    }
    for name, do in write.items():
        path = getattr(args, name)
        if path is None:
            continue
        try:
            do(path)
        except OSError as error:
            wrong.append(f"--{name}: {path} could not be written ({error.strerror})")
        else:
            print(f"{'adapter' if name == 'save' else 'record'}: {path} ({path.stat().st_size / 1e3:.0f} kB)")
    if wrong:
        raise OSError("; ".join(wrong))
