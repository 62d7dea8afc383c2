"""Arrays and datasets of one's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import surm_lite as sl
from surm_lite.data import from_arrays, from_dataset, memory

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (30, 1, 6, 5), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (30, 3, 6, 5), dtype=np.uint8)
Y = np.arange(30) % 3


def whole(data):
    """All pictures and labels of a set, by their bytes."""
    pairs = ((one, label) for part in data.parts.values() for one, label in zip(part.inputs, part.labels))
    return {one.numpy().tobytes(): data.classes[label] for one, label in pairs}


WANT = {one.tobytes(): str(label) for one, label in zip(BYTES, Y)}


@pytest.mark.parametrize(
    ("X", "y"),
    [
        pytest.param(BYTES, Y, id="numpy"),
        pytest.param(torch.from_numpy(BYTES), torch.from_numpy(Y), id="torch"),
        pytest.param(BYTES[:, 0], Y.tolist(), id="grey without channels"),
        pytest.param(BYTES.transpose(0, 2, 3, 1), Y.astype(np.uint8), id="channels last"),
        pytest.param(BYTES / 255, Y.astype(np.int32), id="floats"),
        pytest.param(torch.from_numpy(BYTES).float() / 255, Y, id="what ToTensor gives"),
        pytest.param(BYTES, [str(one) for one in Y], id="words"),
        pytest.param(BYTES, np.array([str(one) for one in Y], dtype=object), id="objects"),
    ],
)
def test_every_usual_form_gives_the_same_set(X, y):
    data = from_arrays(X, y)
    assert [len(part) for part in data.parts.values()] == [18, 6, 6]
    assert all(part.labels.bincount().tolist() == [len(part) // 3] * 3 for part in data.parts.values())
    assert data.classes == ("0", "1", "2")
    assert whole(data) == WANT
    assert torch.equal(from_arrays(X, y).test.inputs, data.test.inputs)
    assert not torch.equal(from_arrays(X, y, seed=1).test.inputs, data.test.inputs)


def test_colours_keep_their_place():
    first = from_arrays(COLOUR, Y)
    last = from_arrays(COLOUR.transpose(0, 2, 3, 1), Y)
    assert first.train.inputs.shape[1:] == (3, 6, 5)
    assert torch.equal(first.train.inputs, last.train.inputs)


def test_labels_are_told_by_their_value():
    """Numbers that do not begin at 0, and parts of their own, where a class may be missing."""
    data = from_arrays(BYTES, 10 * Y + 5, test=(BYTES[:4], [25, 25, 5, 25]))
    assert data.classes == ("5", "15", "25")
    assert data.test.labels.tolist() == [2, 2, 0, 2]
    assert [len(part) for part in data.parts.values()] == [24, 6, 4]
    named = from_arrays(BYTES, Y, classes=("c", "a", "b"), validation=(BYTES[:2], ["b", "c"]), test=(BYTES[:1], [1]))
    assert named.classes == ("c", "a", "b")
    assert named.validation.labels.tolist() == [2, 0]
    assert named.test.labels.tolist() == [1]
    assert len(named.train) == 30
    assert {label: named.classes[label] for label in range(3)} == {0: "c", 1: "a", 2: "b"}


def test_token_ids_are_taken_as_they_are():
    ids = RNG.integers(0, 1000, (30, 7))
    data = from_arrays(ids, Y)
    assert (data.train.inputs.dtype, data.train.inputs.shape[1:]) == (torch.int64, (7,))
    assert {one.numpy().tobytes() for one in data.train.inputs} <= {one.tobytes() for one in ids}
    assert from_arrays(ids, Y, test=(ids[:, :3], Y)).test.inputs.shape == (30, 3)  # sentences differ in length


def test_four_channels_are_taken_where_they_come_first():
    assert from_arrays(np.zeros((30, 4, 8, 8)), Y).train.inputs.shape[1:] == (4, 8, 8)


def test_nothing_is_shared_with_the_array_that_was_given():
    X = BYTES.copy()
    data = from_arrays(X, Y)
    X[:] = 0
    assert whole(data) == WANT


def test_it_trains_and_predicts(own_errors):
    X = np.zeros((40, 4, 4))
    y = np.array(["dark", "light"] * 20)
    X[y == "light"] = 1
    data = from_arrays(X, y)
    model = sl.adapt(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), "full")
    record = sl.train(model, data, epochs=20, lr=0.05, progress=False, device="cpu")
    assert record.test_score == 1
    assert [one.label for one in sl.predict(model, X[:2])] == ["dark", "light"]
    assert [one.label for one in sl.predict(model, (X[:2] * 255).astype("uint8"))] == ["dark", "light"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"X": BYTES.astype(np.int64)}, r"X: got torch\.int64, need bytes; X\.astype\('uint8'\)"),
        ({"X": BYTES.astype(float)}, r"X: got floats from 0 to 255, need bytes, or floats from 0 to 1"),
        ({"X": BYTES / 127.5 - 1}, r"X: got floats from -1 to 1, need"),
        ({"X": BYTES * np.nan}, r"X: got floats from nan to nan"),
        ({"X": BYTES > 3}, r"X: got torch\.bool, need bytes"),
        ({"X": RNG.random((30, 8))}, r"X: got torch\.float64 of shape \(30, 8\), need pictures"),
        ({"X": BYTES[:0]}, r"X: got shape \(0, 1, 6, 5\), need one or more"),
        ({"X": np.zeros((30, 0, 28))}, r"X: got shape \(30, 0, 28\), need one or more examples, none of them empty"),
        ({"X": np.zeros((30, 0), dtype=np.int64)}, r"X: got shape \(30, 0\), need one or more examples"),
        (
            {"X": np.zeros((30, 8, 8, 4))},
            r"X: got shape \(30, 8, 8, 4\), pictures with an alpha .*; \[\.\.\., :3\] drops",
        ),
        (
            {"X": np.zeros((30, 8, 8, 2))},
            r"X: got shape \(30, 8, 8, 2\), pictures with an alpha .*; \[\.\.\., :1\] drops",
        ),
        ({"X": COLOUR[0].transpose(1, 2, 0), "y": Y[:6]}, r"one picture with its channels.*\[None\]"),
        ({"X": "abc"}, r"X: got a str that is no array"),
        ({"X": [[1], [2, 3]]}, r"X: got a list that is no array"),
        ({"X": torch.zeros(3, 1, 2, 2, device="meta")}, r"X: got a tensor without numbers"),
        ({"y": Y[:-1]}, r"y: got int64 of shape \(29,\), need a word or a whole number for each of 30"),
        ({"y": Y.astype(float)}, r"y: got float64"),
        ({"y": np.eye(3)[Y]}, r"y: got float64 of shape \(30, 3\)"),
        ({"y": [None] * 30}, r"y: got object"),
        ({"classes": ("a", "b")}, r"y: has the label 2, which is none of the classes"),
        ({"classes": "abc"}, r"classes: got 'abc', need names"),
        ({"classes": ("a", "b", "a")}, r"classes: got .* a name comes twice"),
        ({"y": [0, 1] + [2] * 28}, r"y: too few examples of class '0' \(1\), '1' \(1\); need at least 3"),
        ({"y": ["one"] * 30}, r"y: every example has the label 'one', need two or more classes"),
        ({"y": [0] * 30, "classes": ("one",)}, r"y: every example has the label 'one', need two"),
        (
            {"test": 0.49, "validation": 0.5, "y": [0] * 6 + [1] * 24},
            r"y: .* class '0' \(6\), '1' \(24\); of 24, validation takes 12 and test takes 12, and none is left",
        ),
        (
            {"test": 0.49, "validation": (BYTES[:3], Y[:3]), "y": [0] + [1] * 29},
            r"y: too few examples of class '0' \(1\); need at least 2, some for test",
        ),
        ({"validation": 1 - 1e-12, "test": (BYTES[:3], Y[:3])}, r"of 10, validation takes 10, and none is left"),
        (
            {"validation": (Y[:, None].repeat(4, 1), Y)},
            r"validation: got token ids, need pictures of shape \(1, 6, 5\) as in X",
        ),
        ({"test": (COLOUR, Y)}, r"test: got pictures of shape \(3, 6, 5\), need pictures of shape \(1, 6, 5\) as in X"),
        ({"test": (BYTES, Y, Y)}, r"test: got a tuple of 3, need a share, or a pair"),
        ({"test": (BYTES, Y + 1)}, r"test: has the label 3, which is none"),
        ({"test": (BYTES / 2, Y)}, r"test: got floats from 0 to 128"),
        ({"test": (RNG.random((4, 1, 6, 5)), [0, 1])}, r"test: got int64 of shape \(2,\)"),
        ({"validation": 0}, r"validation: got 0, need a share"),
        ({"seed": 0.5}, r"seed: got 0.5"),
        ({"name": 3}, r"name: got a int"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, words, own_errors):
    with pytest.raises((ValueError, TypeError), match=words):
        from_arrays(**{"X": BYTES, "y": Y} | arguments)


class Items(Dataset):
    """As torchvision has them: pictures of Pillow, numbers, names of the classes."""

    classes = ["zero", "one", "two"]

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, k):
        return self.items[k]


def pillow(mode: str = "L"):
    return Items([(Image.fromarray(one[0]).convert(mode), int(label)) for one, label in zip(BYTES, Y)])


@pytest.mark.parametrize(
    "dataset",
    [
        pytest.param(pillow(), id="Pillow"),
        pytest.param(Items([(one / 255, label) for one, label in zip(BYTES, Y)]), id="arrays"),
        pytest.param(TensorDataset(torch.from_numpy(BYTES), torch.from_numpy(Y)), id="tensors"),
    ],
)
def test_any_dataset_gives_the_same_set(dataset):
    data = from_dataset(dataset)
    names = dict(zip("012", getattr(dataset, "classes", "012")))
    assert whole(data) == {one: names[label] for one, label in WANT.items()}
    assert [len(part) for part in data.parts.values()] == [18, 6, 6]
    more = from_dataset(dataset, test=TensorDataset(torch.from_numpy(BYTES[:2]), torch.from_numpy(Y[:2])))
    assert [len(part) for part in more.parts.values()] == [24, 6, 2]


def test_a_palette_is_read_as_the_colours_it_stands_for():
    grey = [(one.convert("RGB").quantize(256), label) for one, label in pillow().items]
    data = from_dataset(Items(grey))
    assert data.train.inputs.shape[1:] == (3, 6, 5)
    assert {one[0].numpy().tobytes() for one in data.train.inputs} <= set(WANT)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (DataLoader(TensorDataset(torch.zeros(2))), r"got a DataLoader, need its dataset: loader\.dataset"),
        (Stream(), r"got a Stream, need a dataset with a length and items"),
        (3, r"got a int, need a dataset with a length"),
        (Items([]), r"dataset: has no items"),
        (TensorDataset(torch.zeros(2, 1, 4, 4)), r"item 0 is a tuple, need a pair"),
        (Items([torch.zeros(1, 4, 4)] * 2), r"item 0 is a Tensor, need a pair"),
        (Items([("a.png", 0)]), r"the picture of item 0 is a str"),
        (
            Items([(BYTES[0], 0), (BYTES[0, :, 1:], 1)]),
            r"item 1 has shape \(1, 5, 5\) and item 0 \(1, 6, 5\), need one size",
        ),
        (Items([(BYTES[0], torch.zeros(3))]), r"the label of item 0 has shape \(3,\)"),
        (Items([(BYTES[0] / 7, 0)]), r"dataset: item 0: got floats"),
        (Items([(BYTES[0], 0.5)] * 9), r"dataset: labels: got float64"),
        (
            TensorDataset(torch.from_numpy(BYTES), torch.zeros(30)[:, None].long()),
            r"labels: every example has the label '0'",
        ),
        (Items([(BYTES[0], 0)] * 9 + [(BYTES[1], 1)]), r"dataset: labels: too few examples of class 'one' \(1\)"),
        (Items([(RNG.random((9, 9, 4)), k) for k in (0, 1)] * 5), r"dataset: got shape \(10, 9, 9, 4\), .*alpha"),
        (Items([(np.zeros((0, 5)), 0)]), r"dataset: item 0: got shape \(0, 5\), need one or more pixels"),
    ],
)
def test_a_dataset_that_cannot_be_meant_is_refused(dataset, words, own_errors):
    with pytest.raises((TypeError, ValueError), match=words):
        from_dataset(dataset)


def test_a_dataset_that_does_not_fit_is_refused_by_its_first_item(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 30 * 30 * 2 - 1)
    asked = []
    dataset = pillow()
    monkeypatch.setattr(Items, "__getitem__", lambda self, k: (asked.append(k), self.items[k])[1])
    with pytest.raises(ValueError, match=r"dataset: 30 items take 0\.0 GB of memory, .*; take fewer, or smaller"):
        from_dataset(dataset)
    assert asked == [0]
    monkeypatch.setattr(memory, "free_memory", lambda: 30 * 30 * 2)
    assert len(from_dataset(dataset).train) == 18
