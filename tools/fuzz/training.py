"""Training, evaluation, comparisons: as many steps as were asked for, scores as counted by hand, whole records."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import torch
from engine import Draw, Target
from matrices import always
from samples import BAD, PLAN, comparison, net, part, pictures, record, vit
from torch import nn

import surm_lite as sl
from surm_lite import evaluate
from surm_lite.adapters import METHODS
from surm_lite.comparison import Arm, Comparison, Plan, options_for_budget
from surm_lite.data import flip_and_shift
from surm_lite.tasks import Classification

__all__ = ["BAD", "COUNT", "TARGETS"]
COUNT = 350


def train(max_steps: Any, epochs: Any, **arguments: Any) -> Any:
    if isinstance(epochs, int) and isinstance(max_steps, int) and min(epochs, max_steps) > 20:
        max_steps = 3  # right, and without an end
    return sl.train(epochs=epochs, max_steps=max_steps, device="cpu", progress=False, **arguments)


def ran(arguments: dict[str, Any], made: sl.Record) -> str | None:
    """As many steps as the arguments say, and a record that says the arguments."""
    for name, value in arguments.items():
        if name in made.options and name not in ("optimizer", "augment", "max_steps") and made.options[name] != value:
            return f"{name} became {made.options[name]!r}"
    steps = arguments["epochs"] * math.ceil(len(arguments["data"].train) / arguments["batch_size"])
    want = min(steps, arguments["max_steps"] or steps)
    if want <= 20 and arguments["patience"] is None and len(made.loss) != want:
        return f"{len(made.loss)} steps, not {want}"
    return None if made.to_json() and all(map(math.isfinite, made.loss)) else "a loss that is not finite"


def trainable(random: Random) -> nn.Module:
    return sl.adapt(net(), random.choice(["toeplitz", "lora"]), targets="hidden")


def measured(arguments: dict[str, Any], share: float) -> str | None:
    model, part = arguments["model"], arguments["part"]
    if getattr(model, "image_format", None) is not None:
        return None
    with torch.no_grad():
        right = (model(part.inputs.float() / 255).argmax(-1) == part.labels).double().mean()
    return None if abs(share - float(right)) < 1e-6 else f"{share}, not {float(right)}"


def is_share(arguments: dict[str, Any], found: Any) -> str | None:
    return None if 0 <= found[0] <= 1 and math.isfinite(found[1]) else f"{found}"


def within(arguments: dict[str, Any], options: dict[str, Any]) -> str | None:
    name, m, n, budget = (arguments[k] for k in ("method", "m", "n", "budget"))
    spent = METHODS[name](**options).n_params(m, n)
    return None if spent <= budget else f"{options} spend {spent}"


def round_trip(cls: type) -> Target:
    """Text of a record or a comparison, with something cut out or put in."""

    def text(random: Random) -> str:
        whole = (record if cls is sl.Record else comparison)(random).to_json()
        at = random.randrange(len(whole))
        broken = (whole[:at], whole[:at] + "7" + whole[at:], whole[:at] + whole[at + 1 :], whole.replace("0.5", "NaN"))
        return random.choice((whole, *broken))

    def wrong(arguments: dict[str, Any], found: Any) -> str | None:
        again = cls.from_json(found.to_json())  # type: ignore[attr-defined]
        return None if again == found else "not the same when written again"

    return Target(f"{cls.__name__}.from_json", cls.from_json, {"source": text}, wrong)  # type: ignore[attr-defined]


RUN: dict[str, Draw] = {"model": trainable, "data": pictures, "epochs": always(1, 2), "lr": always(1e-3, 0.1)}
RUN |= {"head_lr": always(None, 1e-2), "batch_size": always(4, 5, 12, 99), "accumulate": always(1, 2)}
RUN |= {"weight_decay": always(0.0, 0.1), "optimizer": always(None, torch.optim.SGD, torch.optim.Adam)}
RUN |= {"schedule": always("onecycle", "cosine", "constant"), "warmup": always(None, 0.1), "seed": always(0, 3)}
RUN |= {
    "precision": always("float32", "bfloat16"),
    "clip": always(None, 1.0),
    "augment": always(None, flip_and_shift, "shift"),
}
RUN |= {"max_steps": always(None, 2), "evaluate_every": always(1, 2), "checkpoint": always(None)}
RUN |= {"checkpoint_every": always(None), "resume": always(False)}
RUN |= {"patience": always(None, None, 3), "callbacks": always((), [print])}
TARGETS: list[Target] = [
    *[Target("train", train, RUN, ran, refusals=(OSError, FloatingPointError), words=("weights", "loss"))] * 6,
    Target(
        "accuracy",
        evaluate.accuracy,
        {"model": net, "part": part, "batch_size": always(250, 5), "precision": always("float32")},
        measured,
    ),
    Target(
        "total_score",
        evaluate.total_score,
        {"model": net, "part": part, "task": always(Classification()), "batch_size": always(250)}
        | {"precision": always("float32", "bfloat16")},
    ),
    Target(
        "features",
        evaluate.features,
        {"model": vit, "part": part, "batch_size": always(250, 5)},
        lambda a, z: None if tuple(z.shape) == (len(a["part"]), 8) else f"shape {tuple(z.shape)}",
    ),
    Target(
        "knn_accuracy", evaluate.knn_accuracy, {"model": vit, "data": pictures, "neighbours": always((1, 3))}, is_share
    ),
    Target(
        "linear_probe", evaluate.linear_probe, {"model": vit, "data": pictures, "decays": always((0.1, 1.0))}, is_share
    ),
    Target(
        "memory",
        sl.memory,
        {"model": trainable, "data": pictures, "batch_size": always(4, 99), "accumulate": always(1, 2)}
        | {"optimizer": always(None, torch.optim.SGD), "precision": always("float32", "bfloat16")},
        lambda a, found: None if found.gradients == 4 * sl.count(a["model"]).trained else f"{found}",
    ),
    Target("JsonLog", sl.JsonLog, {"path": always("log.jsonl")}, refusals=(OSError,)),
    Target("device", sl.device, {"name": always(None, "cpu", "auto")}, words=("device",)),
    Target(
        "Task.losses",
        lambda model, data, count, batch_size, seed: Classification().losses(
            model, data, count=count, batch_size=batch_size, seed=seed
        ),
        {"model": net, "data": pictures, "count": always(2), "batch_size": always(4, 99), "seed": always(0)},
        lambda a, found: None if len(found) == a["count"] and all(math.isfinite(f()) for f in found) else "losses",
    ),
    Target(
        "options_for_budget",
        options_for_budget,
        {
            "method": always("lora", "circulant", "ldr", "gora"),
            "m": always(16),
            "n": always(8),
            "budget": always(64, 200),
        },
        within,
    ),
    Target(
        "Arm",
        Arm,
        {"label": always("x"), "lrs": always((1e-3, 1e-2)), "method": always("lora", "head"), "options": always({})}
        | {"targets": always(("q_proj",)), "keep": always(None), "pretrained": always(True), "equal": always(True)}
        | {"seeds": always((0, 1))},
        words=("q_proj",),
    ),
    Target(
        "Plan",
        Plan,
        {
            "data": always("digits"),
            "arms": always(PLAN.arms),
            "model": always("tiny_vit"),
            "examples": always((None, 20)),
        }
        | {"epochs": always(1), "min_steps": always(0, 9), "batch_size": always(32), "head_lr": always(1e-3)}
        | {"precision": always("float32"), "frozen": always(False)},
        words=("data set",),
    ),
    Target(
        "compare",
        lambda plan, folder, root, download, device: sl.compare(
            plan, folder, root=root, download=download, device=device, progress=False
        ),
        {"plan": always(PLAN), "folder": always("runs"), "root": always(None), "download": always(False)}
        | {"device": always("cpu")},
        lambda a, found: None if len(found.rows) == 1 and found.summary() and str(found) else "rows",
        refusals=(OSError,),
    ),
    round_trip(sl.Record),
    round_trip(Comparison),
    Target(
        "Record.to_json",
        lambda path: record(Random()).to_json(path),
        {"path": always(None, "r.json")},
        refusals=(OSError,),
    ),
]
