"""JupyterLab over the chapters, opened at a page that says what to press.

The chapters are marked as trusted first, as `jupyter trust` does: the player of the sliders is a script in a stored
output, which runs only then. What follows on the command line goes to JupyterLab.
"""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import nbformat
import notebooks
from nbformat.sign import NotebookNotary

BOOK = notebooks.ROOT / "book"
WELCOME = "welcome.ipynb"  # made here, not committed


def prepare(book: Path) -> None:
    (book / WELCOME).write_bytes(notebooks.as_bytes(notebooks.welcome(".")))
    notary = NotebookNotary()
    for page in book.rglob("*.ipynb"):
        notary.sign(nbformat.read(page, 4))
    notary.store.close()


def main() -> None:
    prepare(BOOK)
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={BOOK}"]
    command += [f"--LabApp.default_url=/lab/tree/{WELCOME}", *sys.argv[1:]]
    environment = {name: value for name, value in os.environ.items() if name != "SURM_BOOK"}  # sliders compute
    with suppress(KeyboardInterrupt):  # how one leaves it
        sys.exit(subprocess.run(command, env=environment).returncode)


if __name__ == "__main__":
    main()
