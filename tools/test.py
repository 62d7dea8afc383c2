"""Run the tests: `check` is a minute's worth, `all` is everything, the site in a real browser included.

Arguments after the name go to pytest: python tools/test.py all -k toeplitz
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(*command: str) -> None:
    """Show the command, run it, stop at the first that fails."""
    print("+", *command, flush=True)
    finished = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env={**os.environ, "SURM_BOOK": "1"})
    if finished.returncode:
        sys.exit(finished.returncode)


def main() -> None:
    what, *options = sys.argv[1:] or ["all"]
    if what not in ("check", "all"):
        sys.exit(__doc__)
    run("ruff", "check", ".")
    run("ruff", "format", "--check", ".")
    run("mypy")
    if what == "check":
        run("pytest", "-q", "-m", "not slow and not gpu", *options)
    else:
        # One pytest run, so that its closing line counts everything: units, contract, doctests, notebooks, site.
        run("pytest", "-q", "--nbval", "--nbval-sanitize-with", "tools/nbval_sanitize.cfg", *options)


if __name__ == "__main__":
    main()
