"""The command line: status 2 and one line that names an argument, or what the words say, read back from the files."""

from __future__ import annotations

import ast
import contextlib
import io
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from engine import Draw, Target
from matrices import always
from PIL import Image

import surm_lite as sl
from surm_lite.adapters import METHODS
from surm_lite.commands import doctor
from surm_lite.commands.main import main
from surm_lite.comparison import Comparison
from surm_lite.data import Split
from surm_lite.data.catalogue import CATALOGUE, Entry
from surm_lite.models import MODELS, ViT, ViTConfig, split_qkv

COUNT = 700


def small(num_classes: int = 3, *, seed: int = 0) -> ViT:
    config = ViTConfig(image_size=4, patch_size=2, width=8, depth=1, heads=2, num_classes=num_classes)
    model = ViT(config, generator=torch.Generator().manual_seed(seed))
    model.name = "small"
    return model


def spots(root: Path | None, download: bool) -> tuple[Split, None]:
    chance = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (300, 1, 4, 4), generator=chance, dtype=torch.uint8)
    return Split(images, torch.arange(300) % 3), None


words = "| |x|é|-|--|=|None|True|nan|inf|-inf|1e400|-1|0|1|2|0.5|1.5|1e-400|,|1,2|1,1|0,1|3,x|[1]|(2, 2)|{}|'a'|a\nb|"
words += "toeplits|lora|toeplitz,lora|lora,lora|spots|digit|small|tiny|qkv|q_proj,proj|*|.|..|/|/nowhere/x|/proc/x|"
words += "/dev/null|here|x/y|r.json|fig.svg|cuda|cuda:9|mps|cpu|auto|meta|float16|__import__('os')|\ud800"
LONG = ("9" * 30, "-" + "9" * 30, "a" * 300, "lora" * 99, "1" + "+1" * 9999)
BAD: tuple[Draw, ...] = tuple(always(word) for word in (*words.split("|"), *LONG))


class Said(ValueError):
    """What the command said when it refused."""


def run(command: str, given: Mapping[str, Any], program: Callable[[list[str]], tuple[int, str]]) -> int:
    """Runs a command; ``Said`` where it refuses in a line of its own."""
    for path in Path.cwd().iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    torch.manual_seed(0)
    words = [command]
    for name, value in given.items():
        if name in PLACES.get(command, ()):
            known = {"saved": saved(), "picture": picture(), "--": "out", "/": "x", "..": "x", "/proc/x": "x"}
            words.append(
                known.get(str(value), str(value))
            )  # after "--" all words are places; and all of a disk is large
        elif value is True:
            words.append(f"--{name.replace('_', '-')}")
        elif value is not None and value is not False:
            flag = name if name in OWN else name.replace("_", "-")
            words += [f"--{flag}={value}"] if len(str(value)) % 2 else [f"--{flag}", str(value)]
    status, error = program(words)
    if status:
        lines = error.strip().splitlines()
        if status not in (1, 2) or "error: " not in lines[-1] or "Traceback" in error:
            raise RuntimeError(f"status {status}: {error[-300:]}")
        raise Said(lines[-1])
    return status


def in_process(words: list[str]) -> tuple[int, str]:
    out, error = io.StringIO(), io.StringIO()
    spotted = Entry(spots, (24, 12, 12), ("a", "b", "c"), "made up")
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
        mock.patch.dict(MODELS, small=small),
        mock.patch.dict(CATALOGUE, spots=spotted),
        mock.patch.object(doctor, "FAMILIES", {"circulant": sl.Circulant}),  # each contract has tests of its own
    ):
        status = main(words)
    return status, error.getvalue()


def in_its_own(words: list[str]) -> tuple[int, str]:
    """As a user starts it; without our small data, so most calls end early."""
    words = [word.replace("small", "tiny_vit").replace("spots", "digits") for word in words]
    try:
        done = subprocess.run([sys.executable, "-m", "surm_lite", *words], capture_output=True, text=True, timeout=600)
    except UnicodeEncodeError:  # a lone surrogate cannot even be said
        return 2, "surm-lite: error: words cannot be encoded"
    return done.returncode, done.stderr


def saved() -> str:
    """An adapter file, beside the folder where the calls write."""
    path = Path.cwd().with_name(f"{Path.cwd().name}.adapter")
    if not path.exists():
        sl.save_adapter(sl.adapt(split_qkv(small()), "toeplitz"), path)
    return str(path)


def picture() -> str:
    path = Path.cwd().with_name(f"{Path.cwd().name}.png")
    if not path.exists():
        Image.new("RGB", (9, 9), "red").save(path)
    return str(path)


def trained(arguments: dict[str, Any], status: int) -> str | None:
    """The record says what the words say; the adapter file can be read."""
    out, save = arguments["out"], arguments["save"]
    if out is None:
        return None
    options = sl.Record.from_json(Path(out)).options
    for name in NUMBERS:
        value = arguments[name]
        if value is not None and not math.isclose(options[name], float(value)):
            return f"{name} became {options[name]!r}"
    for name in ("schedule", "precision"):
        if options[name] != arguments[name]:
            return f"{name} became {options[name]!r}"
    record = sl.Record.from_json(Path(out))
    for name in OWN & arguments.keys():
        if arguments[name] is not None and str(record.methods[0]["options"][name]) not in (
            arguments[name],
            str(ast.literal_eval(arguments[name])),
        ):
            return f"{name} became {record.methods[0]['options'][name]!r}"
    if save is not None:
        sl.load_adapter(small(), save)
    return None


def compared(arguments: dict[str, Any], status: int) -> str | None:
    if arguments["show"] is not None:
        return None
    found = Comparison.from_json(Path(arguments["out"] or "runs/compare") / "comparison.json")
    rates, seeds = ((arguments[name] or "").split(",") for name in ("lrs", "seeds"))
    methods = dict.fromkeys(word.strip() for word in arguments["methods"].split(","))
    want = len(methods) * ((len(rates) if arguments["lrs"] else 3) + len(seeds) - 1)
    return None if len(found.rows) == want else f"{len(found.rows)} runs, not {want}"


def exported(arguments: dict[str, Any], status: int) -> str | None:
    out = Path("out" if arguments["out"] == "--" else arguments["out"])
    there = out.is_file() if arguments["form"] in (None, "merged") else (out / "adapter_config.json").is_file()
    return None if there else "nothing was written"


PLACES = {"export": ("adapter", "out"), "predict": ("file", "things"), "inspect": ("file",)}
NUMBERS = ("lr", "head_lr", "batch_size", "weight_decay", "accumulate", "clip", "warmup", "seed", "epochs")
OWN = {"rank", "alpha", "block", "product", "rnak", "a_shape"}
NOT = always(None)
TRAIN: dict[str, Draw] = {"method": always(*(m for m in METHODS if m != "head")), "data": always("spots")}
TRAIN |= {"model": always("small"), "targets": always(None, None, "q_proj"), "epochs": always("1", "2")}
TRAIN |= {"lr": always(None, "1e-3"), "head_lr": always(None, "0.01"), "batch_size": always("8", "12")}
TRAIN |= {"weight_decay": always("0", "0.1"), "accumulate": always("1", "2"), "clip": always(None, "1")}
TRAIN |= {
    "schedule": always("cosine"),
    "warmup": always(None, "0.2"),
    "seed": always("0", "5"),
    "device": always("cpu"),
}
TRAIN |= {"precision": always("float32"), "examples": always(None, "12"), "root": NOT, "out": always("r.json")}
TRAIN |= {"augment": always(None, "shift"), "patience": always(None, "3"), "json_log": always(None, "l.jsonl")}
TRAIN |= {"save": always(None, "a.st"), "checkpoint": always(None, "c.ckpt"), "checkpoint_every": NOT, "resume": NOT}
COMPARE: dict[str, Draw] = {"methods": always("lora", "lora,head"), "budgets": NOT, "lrs": always("0.01", "1e-3,1e-2")}
COMPARE |= {"seeds": always("0", "0,1"), "data": always("spots"), "model": always("small"), "targets": NOT}
COMPARE |= {"examples": always("12"), "epochs": always("1"), "min_steps": NOT, "batch_size": always("12")}
COMPARE |= {"head_lr": NOT, "precision": NOT, "device": always("cpu"), "root": NOT, "out": always(None, "kept")}
COMPARE |= {"plan": NOT, "show": NOT, "figure": NOT}
EXPORT: dict[str, Draw] = {"adapter": always("saved"), "out": always("out"), "model": always(None, "small")}
PREDICT: dict[str, Draw] = {"file": always("saved"), "things": always("picture"), "top": always(None, "1", "2")}
PREDICT |= {"json": always(True, False), "model": always(None, "small"), "batch_size": always(None, "2")}
PREDICT |= {"device": always("cpu")}
EXPORT |= {"form": always(None, "merged", "lora"), "rank": NOT}


def command(
    name: str, good: Mapping[str, Draw], wrong: Any = None, program: Any = in_process, more: Any = ()
) -> Target:
    def call(**given: Any) -> int:
        return run(name.partition(" ")[0], given, program)

    also = ("adapter", "argument", "arguments", "targets", "ranks", "qkv", "budget", "method", *more)
    return Target(f"surm-lite {name}", call, good, wrong, also)


own = {"rank": always(None, "2"), "alpha": always(None, "3.5"), "rnak": always(None, None, None, "4")}
TARGETS: list[Target] = [
    *[command("train", TRAIN, trained)] * 30,
    *[command("train", TRAIN | {"method": always("lora")} | own, trained)] * 10,
    *[command("train", TRAIN | {"method": always("circulant"), "block": always(None, "2")}, trained)] * 4,
    *[command("compare", COMPARE, compared)] * 14,
    *[command("export", EXPORT, exported)] * 12,
    *[command("predict", PREDICT)] * 8,
    *[command("inspect", {"file": always("saved")})] * 3,
    *[command("doctor", {"device": always("cpu")})] * 2,
    *[command("trian", {"lr": NOT}, more=("command",))],
    command("train in a process of its own", TRAIN, None, in_its_own, ("words",)),
]
