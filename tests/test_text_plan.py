"""The plan of the experiment on sentences: what it trains, and where."""

import pytest

from surm_lite.adapters import count
from surm_lite.comparison.plans import PLANS
from surm_lite.data import load

NUMBERS = {  # by hand, from formulas of the methods
    "houlsby": 12 * (2 * 24 * 384 + 24 + 384),
    "pfeiffer": 6 * (2 * 24 * 384 + 24 + 384),
    "width_1": 12 * (2 * 384 + 1 + 384),
    "lora_1": 12 * 2 * 384,
    "lora_8": 12 * 16 * 384,
    "circulant": 12 * 384,
    "toeplitz": 12 * 767,
    "ldr": 12 * 768,
    "head": 0,
}


@pytest.fixture(scope="module")
def snippets():
    return load("movie_snippets", train=40, validation=20, test=20)


@pytest.mark.parametrize("name", PLANS["text"].arms)
def test_numbers_and_places(name, snippets):
    counted = count(PLANS["text"].build(name, snippets))
    assert counted.kept == 2 * 384 + 2
    if name in NUMBERS:
        assert counted.trained - counted.kept == NUMBERS[name]
    elif name != "full":
        assert 4_000 < counted.trained - counted.kept < 15_000


def test_an_arm_without_targets_has_the_usual_layers_of_its_model():
    """Full fine-tuning and the head wrap none; the rank of their update is measured there."""
    assert PLANS["text"].layers("full") == PLANS["text"].layers("head") == ("query", "key", "value")
    assert PLANS["text"].layers("houlsby") == ("output.dense",)
    assert PLANS["leaderboard"].layers("full") == ("q_proj", "k_proj", "v_proj")


def test_four_rates_each():
    for name, arm in PLANS["text"].arms.items():
        assert len(arm.lrs) == 4, name
        assert arm.seeds == (0, 1, 2)
