"""The long run behind chapter 21: every arm, learning rate chosen on validation, three seeds.

    python benchmarks/finetune.py mnist5k
    SURM_DATA=<folder with the archive> python benchmarks/finetune.py sign_digits

About 45 minutes a set on one CPU core. Each finished run is kept in `runs/finetune`, so the command goes on where it
was stopped; at the end it writes `benchmarks/results/finetune_<set>.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from surm_lite.data import CATALOGUE, ImageSet, load
from surm_lite.evaluate import knn_accuracy, linear_probe
from surm_lite.experiments import ARMS, EPOCHS, build_arm, run_arm
from surm_lite.models import VIT_S14_CREDIT, vit_s14
from surm_lite.record import Record, versions

HERE = Path(__file__).parent
RUNS = HERE.parent / "runs" / "finetune"


def write(path: Path, content: Any) -> None:
    """JSON, completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(part, path)


def run(arm: str, data: ImageSet, lr: float, seed: int) -> Record | None:
    """One cell: read back if it was run before, None where the loss was not finite."""
    path = RUNS / f"{data.name}-{arm}-lr{lr:g}-seed{seed}.json"
    if not path.exists():
        try:
            record: Record | None = run_arm(arm, data, lr=lr, seed=seed)
        except FloatingPointError:
            record = None
        path.parent.mkdir(parents=True, exist_ok=True)
        if record is None:
            write(path, None)
        else:
            record.to_json(path)
        print(path.stem, "diverged" if record is None else f"{final(record):.3f} {record.seconds:.0f} s", flush=True)
    return None if path.read_text().strip() == "null" else Record.from_json(path)


def final(record: Record) -> float:
    """Accuracy on the validation part after the last epoch."""
    return record.validation_accuracy[max(record.validation_accuracy)]


def run_frozen(data: ImageSet) -> dict[str, Any]:
    """What the frozen features can tell without touching the network."""
    path = RUNS / f"{data.name}-frozen.json"
    if not path.exists():
        model = vit_s14()
        knn, k = knn_accuracy(model, data)
        probe, decay, _ = linear_probe(model, data)
        write(path, {"knn": knn, "neighbours": k, "linear_probe": probe, "decay": decay})
    return json.loads(path.read_text())


def summarise(name: str, data: ImageSet) -> dict[str, Any]:
    """Chooses the learning rate on validation with seed 0, then runs the other seeds with it."""
    arm = ARMS[name]
    sweep = {lr: run(name, data, lr, 0) for lr in arm.lrs}
    scores = {lr: final(record) for lr, record in sweep.items() if record is not None}
    lr = max(scores, key=lambda rate: scores[rate])  # the smallest of equals, since the candidates ascend
    records = [record for seed in arm.seeds if (record := run(name, data, lr, seed)) is not None]
    tests = [record.test_accuracy for record in records if record.test_accuracy is not None]
    parameters = records[0].parameters
    return {
        "label": arm.label,
        "method": arm.method,
        "options": arm.options,
        "equal_budget": arm.equal,
        "trained": parameters["trained"] - parameters["kept"] if arm.method else parameters["trained"],
        "head": build_arm(name).head.weight.numel() + len(data.classes),
        "lrs": [{"lr": rate, "validation": scores.get(rate)} for rate in arm.lrs],
        "lr": lr,
        "at_grid_edge": len(arm.lrs) > 1 and lr in (arm.lrs[0], arm.lrs[-1]),
        "seeds": list(arm.seeds),
        "validation": [final(record) for record in records],
        "test": tests,
        "test_mean": mean(tests),
        "test_std": stdev(tests) if len(tests) > 1 else None,
        "wall_seconds": [record.seconds for record in records],
        "loss_seed0": [round(value, 5) for value in records[0].loss],
        "loss_mean": [round(mean(step), 4) for step in zip(*(record.loss for record in records))],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["mnist5k", "sign_digits"])
    parser.add_argument("--arms", default=",".join(ARMS), help="comma-separated part of the arms")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = load(args.data)
    frozen = run_frozen(data)
    content = {
        "command": f"python benchmarks/finetune.py {args.data}"
        + ("" if args.arms == ",".join(ARMS) else f" --arms {args.arms}"),
        "data": {"name": data.name, "credit": CATALOGUE[data.name].credit}
        | {part: len(split) for part, split in data.parts.items()},
        "backbone": {"call": "split_qkv(vit_s14(blocks=6, image_size=56))", "credit": VIT_S14_CREDIT},
        "protocol": f"{EPOCHS} epochs; learning rate chosen on validation with seed 0; mean and sample standard "
        "deviation of the test accuracy over the seeds; see surm_lite/experiments.py. The machine was shared, so "
        "wall_seconds is no comparison of cost",
        "device": f"{platform.machine()} CPU, 1 thread",
        "versions": versions(),
        "frozen": frozen,
        "arms": {name: summarise(name, data) for name in args.arms.split(",")},
    }
    write(HERE / "results" / f"finetune_{data.name}.json", content)
    for name, row in content["arms"].items():
        spread = "" if row["test_std"] is None else f" +- {row['test_std']:.3f}"
        print(f"{name:20} {row['trained']:>10,} lr {row['lr']:<7g} test {row['test_mean']:.3f}{spread}")


if __name__ == "__main__":
    main()
