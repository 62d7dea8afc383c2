"""The GPU benchmark runs at a tiny size on a CPU: it measures every variant and writes what it says."""

import json
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("peft", reason="needs the extra [hf]")
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def gpu_step(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu_step

    yield gpu_step
    sys.modules.pop("gpu_step")


@pytest.mark.slow
def test_tiny_on_cpu(gpu_step, tmp_path, capsys):
    out = tmp_path / "step.json"
    gpu_step.main(["--device", "cpu", "--size", "tiny", "--batch", "2", "--rounds", "2", "--out", str(out)])
    record = json.loads(out.read_text())
    assert record["device"]
    assert record["versions"]["torch"] == torch.__version__
    for precision in gpu_step.PRECISIONS:
        rows = record["precisions"][precision]["variants"]
        assert list(rows) == list(gpu_step.VARIANTS)
        assert all(row["seconds"] > 0 and row["peak_memory"] is None for row in rows.values())
        head = rows["frozen"]["trained"]
        layers = 2 * 3
        assert rows["circulant"]["trained"] == head + layers * 64
        assert rows["peft C3A, one block"]["trained"] == head + layers * 64
        assert rows["toeplitz"]["trained"] == head + layers * 127
        assert rows["LDR r=4"]["trained"] == head + layers * 512
        assert rows["our LoRA r=8"]["trained"] == rows["peft LoRA r=8"]["trained"] == head + layers * 1024
        goal = record["precisions"][precision]["goal"]["toeplitz"]
        assert goal["seconds_of_lora"] == rows["toeplitz"]["seconds"] / rows["peft LoRA r=8"]["seconds"]
    assert "x LoRA" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--device", "cpu"], ["--device", "cpu", "--out", "x", "--rounds", "1"]])
def test_refused(gpu_step, words):
    with pytest.raises(SystemExit):
        gpu_step.main(words)
