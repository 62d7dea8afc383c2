"""Data sets, models, pictures with sliders and the checkers of exercises."""

from __future__ import annotations

from typing import Any

import torch
from engine import Target
from matrices import always, randn
from samples import BAD, close, ids, part, shapes, table, vit
from torch import Tensor
from torch.utils.data import TensorDataset

import surm_lite as sl
from surm_lite import checks
from surm_lite.data import ImageFormat, LabelledSet, Split, flip_and_shift, prepare, stratified_order
from surm_lite.models import ViT, ViTConfig, logits, resize_positions, split_qkv, tiny_vit
from surm_lite.tasks import Classification, Reconstruction

__all__ = ["BAD", "COUNT", "TARGETS"]
COUNT = 300


def loaded(arguments: dict[str, Any], data: LabelledSet) -> str | None:
    sizes = tuple(len(p) for p in data.parts.values())
    want = tuple(arguments[k] or usual for k, usual in (("train", 1000), ("validation", 397), ("test", 400)))
    return None if sizes == want else f"sizes {sizes}, not {want}"


def own(arguments: dict[str, Any], data: LabelledSet) -> str | None:
    count, side = sum(len(p) for p in data.parts.values()), data.train.inputs.shape[-1]
    return None if (count, side) == (12, arguments["size"]) else f"{count} pictures of side {side}"


def guessed(arguments: dict[str, Any], found: list[sl.Prediction]) -> str | None:
    model, things = arguments["model"], arguments["things"]
    if not isinstance(things, Tensor):
        return None if len(found) == 12 else f"{len(found)} predictions"
    with torch.no_grad():
        shares = model(prepare(things, model.image_format)).softmax(-1)
    for k, one in enumerate(found):
        if abs(float(shares[k].max()) - one.guesses[0][1]) > 1e-5 or int(shares[k].argmax()) != int(one.label):
            return f"{one}, not {shares[k].tolist()}"
        if len(one.guesses) != min(arguments["top"], 3):
            return f"{len(one.guesses)} guesses"
    return None if len(found) == len(things) else f"{len(found)} predictions"


def prepared(arguments: dict[str, Any], x: Tensor) -> str | None:
    form, images = arguments["form"], arguments["images"]
    want = (len(images), form.channels, form.size, form.size)
    if tuple(x.shape) != want:
        return f"shape {tuple(x.shape)}, not {want}"
    if images.shape[1:] == (1, 4, 4) and form.size == 4:
        mean, std = (torch.tensor(t, dtype=torch.float64).reshape(-1, 1, 1) for t in (form.mean, form.std))
        return close(x.double(), ((images.double() / 255 - mean) / std).expand(want), "pictures")
    return None


def moved(arguments: dict[str, Any], images: Tensor) -> str | None:
    before = arguments["images"]
    if images.shape != before.shape or images.dtype != before.dtype:
        return f"{images.dtype} of shape {tuple(images.shape)}"
    if arguments["shift"] == 0 and not arguments["flip"] and not torch.equal(images, before):
        return "neither moved nor mirrored, and changed"
    return None


def ordered(arguments: dict[str, Any], order: Tensor) -> str | None:
    return None if sorted(order.tolist()) == [*range(len(arguments["labels"]))] else "no permutation"


def resized(arguments: dict[str, Any], positions: Tensor) -> str | None:
    before, grid = arguments["pos_embed"], arguments["grid"]
    want = (1, 1 + grid**2, before.shape[2])
    return None if tuple(positions.shape) == want else f"shape {tuple(positions.shape)}, not {want}"


def has_outputs(arguments: dict[str, Any], model: ViT) -> str | None:
    c = model.config
    y = model(torch.zeros(2, c.channels, c.image_size, c.image_size))
    want = arguments.get("num_classes") or (c.width if c.num_classes == 0 else c.num_classes)
    return None if tuple(y.shape) == (2, want) else f"outputs of shape {tuple(y.shape)}"


def vit_config(**changes: Any) -> Any:
    return ViT(ViTConfig(**changes))


SMALL = {"image_size": 4, "patch_size": 2, "channels": 1, "num_classes": 3, "width": 8, "depth": 1, "heads": 2}
SMALL |= {"mlp_ratio": 2.0, "layer_scale": None, "pool": "token", "mean": (0.5,), "std": (0.5,)}
FAILED = (checks.CheckFailed,)
square = ((3, 3), (4, 4))

TARGETS: list[Target] = [
    Target(
        "data.load",
        sl.data.load,
        {"name": always("digits"), "train": always(None, 50), "validation": always(None, 20), "test": always(None, 20)}
        | {"seed": always(0, 1), "root": always(None), "download": always(False)},
        loaded,
        refusals=(OSError,),
    ),
    Target(
        "data.from_folder",
        sl.data.from_folder,
        {"path": shapes, "size": always(4, 9), "validation": always(0.2), "test": always(0.2), "seed": always(0, 1)},
        own,
        refusals=(OSError,),
    ),
    Target(
        "data.from_arrays",
        sl.data.from_arrays,
        {"X": lambda r: part(r).inputs, "y": lambda r: part(r).labels, "classes": always(None, ("a", "b", "c"))}
        | {"validation": always(0.25), "test": always(0.25), "seed": always(0, 1), "name": always("mine")},
        lambda a, data: None if sum(len(p) for p in data.parts.values()) == len(a["y"]) else "examples were lost",
    ),
    Target(
        "data.from_csv",
        sl.data.from_csv,
        {"path": table, "text": always("text"), "label": always("label"), "tokenizer": always(ids)}
        | {"validation": always(0.25), "test": always(0.25), "seed": always(0, 1)},
        lambda a, data: None if sum(len(p) for p in data.parts.values()) == 12 else "sentences were lost",
        refusals=(OSError,),
    ),
    Target(
        "data.from_dataset",
        sl.data.from_dataset,
        {"dataset": lambda r: TensorDataset(part(r).inputs, part(r).labels), "classes": always(None, ("a", "b", "c"))}
        | {"validation": always(0.25), "test": always(0.25), "seed": always(0, 1)},
        lambda a, data: None if sum(len(p) for p in data.parts.values()) == len(a["dataset"]) else "items were lost",
    ),
    Target(
        "predict",
        sl.predict,
        {"model": vit, "things": lambda r: r.choice((shapes(r), part(r).inputs)), "top": always(1, 2, 9)}
        | {"batch_size": always(1, 5, 64)},
        guessed,
        refusals=(OSError,),
    ),
    Target("Split", Split, {"inputs": lambda r: part(r).inputs, "labels": lambda r: part(r).labels}),
    Target(
        "LabelledSet",
        LabelledSet,
        {"name": always("d"), "train": part, "validation": part, "test": part, "classes": always(("a", "b", "c"))}
        | {"credit": always("me"), "task": always(None, Classification(), Reconstruction())},
        lambda a, data: None if repr(data) else "no text",
    ),
    Target(
        "ImageFormat",
        ImageFormat,
        {"size": always(4), "channels": always(1), "mean": always((0.5,)), "std": always((0.5,))},
    ),
    Target(
        "prepare",
        prepare,
        {"images": lambda r: part(r).inputs}
        | {"form": always(ImageFormat(4, 1, (0.5,), (0.5,)), ImageFormat(8, 3, (0.5,) * 3, (0.1, 0.2, 0.3)))},
        prepared,
    ),
    Target(
        "flip_and_shift",
        flip_and_shift,
        {"images": lambda r: part(r).inputs, "generator": lambda r: torch.Generator().manual_seed(0)}
        | {"flip": always(True, False), "shift": always(0, 1, 2)},
        moved,
    ),
    Target("stratified_order", stratified_order, {"labels": lambda r: part(r).labels, "seed": always(0)}, ordered),
    Target("ViT", vit_config, {name: always(value) for name, value in SMALL.items()}, has_outputs),
    Target("ViT, config", ViT, {"config": always(ViTConfig(**SMALL)), "generator": always(None)}),  # type: ignore[arg-type]
    Target("ViT.forward", lambda images: vit()(images), {"images": lambda r: randn(r, 2, 1, 4, 4)}),
    Target("tiny_vit", tiny_vit, {"num_classes": always(None, 0, 3), "seed": always(0)}, has_outputs),
    Target(
        "vit_s14",
        sl.models.vit_s14,
        {"blocks": always(0), "image_size": always(28), "num_classes": always(3), "seed": always(0)},
        has_outputs,
    ),
    Target("split_qkv", split_qkv, {"model": vit}),
    Target(
        "resize_positions",
        resize_positions,
        {"pos_embed": lambda r: randn(r, 1, 5, 8), "grid": always(1, 2, 3)},
        resized,
    ),
    Target("logits", logits, {"model": vit, "mean": always(None), "std": always(None)}),
    Target("no_dense", lambda n, m: sl.no_dense(n, m).__enter__(), {"n": always(4), "m": always(None, 3)}),
    Target(
        "explore",
        lambda **given: sl.explore(**given).as_html(),
        {"view": always(lambda n: sl.viz.readout(n=n)), "title": always(None, "t"), "labels": always(None, {"n": "N"})}
        | {"start": always(None, {"n": 2}), "n": always((1, 2))},
    ),
    Target(
        "check_value",
        checks.check_value,
        {"got": always(1.0), "expected": always(1.0), "name": always("v"), "hint": always(""), "tol": always(None)},
        refusals=FAILED,
        words=("expected", "right"),
    ),
    *(
        Target(
            f"check_{kind}",
            getattr(checks, f"check_{kind}"),
            {"yours": always(yours), **good, "seed": always(0), "hint": always("")},
            refusals=FAILED,
            words=("at n", "on a", "family", "size", "sizes", "inputs"),
        )
        for kind, yours, good in (
            (
                "nearest",
                lambda W: sl.nearest(W, "circulant")[0],
                {"family": always("circulant"), "sizes": always(square)},
            ),
            (
                "product",
                lambda c, x: sl.Circulant(c).apply(x),
                {"family": always("circulant"), "sizes": always(square)},
            ),
            (
                "function",
                torch.add,
                {"reference": always(torch.add), "inputs": always(("n", "n")), "sizes": always(square)},
            ),
            ("generators", sl.generators, {}),
        )
    ),
]
