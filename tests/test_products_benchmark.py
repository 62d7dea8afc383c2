"""The benchmark of the products runs at tiny sizes, and the record that is kept of a full run is whole."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("peft", reason="needs the extra [hf]")
pytest.importorskip("linear_operator", reason="needs the extra [test]")
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
FAMILIES = {"toeplitz", "symmetric_toeplitz", "circulant", "ldr, r = 1", "ldr, r = 4"}


@pytest.fixture
def products(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import products

    yield products
    sys.modules.pop("products")


def whole(record):
    """Every case has every family, its peers and their quartiles, and every family a slope."""
    assert record["device"]
    assert record["threads"] >= 1
    assert set(record["versions"]) == {"torch", "numpy", "scipy", "linear_operator", "surm-lite"}
    cases = {(row["n"], row["batch"], row["dtype"]) for row in record["cases"]}
    assert {(row["family"], row["n"], row["batch"], row["dtype"]) for row in record["cases"]} == {
        (family, *case) for family in FAMILIES for case in cases
    }
    for row in record["cases"]:
        assert row["rounds"] >= 5
        assert row["peers"]
        for q in row["peers"].values():
            assert 0 < q["low"] <= q["median"] <= q["high"]
        judged = [q["median"] >= record["goal"] for peer, q in row["peers"].items() if peer != "written out"]
        assert row["goal_met"] == (all(judged) if row["n"] >= 1024 else None)
    for scaling in record["scaling"].values():
        assert set(scaling["slopes"]) == FAMILIES - {"symmetric_toeplitz"}
        assert all(math.isfinite(slope) for slope in scaling["slopes"].values())
        assert 1 < scaling["n log n"] < 1.3
    return cases


def test_tiny(products, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(products, "CASES", [(16, 1), (17, 3)])
    monkeypatch.setattr(products, "SCALING", [32, 64, 128])
    monkeypatch.setattr(products, "LARGE", 64)
    out, threads = tmp_path / "products.json", torch.get_num_threads()
    products.main(["--seconds", "0.01", "--threads", str(threads), "--out", str(out)])
    assert len(whole(json.loads(out.read_text()))) == 4
    assert "n = 17, batch 3, float64" in capsys.readouterr().out


def test_a_wrong_product_stops_the_benchmark(products):
    x = torch.ones(1, 8)
    with pytest.raises(ArithmeticError, match="peer differs from ours"):
        products.check("some", {"ours": [lambda: x], "peer": [lambda: 1.01 * x]})


def test_the_kept_record():
    record = json.loads((BENCHMARKS / "results" / "products.json").read_text())
    cases = whole(record)
    assert {
        (n, batch, dtype) for n in (1024, 4096, 16384) for batch in (1, 256) for dtype in ("float32", "float64")
    } <= cases
    for scaling in record["scaling"].values():
        assert scaling["sizes"][-1] == 2**20
        assert all(slope < 1.5 for slope in scaling["slopes"].values())  # n log n there; a matrix product has 2
