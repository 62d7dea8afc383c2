"""Seeded bad arguments over the public interface: ``python tools/fuzz [section ...] [--count N] [--seed S]``.

A section is a module beside this one with ``TARGETS``, ``BAD`` and ``COUNT``. A call must give the right answer, or an
error that names an argument; silent wrong results and any other exception are printed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from importlib import import_module

from engine import run

SECTIONS = ("matrices", "adapters", "training", "rest", "commands")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tools/fuzz", description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"default: all of {', '.join(SECTIONS)}")
    parser.add_argument("--count", type=int, help="calls in each section (default: 3,000 in all)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    bad = 0
    for name in given.sections or SECTIONS:
        if name not in SECTIONS:
            parser.error(f"no section {name!r}; there are {', '.join(SECTIONS)}")
        section = import_module(name)
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # where bad paths may lead
            tally = run(section.TARGETS, section.BAD, given.count or section.COUNT, given.seed)
        print(f"{name}: {tally}")
        for kind, found in (("silent", tally.silent), ("raw", tally.raw)):
            for line in found:
                print(f"  {kind}: {line}")
        bad += len(tally.silent) + len(tally.raw)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
