"""Probes what every method can do, and writes the capability table: `python tools/capabilities.py`.

With names of methods it probes those alone and says where the committed table is wrong: status 1.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from surm_lite.adapters import METHODS
from surm_lite.checks.capabilities import capabilities
from surm_lite.files import write_text
from surm_lite.training.record import versions

TABLE = Path(__file__).parent.parent / "benchmarks" / "results" / "capabilities.json"


def main(names: list[str]) -> int:
    torch.set_num_threads(1)
    if not names:
        rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(capabilities(name))}" for name in METHODS)
        about = {"layer": [16, 16], "versions": versions()}
        write_text("TABLE", TABLE, f'{{"about": {json.dumps(about)},\n"rows": {{\n{rows}\n}}}}\n')
        return 0
    committed = json.loads(TABLE.read_text(encoding="utf-8"))["rows"]
    wrong = 0
    for name in names:
        for what, found in capabilities(name).items():
            if committed[name][what] is not found:
                print(f"{name}: {what} is {found}, and the table says {committed[name][what]}")
                wrong = 1
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
