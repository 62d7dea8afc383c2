"""Build the site from the executed notebooks and check that it needs nothing but itself.

    python tools/book.py            build what changed; nothing changed, nothing done
    python tools/book.py --clean    forget the last build first

An edited chapter is built alone. What other pages show of it (titles, labels, captions), the table of contents, styles,
scripts, the configuration and docstrings reach every page, so a change there builds all.

Nothing is executed here: `tools/nb.py refresh` does that. Any Sphinx warning is an error, and so is a page that would
load something from another host.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import notebooks

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build" / "html"
STAMP = ROOT / "_build" / "made-from.json"

# What a browser fetches by itself: attributes of resource tags, and url() or @import in styles.
_LOADS = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*?\s(?:src|srcset|data)\s*=\s*[\"']?(?:https?:)?//"
    r"|<link\b(?![^>]*rel=[\"']?(?:canonical|license|author))[^>]*?\shref\s*=\s*[\"']?(?:https?:)?//"
    r"|url\(\s*[\"']?(?:https?:)?//|@import\s+[\"'](?:https?:)?//",
    re.I,
)


# What another page can show of this one, or number differently because of it.
_SEEN_ELSEWHERE = re.compile(
    r"^(?:# .+|\(.+\)=\n.*|:(?:label|name):.*|[:`]{3,}\{.*)|(?<=\$\$) *\([\w-]+\)\s*$|You\s+need\b[^.]*(?:\n.+){0,2}",
    re.M,
)

# A numbered figure (book/_ext/numbered.py): its name and caption.
_NUMBERED = re.compile(r' data-name="([^"]+)".*<figcaption>([^<]*)</figcaption></figure>\Z', re.S)

# What starts jupyter-book. jsonschema would compile a grammar for each kind of URI (no field of ours is one), and the
# collector would walk millions of nodes that all live until the end: together half the time of a small build.
_START = (
    "import gc, sys; sys.modules['rfc3987_syntax'] = None; gc.set_threshold(100_000, 20, 20); "
    "from jupyter_book.cli.main import main; main()"
)


def chapters(root: Path = ROOT) -> list[Path]:
    """The pages that can be built alone."""
    return sorted(root.glob("book/part*/*.ipynb"))


def shared(root: Path = ROOT) -> list[Path]:
    """What every page is made of: configuration, looks, pages outside the parts, the library with its docstrings."""
    found = [root / "_config.yml", root / "pyproject.toml", *root.glob("surm_lite/**/*.py"), Path(__file__)]
    found += root.glob("surm_lite/_static/*")
    found += (path for path in root.glob("book/**/*") if path.is_file() and not path.parent.name.startswith("part"))
    not_ours = {"__pycache__", ".ipynb_checkpoints", "welcome.ipynb"}  # the last: tools/lab.py
    kept = (path for path in found if not not_ours & set(path.parts))
    return sorted(kept)


def digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def seen_elsewhere(page: Path) -> str:
    """A fingerprint of what other pages can show of this one: titles, labels, captions, numbers, front matter."""
    notebook = json.loads(page.read_bytes())
    front = {key: value for key, value in notebook["metadata"].items() if key not in ("kernelspec", "language_info")}
    parts: list[Any] = [front]
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            parts += _SEEN_ELSEWHERE.findall("".join(cell["source"]))
        for output in cell.get("outputs", []):
            parts += _NUMBERED.findall("".join(output.get("data", {}).get("text/html", "")))
    return digest(json.dumps(parts, sort_keys=True).encode())


def made_from(root: Path = ROOT) -> dict[str, Any]:
    """What the site would be built from now."""
    return {
        "shared": digest(*(part for path in shared(root) for part in (str(path).encode(), path.read_bytes()))),
        "chapters": {
            page.relative_to(root).as_posix(): [digest(page.read_bytes()), seen_elsewhere(page)]
            for page in chapters(root)
        },
        "results": digest(*(path.read_bytes() for path in sorted(root.glob("benchmarks/**/*")) if path.is_file())),
    }


def changed(before: dict[str, Any] | None, now: dict[str, Any]) -> list[str] | None:
    """The chapters to build again, or None where every page is to be."""
    if before is None or before["shared"] != now["shared"] or before["chapters"].keys() != now["chapters"].keys():
        return None
    pages = [name for name, made in now["chapters"].items() if made != before["chapters"][name]]
    return None if any(before["chapters"][name][1] != now["chapters"][name][1] for name in pages) else pages


def foreign_loads(site: Path) -> list[str]:
    """Every place where a page of the site would fetch from another host."""
    found = []
    for page in sorted([*site.rglob("*.html"), *site.rglob("*.css")]):
        for match in _LOADS.finditer(page.read_text(encoding="utf-8")):
            found.append(f"{page.relative_to(site)}: {match.group()[:120]}")
    return found


def build(pages: list[str] | None) -> None:
    """One route only: `jupyter-book build book`; --all where every page may differ (Sphinx sees no changed style)."""
    command = [sys.executable, "-c", _START, "build", "book", "-W", "--keep-going", "-q"]
    for page in pages or []:
        os.utime(ROOT / page)  # Sphinx goes by the time of a file, which a checkout can set back
    # Warnings and errors come on stderr; the rest is banners.
    done = subprocess.run(command + ["--all"] * (pages is None), cwd=ROOT, stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit("the book was not built: see the warnings above")
    if loads := foreign_loads(SITE):
        sys.exit("the site would load from other hosts:\n  " + "\n  ".join(loads))
    notebooks.write(SITE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", action="store_true", help="start from nothing")
    if parser.parse_args().clean:
        shutil.rmtree(ROOT / "_build", ignore_errors=True)
    now = made_from()
    before = json.loads(STAMP.read_text()) if STAMP.exists() and (SITE / "index.html").exists() else None
    if before != now:
        STAMP.unlink(missing_ok=True)  # a build that fails is begun again with every page
        build(changed(before, now))
        STAMP.write_text(json.dumps(now))
    print(f"The book is at {SITE / 'index.html'}: open it in a browser, or run `make serve`.")


if __name__ == "__main__":
    main()
