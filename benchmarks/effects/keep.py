"""How an effect is kept: a run a seed, written as it comes, and a small part of the first that tests run again.

A script of this folder defines `WHAT` (a sentence), `run(seed)` and `part()`, and ends in `keep(__file__, ...)`. What a
seed found lies in runs/effects until all are there; the result is benchmarks/results/effects/NAME.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from surm_lite.files import write_whole

ROOT = Path(__file__).parents[2]
Found = dict[str, Any]


def keep(
    script: str, what: str, run: Callable[[int], Found], part: Callable[[], Found], seeds: Sequence[int] = (0, 1, 2)
) -> None:
    """Runs the seeds that are missing and writes the result."""
    torch.set_num_threads(1)
    name = Path(script).stem
    kept = ROOT / "runs" / "effects"
    kept.mkdir(parents=True, exist_ok=True)
    runs = []
    for seed in seeds:
        path = kept / f"{name}-seed{seed}.json"
        if not path.exists():
            write_whole(path, json.dumps({"seed": seed, **run(seed)}).encode())
        runs.append(json.loads(path.read_text(encoding="utf-8")))
        print(f"{name} seed {seed}: {runs[-1]}", flush=True)
    about = {"what": what, "torch": torch.__version__, "seeds": list(seeds), "device": "cpu"}
    rows = ",\n".join(json.dumps(one) for one in runs)
    text = f'{{"about": {json.dumps(about)},\n"part": {json.dumps(part())},\n"runs": [\n{rows}\n]}}\n'
    write_whole(ROOT / "benchmarks" / "results" / "effects" / f"{name}.json", text.encode())
