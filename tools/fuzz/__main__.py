"""Seeded bad arguments over the public interface: ``python tools/fuzz [section ...] [--count N] [--seed S]``.

A section is a module beside this one with ``TARGETS`` and ``BAD``. A call must give the right answer or a ValueError or
TypeError that names an argument; silent wrong results and any other exception are printed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from engine import run

SECTIONS = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in ("__main__", "engine"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tools/fuzz", description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"default: all of {', '.join(SECTIONS)}")
    parser.add_argument("--count", type=int, default=1500, help="calls in each section")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    bad = 0
    for name in given.sections or SECTIONS:
        if name not in SECTIONS:
            parser.error(f"no section {name!r}; there are {', '.join(SECTIONS)}")
        section = import_module(name)
        tally = run(section.TARGETS, section.BAD, given.count, given.seed)
        print(f"{name}: {tally}")
        for kind, found in (("silent", tally.silent), ("raw", tally.raw)):
            for line in found:
                print(f"  {kind}: {line}")
        bad += len(tally.silent) + len(tally.raw)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
