"""Wrong arguments of the public functions: an error that names the argument, before anything has happened.

`python tools/fuzz` found these, or their siblings; each row stands for a kind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from resumable import pictures, still
from torch import nn

import surm_lite as sl
from surm_lite import checks, evaluate
from surm_lite.adapters import methods_of
from surm_lite.comparison import Arm, Comparison, Plan, options_for_budget
from surm_lite.data import ImageFormat, LabelledSet, Split, flip_and_shift, prepare, stratified_order
from surm_lite.models import ViT, ViTConfig, logits, resize_positions, split_qkv, tiny_vit, vit_s14
from surm_lite.tasks import Classification

pytestmark = pytest.mark.usefixtures("own_errors")
RUN = {"epochs": 1, "max_steps": 2, "device": "cpu", "progress": False}


def net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 5))


def vit(**changes) -> ViT:
    config = ViTConfig(**{"image_size": 8, "patch_size": 4, "width": 8, "depth": 1, "heads": 2} | changes)
    return ViT(config, generator=torch.Generator().manual_seed(0))


TAKERS = {
    "adapt": lambda model: sl.adapt(model, "lora"),
    "count": sl.count,
    "merge": sl.merge,
    "unmerge": sl.unmerge,
    "thin": sl.thin,
    "disabled": lambda model: sl.disabled(model).__enter__(),
    "trainable_parameters": sl.trainable_parameters,
    "methods_of": methods_of,
    "save_adapter": lambda model: sl.save_adapter(model, "a"),
    "load_adapter": lambda model: sl.load_adapter(model, __file__),
    "export": lambda model: sl.export(model, "a"),
    "train": lambda model: sl.train(model, pictures()),
    "accuracy": lambda model: evaluate.accuracy(model, pictures().test),
    "features": lambda model: evaluate.features(model, pictures().test),
    "split_qkv": split_qkv,
    "logits": logits,
    "losses": lambda model: Classification().losses(model, pictures()),
}


@pytest.mark.parametrize("name", TAKERS)
@pytest.mark.parametrize("model", [None, "vit", torch.ones(3), nn.Linear, (net(),)], ids=lambda v: type(v).__name__)
def test_what_is_no_model(name, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError, match=r"^model: got .*need a torch\.nn\.Module"):
        TAKERS[name](model)


def adapt(**arguments):
    return sl.adapt(net(), **{"method": "lora", "targets": "1"} | arguments)


def train(**arguments):
    return sl.train(adapt(), pictures(), **RUN | arguments)


def load(**arguments):
    return sl.data.load(**{"name": "digits"} | arguments)


def arm(**arguments):
    return Arm(**{"label": "x", "lrs": (1e-3,), "method": "lora"} | arguments)


def plan(**arguments):
    return Plan(**{"data": "digits", "arms": {"x": arm()}, "model": "tiny_vit"} | arguments)


def labelled(**arguments):
    return dataclasses.replace(pictures(), **arguments)


def check(**arguments):
    checks.check_function(**{"yours": torch.add, "reference": torch.add, "inputs": ("n", "n")} | arguments)


IMAGES = pictures().train.inputs
GREY = ImageFormat(8, 1, (0.5,), (0.5,))
CHANCE = torch.Generator()
PART = pictures().train
WRONG = [
    (adapt, "targets", nn.Linear), (adapt, "targets", torch.ones(2)), (adapt, "targets", lambda: True),
    (adapt, "losses", "x"), (adapt, "losses", []), (adapt, "rank", 2**70), (adapt, "rank", 10**400),
    (lambda axis: adapt(method="dora", axis=axis), "axis", ["out"]),
    (lambda structure: adapt(method="bottleneck", structure=structure), "structure", {}),
    (lambda ranks: adapt(method="gora", ranks=ranks), "ranks", {"1": 2.5}),
    (lambda form: sl.export(adapt(), "a", form), "form", np.ones(2)),
    (train, "lr", 10**400), (train, "clip", math.nan), (train, "epochs", 2**70), (train, "batch_size", 2**64),
    (train, "augment", lambda: None), (train, "augment", lambda inputs, chance: None),
    (train, "augment", lambda inputs, chance: inputs[:1]), (train, "augment", lambda inputs, chance: inputs.float()),
    (train, "optimizer", net()), (train, "optimizer", int), (train, "device", 0.5), (train, "device", "cuda:99"),
    (load, "download", 1), (load, "root", 3), (load, "train", 2.5),
    (lambda labels: stratified_order(labels, 0), "labels", [0, 1]),
    (lambda labels: stratified_order(labels, 0), "labels", torch.zeros(2, 2, dtype=torch.int64)),
    (lambda inputs: Split(inputs, PART.labels), "inputs", IMAGES.to("meta")),
    (lambda labels: Split(IMAGES, labels), "labels", PART.labels.to("meta")),
    (labelled, "name", 3), (labelled, "train", (IMAGES, PART.labels)), (labelled, "classes", "abcde"),
    (labelled, "classes", (0, 1)), (labelled, "credit", None),
    (lambda images: prepare(images, GREY), "images", IMAGES[0]),
    (lambda images: prepare(images, GREY), "images", IMAGES.to("meta")),
    (lambda images: prepare(images, GREY), "images", np.ones((1, 1, 8, 8))),
    (lambda form: prepare(IMAGES, form), "form", (8, 1, (0.5,), (0.5,))),
    (lambda form: prepare(IMAGES, form), "form", GREY._replace(std=(0.0,))),
    (lambda form: prepare(IMAGES, form), "form", GREY._replace(mean=(0.5, 0.5))),
    (lambda form: prepare(IMAGES, form), "form", GREY._replace(size=0)),
    (lambda shift: flip_and_shift(IMAGES, CHANCE, shift=shift), "shift", -1),
    (lambda shift: flip_and_shift(IMAGES, CHANCE, shift=shift), "shift", 9),
    (lambda flip: flip_and_shift(IMAGES, CHANCE, flip=flip), "flip", "no"),
    (lambda generator: flip_and_shift(IMAGES, generator), "generator", 0),
    (vit, "width", 2.5), (vit, "num_classes", True), (vit, "mlp_ratio", 1e300), (vit, "mlp_ratio", 0.01),
    (vit, "mean", 0.5), (vit, "layer_scale", math.inf), (vit, "pool", ["avg"]),
    (lambda config: ViT(config), "config", {"width": 8}), (lambda images: vit()(images), "images", None),
    (lambda images: vit()(images), "images", torch.zeros(2, 1, 8, 8, dtype=torch.float64)),
    (tiny_vit, "num_classes", -1), (tiny_vit, "seed", 2**70), (vit_s14, "blocks", True), (vit_s14, "seed", "x"),
    (vit_s14, "source", 3), (lambda model: split_qkv(model), "model", net()),
    (lambda grid: resize_positions(torch.zeros(1, 5, 2), grid), "grid", 0),
    (lambda grid: resize_positions(torch.zeros(1, 5, 2), grid), "grid", 2**31),
    (lambda pos_embed: resize_positions(pos_embed, 2), "pos_embed", torch.zeros(5, 2)),
    (lambda part: evaluate.accuracy(net(), part), "part", (IMAGES, PART.labels)),
    (lambda part: evaluate.accuracy(net(), part), "part", PART[:0]),
    (lambda batch_size: evaluate.accuracy(net(), PART, batch_size=batch_size), "batch_size", 0),
    (lambda precision: evaluate.accuracy(net(), PART, precision=precision), "precision", "half"),
    (lambda model: evaluate.accuracy(model, PART), "model", net().to("meta")),
    (lambda model: evaluate.features(model, PART), "model", net()),
    (lambda data: evaluate.knn_accuracy(vit(), data), "data", PART),
    (lambda data: evaluate.knn_accuracy(vit(), data), "data", labelled(classes=("a",))),
    (lambda neighbours: evaluate.knn_accuracy(vit(), pictures(), neighbours=neighbours), "neighbours", 3),
    (lambda neighbours: evaluate.knn_accuracy(vit(), pictures(), neighbours=neighbours), "neighbours", (2.5,)),
    (lambda decays: evaluate.linear_probe(vit(), pictures(), decays=decays), "decays", ()),
    (lambda decays: evaluate.linear_probe(vit(), pictures(), decays=decays), "decays", (-1.0,)),
    (lambda data: Classification().losses(net(), data), "data", (IMAGES, PART.labels)),
    (lambda budget: options_for_budget("lora", 8, 8, budget), "budget", 2.5),
    (lambda m: options_for_budget("lora", m, 8, 99), "m", 2**70),
    (lambda method: options_for_budget(method, 8, 8, 99), "method", ["lora"]),
    (arm, "label", None), (arm, "lrs", 1e-3), (arm, "method", None), (arm, "options", 3), (arm, "targets", 3),
    (arm, "seeds", 0), (arm, "equal", "yes"), (arm, "keep", 3),
    (plan, "model", Fraction(1, 3)), (plan, "arms", torch.ones(2)), (plan, "arms", {"x": "lora"}),
    (plan, "arms", {3: arm()}), (plan, "examples", 20), (plan, "frozen", None), (plan, "min_steps", -1),
    (lambda folder: sl.compare(plan(), folder), "folder", None),
    (lambda download: sl.compare(plan(), "x", download=download), "download", 0),
    (sl.Record.from_json, "source", 0), (Comparison.from_json, "source", None),
    (sl.Record.from_json, "source", Path("missing")), (Comparison.from_json, "source", Path("missing")),
    (lambda view: sl.explore(view, n=(1, 2)), "view", 3),
    (lambda view: sl.explore(view, n=(1, 2)).as_text(), "view", lambda: None),
    (lambda labels: sl.explore(print, labels=labels, n=(1, 2)), "labels", torch.ones(2)),
    (lambda n: sl.explore(print, n=n), "n", 5), (lambda title: sl.explore(print, title=title, n=(1,)), "title", 3),
    (check, "yours", 3), (check, "reference", 3), (check, "inputs", "n"), (check, "sizes", 3), (check, "seed", "x"),
    (check, "sizes", ((0, 1),)), (check, "hint", 3), (check, "tol", "x"),
    (lambda tol: checks.check_value(1.0, 1.0, tol=tol), "tol", nn.ReLU()),
    (lambda seed: checks.check_generators(sl.generators, seed=seed), "seed", "x"),
    (lambda seed: checks.check_nearest(print, "circulant", seed=seed), "seed", "x"),
    (lambda seed: checks.check_displacement_rank(print, seed=seed), "seed", 0.5),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "name", "value"), WRONG, ids=[f"{getattr(c, '__name__', c)}-{n}-{k}" for k, (c, n, _) in enumerate(WRONG)]
)
def test_the_argument_is_named(call, name, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    takes_names = call in (sl.Record.from_json, Comparison.from_json) or call.__name__ != "<lambda>"
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=rf"\b{name}\b"):
        call(**{name: value}) if takes_names else call(value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rate", [np.float32(0.5), Fraction(1, 2), np.float64(0.5)], ids=repr)
def test_numbers_of_any_kind_are_the_floats_that_they_are(rate):
    found = train(lr=rate, weight_decay=rate, clip=rate, warmup=rate)
    assert still(found) == still(train(lr=0.5, weight_decay=0.5, clip=0.5, warmup=0.5))
    assert sl.Record.from_json(found.to_json()) == found


@pytest.mark.parametrize("optimizer", [None, torch.optim.SGD])
@pytest.mark.parametrize("name", ["lr", "head_lr", "weight_decay"])
def test_rates_that_float32_cannot_hold_are_refused_and_large_ones_end_in_words(name, optimizer):
    for rate in (1e300, 1e38):
        with pytest.raises(ValueError, match=rf"^{name}: got 1e.*, need a number below 1e\+30"):
            train(optimizer=optimizer, **{name: rate})
    with contextlib.suppress(FloatingPointError):  # it says what to do
        train(optimizer=optimizer, **{name: 9e29})


def test_classes_may_come_as_a_list():
    assert labelled(classes=list("abcde")).classes == tuple("abcde")
    assert isinstance(labelled(), LabelledSet)


@pytest.mark.parametrize(
    ("field", "value"),
    [("loss", [1.0, "x"]), ("loss", 3), ("validation_score", {"x": 1.0}), ("validation_score", []), ("device", 1),
     ("seconds", None), ("options", []), ("loss", [math.nan])],
)  # fmt: skip
def test_a_record_holds_what_its_fields_say(field, value):
    whole = json.loads(sl.Record({}, [], {}, "cpu", loss=[1.0], validation_score={1: 0.5}).to_json())
    with pytest.raises(ValueError, match=rf"source: .*({field}|record)"):
        sl.Record.from_json(json.dumps(whole | {field: value}))


def test_values_that_are_compared_entry_by_entry_or_too_large_are_wrong_and_no_crash():
    for got in (torch.ones(3), np.ones(3), 10**400, ("a", 1)):
        with pytest.raises(checks.CheckFailed, match=r"expected 1\.0"):
            checks.check_value(got, 1.0)


ODD = [
    {1: 2}, {1.0}, object(), nn.ReLU, print, np.ones(3), Decimal(1), range(3), (1.0, {2}), torch.ones(2, device="meta"),
    torch.eye(2).to_sparse(), torch.nested.nested_tensor([torch.ones(1)], layout=torch.jagged),
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
@pytest.mark.parametrize("got", [1.0, torch.ones(2), "the same"], ids=lambda got: type(got).__name__)
def test_what_nothing_can_be_held_against_is_refused_by_name(odd, got):
    got = odd if got == "the same" else got
    with pytest.raises(TypeError, match="expected: got a "):
        checks.check_value(got, odd)
    with pytest.raises(TypeError, match="reference: got a "):
        check(yours=lambda *_: got, reference=lambda *_: odd)


def test_a_tensor_without_numbers_is_a_wrong_answer():
    for got in (torch.ones(2, device="meta"), torch.ones(2).to_sparse()):
        with pytest.raises(checks.CheckFailed, match="expected a dense tensor"):
            checks.check_value(got, torch.ones(2))


def test_an_empty_share_of_a_part_scores_nothing():
    """Of several processes, one may have no example at all."""
    assert evaluate.total_score(net(), PART[:0], Classification()) == 0.0
