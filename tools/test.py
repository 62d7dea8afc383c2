"""Run the tests: `check` is a few minutes' worth, `all` is everything, the site in a real browser included.

Arguments after the name go to pytest: python tools/test.py all -k toeplitz
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# One thread a process: two processes with two threads each would wait for each other on two cores.
ENVIRONMENT = {"SURM_BOOK": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def processes() -> int:
    """As many as the machine has cores, at least two (a test that waits costs nothing), at most eight (memory)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(cores, 2), 8)


def run(*command: str) -> None:
    """Show the command, run it, say how long it took, stop at the first that fails."""
    print("+", *command, flush=True)
    start = time.perf_counter()
    finished = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=os.environ | ENVIRONMENT)
    if finished.returncode:
        sys.exit(finished.returncode)
    if command[0] != "pytest":  # it says so itself, and its line is to be the last
        print(f"  {time.perf_counter() - start:.0f} s", flush=True)


def main() -> None:
    what, *options = sys.argv[1:] or ["all"]
    if what not in ("check", "all"):
        sys.exit(__doc__)
    run("ruff", "check", ".")
    run("ruff", "format", "--check", ".")
    run("mypy")
    # One pytest run, so that its closing line counts everything: units, contract, doctests, notebooks, site.
    tests = ["pytest", "-q", "-n", str(processes())]
    if what == "check":
        run(*tests, "-m", "not slow and not gpu", *options)
    else:
        import get_browser

        if sorry := get_browser.provide():
            print(sorry, flush=True)
        run(*tests, "--nbval", "--nbval-sanitize-with", "tools/nbval_sanitize.cfg", *options)


if __name__ == "__main__":
    main()
