"""The time of a training step of every method beside LoRA's, in one run, and its price in tensors.

Each form of the leaderboard trains the ViT-S/14 (first 6 blocks, 56 px) for a few steps on batches of 32, in turn with
LoRA of rank 2; the ratio is that of the median steps of a turn, and the median over the turns is kept. Times are those
of this process's clock on one thread, so that other programs do not count.

    python benchmarks/method_steps.py    # table, and benchmarks/results/method_steps.json; about ten minutes
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch

from surm_lite.comparison.leaderboard import LEADERBOARD
from surm_lite.comparison.measure import first_batches, step_times, typical_step
from surm_lite.data import LabelledSet, load
from surm_lite.files import write_whole
from surm_lite.training.train import train

RESULT = Path(__file__).parent / "results" / "method_steps.json"
TURNS, STEPS = 3, 5


def step(name: str, data: LabelledSet, steps: int) -> float:
    """Median seconds of a step."""
    on, size = torch.device("cpu"), LEADERBOARD.batch_size
    model = LEADERBOARD.build(name, data, device=on)
    with step_times(on) as moments:
        train(
            model, first_batches(data, size), epochs=steps, batch_size=size, evaluate_every=steps, device=on,
            lr=LEADERBOARD.arms[name].lrs[0], progress=False,
        )  # fmt: skip
    return typical_step(moments) or 0.0


def measure(name: str, data: LabelledSet, turns: int = TURNS, steps: int = STEPS) -> dict[str, Any]:
    """The ratio to LoRA's step, its spread over the turns, and seconds."""
    pairs = [(step("lora", data, steps), step(name, data, steps)) for _ in range(turns)]
    ratios = sorted(mine / lora for lora, mine in pairs)
    return {
        "ratio": round(median(ratios), 3), "least": round(ratios[0], 3), "most": round(ratios[-1], 3),
        "seconds": round(median(mine for _, mine in pairs), 4),
    }  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    data = load("mnist5k", train=64, validation=10, test=10)
    step("lora", data, 2)  # what is slow only once
    rows = {}
    for name, arm in LEADERBOARD.arms.items():
        rows[name] = {"label": arm.label, **measure(name, data)}
        print(f"{arm.label:36} {rows[name]['ratio']:6.2f} x LoRA's step", flush=True)
    versions = {name: version(name) for name in ("surm-lite", "torch")}
    about = {"model": LEADERBOARD.model, "batch_size": LEADERBOARD.batch_size, "turns": TURNS, "steps": STEPS,
             "device": "cpu", "threads": 1, "versions": versions}  # fmt: skip
    table = ",\n".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
    write_whole(RESULT, f'{{"about": {json.dumps(about)},\n"rows": {{\n{table}\n}}}}\n'.encode())


if __name__ == "__main__":
    main()
