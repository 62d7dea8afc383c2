"""What a training step of a whole ViT costs: time and peak memory, ours and peft's, in one run.

A ViT-B/16 (12 blocks, width 768, 197 tokens), its query, key and value layers adapted; forward, backward and AdamW on a
batch of random images. Variants take turns, in a new random order every round, so that a machine that warms up or is
shared blurs the result but does not bias it. "frozen" is the forward and backward of the head alone.

    python benchmarks/gpu_step.py                  # cuda; table, and benchmarks/results/gpu_step.json
    python benchmarks/gpu_step.py --device cpu --size tiny --rounds 3 --out step.json
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import random
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path

import peft
import torch
import torch.nn.functional as F
from adapter_overhead import machine
from torch import nn

import surm_lite as sl
from surm_lite.models import ViT, ViTConfig, split_qkv

RESULT = Path(__file__).parent / "results" / "gpu_step.json"
LAYERS = ("q_proj", "k_proj", "v_proj")
COLOUR = {"channels": 3, "num_classes": 100, "mean": (0.5,) * 3, "std": (0.5,) * 3}
SIZES = {
    "base": ViTConfig(image_size=224, patch_size=16, width=768, depth=12, heads=12, mlp_ratio=4.0, **COLOUR),
    "small": ViTConfig(image_size=224, patch_size=16, width=384, depth=12, heads=6, mlp_ratio=4.0, **COLOUR),
    "tiny": ViTConfig(image_size=32, patch_size=8, width=64, depth=2, heads=2, mlp_ratio=2.0, **COLOUR),
}
PRECISIONS = ("float32", "bfloat16")
LORA = "peft LoRA r=8"
GOALS = {"seconds": 1.0, "memory": 1.05}  # of peft's LoRA


def _peft(config: Callable[[int], peft.PeftConfig]) -> Callable[[ViT], nn.Module]:
    return lambda model: peft.get_peft_model(model, config(model.config.width))


def _ours(method: str, **options: int) -> Callable[[ViT], nn.Module]:
    return lambda model: sl.adapt(model, method, LAYERS, keep="head", **options)


VARIANTS: dict[str, Callable[[ViT], nn.Module]] = {
    "frozen": lambda model: model.requires_grad_(False),
    LORA: _peft(lambda n: peft.LoraConfig(r=8, target_modules=list(LAYERS), modules_to_save=["head"])),
    "peft C3A, one block": _peft(
        lambda n: peft.C3AConfig(block_size=n, target_modules=list(LAYERS), modules_to_save=["head"])
    ),
    "our LoRA r=8": _ours("lora", rank=8),
    "circulant": _ours("circulant"),
    "toeplitz": _ours("toeplitz"),
    "kronecker": _ours("kronecker"),
    "LDR r=1": _ours("ldr", rank=1),
    "LDR r=4": _ours("ldr", rank=4),
}


class Step:
    """One variant: a model of its own, its optimiser, and one training step as a call."""

    def __init__(self, name: str, config: ViTConfig, batch: int, device: str, precision: str) -> None:
        base = split_qkv(ViT(config, generator=torch.Generator().manual_seed(0)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # peft draws from the global generator
            self.model = VARIANTS[name](base).to(device).train()
        if name == "frozen":
            self.model.head.requires_grad_(True)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.numbers = sum(p.numel() for p in trained)
        self.optimizer = torch.optim.AdamW(trained, lr=1e-3)
        draw = torch.Generator().manual_seed(1)
        side = config.image_size
        self.images = torch.randn(batch, config.channels, side, side, generator=draw).to(device)
        self.labels = torch.randint(config.num_classes, (batch,), generator=draw).to(device)
        self.half = torch.autocast(device, torch.bfloat16) if precision == "bfloat16" else nullcontext()

    def __call__(self) -> None:
        with self.half:
            loss = F.cross_entropy(self.model(self.images), self.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def peak_memory(step: Step, device: str) -> int | None:
    """Bytes at the highest point of a step, weights and optimiser included; None where the device does not tell."""
    if device != "cuda":
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def seconds_of(step: Step, device: str) -> float:
    """One step, the device's queue empty before and after."""
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def measure(size: str, batch: int, rounds: int, device: str, precision: str) -> dict[str, dict]:
    """Seconds, peak memory and trained numbers of every variant."""
    config, memory, numbers = SIZES[size], {}, {}
    for name in VARIANTS:  # memory: alone on the device
        step = Step(name, config, batch, device, precision)
        step()  # moments of the optimiser exist from here on
        memory[name], numbers[name] = peak_memory(step, device), step.numbers
        del step
        gc.collect()
    steps = {name: Step(name, config, batch, device, precision) for name in VARIANTS}
    order, seconds = random.Random(0), {name: [] for name in VARIANTS}
    names = list(VARIANTS)
    for number in range(rounds + 2):  # two rounds to warm up
        order.shuffle(names)
        for name in names:
            took = seconds_of(steps[name], device)
            if number >= 2:
                seconds[name].append(took)
    rows = {}
    for name, times in seconds.items():
        low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
        rows[name] = {
            "seconds": middle, "low": low, "high": high, "peak_memory": memory[name], "trained": numbers[name],
        }  # fmt: skip
    return rows


def judge(rows: dict[str, dict]) -> dict[str, dict[str, float | bool | None]]:
    """Each structured update against peft's LoRA: step no slower, memory at most 5 % more."""
    lora = rows[LORA]
    verdict: dict[str, dict[str, float | bool | None]] = {}
    for name in ("circulant", "toeplitz", "kronecker", "LDR r=1", "LDR r=4"):
        time_ratio = rows[name]["seconds"] / lora["seconds"]
        memory_ratio = rows[name]["peak_memory"] / lora["peak_memory"] if lora["peak_memory"] else None
        verdict[name] = {
            "seconds_of_lora": time_ratio,
            "memory_of_lora": memory_ratio,
            "met": time_ratio <= GOALS["seconds"] and (memory_ratio is None or memory_ratio <= GOALS["memory"]),
        }
    return verdict


def show(rows: dict[str, dict], verdict: dict[str, dict]) -> None:
    """The table."""
    for name, row in rows.items():
        memory = "" if row["peak_memory"] is None else f"{row['peak_memory'] / 2**20:9.0f} MiB"
        ratio = f"{verdict[name]['seconds_of_lora']:5.2f} x LoRA" if name in verdict else ""
        print(
            f"  {name:20} {1e3 * row['seconds']:9.2f} ms ({1e3 * row['low']:.2f} to {1e3 * row['high']:.2f}) {memory}"
            f"  {row['trained']:>9,} trained  {ratio}"
        )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--precision", choices=PRECISIONS, nargs="+", default=PRECISIONS)
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args(argv)
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here; try --device cpu --size tiny --out step.json")
    if args.device == "cpu" and args.out == RESULT:
        raise SystemExit(f"{RESULT.name} is for a GPU; name another file with --out")
    if args.rounds < 2:
        raise SystemExit(f"--rounds is {args.rounds}; quartiles need at least 2")

    results = {}
    for precision in args.precision:
        print(f"\n{args.size}, batch {args.batch}, {precision}, {machine(args.device)}")
        rows = measure(args.size, args.batch, args.rounds, args.device, precision)
        verdict = judge(rows)
        show(rows, verdict)
        results[precision] = {"variants": rows, "goal": verdict}
    record = {
        "what": "a training step of a ViT (forward, backward, AdamW): query, key and value adapted, head trained",
        "command": f"python benchmarks/gpu_step.py --size {args.size} --batch {args.batch} --rounds {args.rounds}",
        "device": machine(args.device),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "peft", "surm-lite")},
        "rounds": args.rounds,
        "precisions": results,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\nwritten to {args.out}")


if __name__ == "__main__":
    main()
