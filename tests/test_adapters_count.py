"""How many numbers: the counts of the papers, and the table of methods."""

import pytest
from torch import nn

from surm_lite.adapters import METHODS, adapt, adapters_of, count, merge, methods


@pytest.mark.parametrize(
    ("name", "options", "shape", "numbers"),
    [
        ("lora", {}, (768, 768), 12_288),
        ("lora", {}, (2304, 768), 24_576),
        ("circulant", {}, (768, 768), 768),
        ("circulant", {"product": True}, (768, 768), 1_536),
        ("circulant", {}, (3072, 768), 3_072),
        ("circulant", {"block": 64}, (2304, 768), 27_648),
        ("toeplitz", {}, (768, 768), 1_535),
        ("toeplitz", {}, (2304, 768), 3_071),
        ("symmetric_toeplitz", {}, (768, 768), 1_536),
        ("kronecker", {}, (768, 768), 1_536),
        ("ldr", {}, (768, 768), 1_536),
        ("ldr", {"rank": 4}, (2304, 768), 18_432),
        ("bottleneck", {}, (768, 768), 1_536),
        ("bottleneck", {"structure": "kronecker"}, (768, 768), 2_304),
    ],
)
def test_counts_of_the_papers(name, options, shape, numbers):
    assert METHODS[name](**options).n_params(*shape) == numbers


def test_methods_lists_every_method_and_prints_as_a_table():
    table = methods()
    assert [row["name"] for row in table] == list(METHODS)
    for row in table:
        assert METHODS[row["name"]](**row["options"]).options() == row["options"]
        assert row["paper"]
        assert row["lr"] > 0
    lines = repr(table).splitlines()
    assert len(lines) == len(table) + 1
    assert lines[1].startswith("lora ")
    assert "rank=8" in lines[1]


def test_count_in_a_model_with_a_head_does_not_change_by_merging():
    model = nn.ModuleDict({"qkv": nn.Linear(6, 18), "head": nn.Linear(6, 3)})
    adapt(model, "toeplitz")
    expected = {"trained": 23 + 21, "kept": 21, "stored": 44, "deployed": 0, "base": 126 + 21}
    assert vars(count(model)) == expected
    assert "trained 44 of 147 (30 %)" in str(count(model))
    assert list(adapters_of(model)) == ["qkv"]
    merge(model)
    assert list(adapters_of(model)) == ["qkv"]
    assert vars(count(model)) == expected
