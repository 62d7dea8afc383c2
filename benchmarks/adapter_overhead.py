"""What an adapter adds to forward and backward of a frozen linear layer, ours and peft's, in one run.

Overhead = (time with adapter - time without) / time without, 0 = free: the same frozen ``nn.Linear(n, n)``, the same
input, the input gradient required. All variants run in every round, in a new random order, and the difference to the
bare layer of the same round is taken before the median, so that a busy machine blurs the result but does not bias it.

    python benchmarks/adapter_overhead.py            # table, and benchmarks/results/adapter_overhead.json
    python benchmarks/adapter_overhead.py --quick    # a minute less, no file
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import platform
import random
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import peft
import torch
from torch import nn

from surm_lite.adapters import adapt

RESULT = Path(__file__).parent / "results" / "adapter_overhead.json"
SIZES = (192, 384, 768, 2048)
LORA, C3A, OURS = "peft LoRA r=8", "peft C3A, one block", "circulant"
# n -> the largest allowed ratio of our overhead to that of peft's LoRA; against C3A it is 1/5 everywhere.
GOALS = {384: 1.0, 768: 0.8, 2048: 0.8}


class Separate(nn.Module):
    """The textbook path, for comparison: the base layer, plus the structured product through autograd."""

    def __init__(self, adapter: nn.Module) -> None:
        super().__init__()
        self.adapter = adapter

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.adapter.base_layer(x) + self.adapter.operator().apply(x)


class Dense(nn.Module):
    """The same linear layer with its whole weight trained."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = copy.deepcopy(layer).requires_grad_(True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def variants(n: int, device: str) -> dict[str, nn.Module]:
    """The frozen layer, and that layer under every adapter."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(n, n)).to(device).requires_grad_(False)

    def ours(method: str) -> nn.Module:
        return adapt(copy.deepcopy(model), method, targets="0")[0]

    def theirs(config: peft.PeftConfig) -> nn.Module:
        return peft.get_peft_model(copy.deepcopy(model), config).base_model.model[0]  # the bare layer, no wrapper

    return {
        "frozen": model[0],
        OURS: ours("circulant"),
        "circulant, separate path": Separate(ours("circulant")),
        "toeplitz": ours("toeplitz"),
        "toeplitz, separate path": Separate(ours("toeplitz")),
        "our LoRA r=8": ours("lora"),
        LORA: theirs(peft.LoraConfig(r=8, target_modules=["0"])),
        C3A: theirs(peft.C3AConfig(block_size=n, target_modules=["0"])),
        "dense, trained": Dense(model[0]),
    }


def timer(device: str) -> Callable[[], float]:
    """A clock that waits for the device."""
    if device == "cpu":
        return time.perf_counter

    def clock() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return clock


def measure(n: int, tokens: int, rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of one forward and backward, by variant and round."""
    layers, clock, order = variants(n, device), timer(device), random.Random(0)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(tokens, n, generator=generator).to(device).requires_grad_()
    g = torch.randn(tokens, n, generator=generator).to(device)
    wanted = {name: [x, *(p for p in layer.parameters() if p.requires_grad)] for name, layer in layers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in layers}
    names = list(layers)
    for number in range(rounds + 3):  # three rounds to warm up
        order.shuffle(names)
        for name in names:
            start = clock()
            torch.autograd.grad(layers[name](x), wanted[name], g)
            if number >= 3:
                seconds[name].append(clock() - start)
    return seconds


def summarise(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median time and overhead of every variant, with the quartiles of the overhead."""
    frozen = seconds["frozen"]
    base = statistics.median(frozen)
    rows = {}
    for name, times in seconds.items():
        extra = [(t - f) / base for t, f in zip(times, frozen)]
        low, middle, high = statistics.quantiles(extra, n=4)
        rows[name] = {"ms": 1e3 * statistics.median(times), "overhead": middle, "low": low, "high": high}
    return rows


def judge(n: int, rows: dict[str, dict[str, float]]) -> dict[str, float | bool]:
    """Our circulant against both of peft's, and whether the goals hold."""
    ours = rows[OURS]["overhead"]
    of_lora, of_c3a = ours / rows[LORA]["overhead"], ours / rows[C3A]["overhead"]
    return {"of_lora": of_lora, "of_c3a": of_c3a, "met": of_lora <= GOALS.get(n, float("inf")) and of_c3a <= 0.2}


def machine(device: str) -> str:
    """The device in words."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if (info.exists())
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1576, help="rows of the input: 8 images of 197 tokens")
    parser.add_argument("--rounds", type=int, default=101)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--quick", action="store_true", help="15 rounds, n <= 768, no file")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.sizes = 15, [n for n in args.sizes if n <= 768]
    torch.set_num_threads(args.threads)
    gc.disable()

    results = {}
    for n in args.sizes:
        rounds = max(15, args.rounds // 3) if n > 1024 else args.rounds
        rows = summarise(measure(n, args.tokens, rounds, args.device))
        results[n] = {"rounds": rounds, "variants": rows, "goal": judge(n, rows)}
        print(f"\nn = {n}, {args.tokens} tokens, {rounds} rounds: frozen layer {rows['frozen']['ms']:.2f} ms")
        for name, row in rows.items():
            if name != "frozen":
                print(f"  {name:26} {row['overhead']:6.3f}   ({row['low']:.3f} to {row['high']:.3f})")
        print("  ours / LoRA {of_lora:.2f}, ours / C3A {of_c3a:.2f}, goal met: {met}".format(**results[n]["goal"]))
    if args.quick:
        return
    record = {
        "what": "overhead of forward+backward over the same frozen nn.Linear(n, n), float32, input gradient required",
        "command": "python benchmarks/adapter_overhead.py",
        "device": machine(args.device),
        "threads": args.threads,
        "tokens": args.tokens,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "peft", "surm-lite")},
        "sizes": results,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\nwritten to {args.out}")


if __name__ == "__main__":
    main()
