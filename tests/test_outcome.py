"""What a classifier made of a part, against scikit-learn; and pictures of it, against Pillow."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix, recall_score
from torch import nn

from surm_lite.data import load
from surm_lite.models import tiny_vit
from surm_lite.outcome import Outcome, outcome
from surm_lite.viz import photos


@pytest.fixture(scope="module")
def digits():
    return load("digits", train=100)


@pytest.fixture(scope="module")
def seen(digits):
    return outcome(tiny_vit(), digits, batch_size=37)


def test_confusion_and_shares_are_those_of_scikit_learn(seen):
    y, guesses = seen.labels.numpy(), seen.guesses.numpy()
    assert np.array_equal(seen.confusion.numpy(), confusion_matrix(y, guesses, labels=range(10)))
    want = recall_score(y, guesses, labels=range(10), average=None)
    torch.testing.assert_close(seen.per_class.double(), torch.as_tensor(want), rtol=1e-6, atol=1e-6)


def test_guesses_are_those_of_the_model_in_eval_mode(digits):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10)).train()
    got = outcome(model, digits)
    with torch.no_grad():
        logits = model.eval()(digits.test.inputs.float() / 255)
    assert torch.equal(got.guesses, logits.argmax(-1))
    torch.testing.assert_close(got.sureness, logits.softmax(-1).amax(-1))
    assert outcome(model.train(), digits, "validation").labels.tolist() == digits.validation.labels.tolist()
    assert model.training


def test_the_surest_mistakes_come_first(seen):
    wrong = seen.mistakes()
    assert len(wrong) == int((seen.labels != seen.guesses).sum())
    sure = seen.sureness[wrong]
    assert (sure[:-1] >= sure[1:]).all()
    assert seen.mistakes(3).tolist() == wrong[:3].tolist()
    assert not Outcome(("a",), torch.zeros(2).long(), torch.zeros(2).long(), torch.ones(2)).mistakes().numel()


def test_a_class_that_is_not_there_has_no_share():
    said = str(Outcome(("cat", "elephant"), torch.tensor([0]), torch.tensor([0]), torch.ones(1))).splitlines()
    assert said[1].split() == ["cat", "1", "0", "100", "%"]
    assert said[2].split() == ["elephant", "0", "0", "-"]
    assert len({len(line) for line in said}) == 1


@pytest.mark.usefixtures("own_errors")
def test_wrong_arguments(digits):
    with pytest.raises(ValueError, match="part: got 'tests'"):
        outcome(tiny_vit(), digits, "tests")
    with pytest.raises(TypeError, match="data: got"):
        outcome(tiny_vit(), digits.test)


@pytest.mark.parametrize("channels", [1, 3])
def test_photos_hold_every_pixel(channels):
    inputs = torch.randint(0, 256, (2, channels, 5, 7), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    shown = photos(inputs, ["one & only", "two"], "Two pictures")
    found = re.findall(r"base64,([^\"]+)", shown.html)
    for one, want in zip(found, inputs, strict=True):
        got = np.asarray(Image.open(io.BytesIO(base64.b64decode(one))))
        assert np.array_equal(got.reshape(5, 7, channels), want.permute(1, 2, 0).numpy())
    assert "one &amp; only" in shown.html
    assert shown.text == "Two pictures: one & only; Two pictures: two"


def test_photos_of_something_else_are_refused():
    with pytest.raises(ValueError, match=r"inputs: got torch\.float32 of shape \(1, 1, 2, 2\)"):
        photos(torch.zeros(1, 1, 2, 2), ["a"], "x")
    with pytest.raises(ValueError, match="captions: got 0 for 1 pictures"):
        photos(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), [], "x")
