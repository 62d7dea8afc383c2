"""How many numbers, and where they start: the counts of the papers, initial scales, the table of methods."""

import pytest
import torch
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


RANKED = (
    *("lora", "ldr", "gralora", "loha", "dora", "bora", "loldu", "gora", "singlora", "lorapro", "adalora", "elalora"),
    *("ardlora", "lord", "randlora"),
)
"""Methods of which a 6 x 9 layer has six sizes: beyond the smaller side a rank says nothing new."""


@pytest.mark.parametrize(
    ("name", "wide", "high"),
    [*((name, 6, 6) for name in RANKED), ("miss", 9, 6), ("vera", 36, 36), ("fourierft", 54, 54)],
)
def test_sizes_end_where_the_layer_does(name, wide, high):
    assert [len(list(METHODS[name]().sizes(*shape))) for shape in ((6, 9), (9, 6))] == [wide, high]


@pytest.mark.parametrize(
    ("method", "zero", "drawn", "std"),
    [
        ("circulant", "kernel", "gain", 1.0),  # the entries of a vector that only scales the other one
        ("symmetric_toeplitz", "left", "right", 512**-0.5),  # E|T1 x|^2 = |x|^2
        ("kronecker", "A", "B", 32**-0.5),  # B is 16 x 32: it keeps the norm of its rows
        ("ldr", "G", "H", (4 * 512) ** -0.5),  # the size of the update does not depend on the rank
        ("lora", "B", "A", (3 * 512) ** -0.5),  # uniform on +- 512^-1/2
    ],
)
def test_initial_scales(method, zero, drawn, std):
    options = {"circulant": {"product": True}, "ldr": {"rank": 4}, "kronecker": {"a_shape": (32, 16)}}
    start = METHODS[method](**options.get(method, {})).begin(
        "0", torch.zeros(512, 512), torch.Generator().manual_seed(0)
    )
    assert not start[zero].any()
    assert start[drawn].std().item() == pytest.approx(std, rel=0.1)
    assert start[drawn].mean().item() == pytest.approx(0, abs=0.15 * std)
    assert set(start) == {zero, drawn}


@pytest.mark.parametrize("shape", [(64, 512), (512, 64)])
@pytest.mark.parametrize(
    ("method", "drawn", "std"),
    [
        ("lora", "A", lambda m, n: (3 * n) ** -0.5),  # the width of the layer, not its height
        ("dora", "A", lambda m, n: (3 * n) ** -0.5),
        ("symmetric_toeplitz", "right", lambda m, n: n**-0.5),
        ("kronecker", "B", lambda m, n: (n / 8) ** -0.5),  # A is 4 x 8: B keeps the norm of its rows, n / 8 long
        ("ldr", "H", lambda m, n: (2 * max(m, n)) ** -0.5),
        ("singlora", "A", lambda m, n: (3 * max(m, n)) ** -0.5),
    ],
)
def test_initial_scales_of_rectangular_layers(method, drawn, std, shape):
    options = {"ldr": {"rank": 2}, "kronecker": {"a_shape": (4, 8)}}.get(method, {})
    weight, generator = torch.ones(shape), torch.Generator().manual_seed(0)
    start = METHODS[method](**options).begin("0", weight, generator)[drawn]
    assert start.std().item() == pytest.approx(std(*shape), rel=0.15)


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
