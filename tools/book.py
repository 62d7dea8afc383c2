"""Build the site from the executed notebooks and check that it needs nothing but itself.

    python tools/book.py            build what changed; nothing changed, nothing done
    python tools/book.py --clean    forget the last build first

Nothing is executed here: `tools/nb.py refresh` does that. Any Sphinx warning is an error, and so is a page that would
load something from another host.
"""

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build" / "html"
STAMP = ROOT / "_build" / "made-from"

# What a browser fetches by itself: attributes of resource tags, and url() or @import in styles.
_LOADS = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*?\s(?:src|srcset|data)\s*=\s*[\"']?(?:https?:)?//"
    r"|<link\b(?![^>]*rel=[\"']?(?:canonical|license|author))[^>]*?\shref\s*=\s*[\"']?(?:https?:)?//"
    r"|url\(\s*[\"']?(?:https?:)?//|@import\s+[\"'](?:https?:)?//",
    re.I,
)


def sources() -> list[Path]:
    """Everything a page is made of: the book, the configuration, and the library whose docstrings are the reference."""
    found = [ROOT / "_config.yml", ROOT / "pyproject.toml", *ROOT.glob("surm_lite/**/*.py")]
    found += ROOT.glob("surm_lite/_static/*")
    found += (path for path in ROOT.glob("book/**/*") if path.is_file())
    kept = (path for path in found if not {"__pycache__", ".ipynb_checkpoints"} & set(path.parts))
    return sorted(kept)


def fingerprint() -> str:
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def foreign_loads(site: Path) -> list[str]:
    """Every place where a page of the site would fetch from another host."""
    found = []
    for page in sorted([*site.rglob("*.html"), *site.rglob("*.css")]):
        for match in _LOADS.finditer(page.read_text(encoding="utf-8")):
            found.append(f"{page.relative_to(site)}: {match.group()[:120]}")
    return found


def build() -> None:
    """One route only: `jupyter-book build book`; --all, because Sphinx does not notice a changed style or script."""
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [jupyter_book, "build", "book", "--all", "-W", "--keep-going", "-q"]
    # Warnings and errors come on stderr; the rest is banners.
    if subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL).returncode:
        sys.exit("the book was not built: see the warnings above")
    if loads := foreign_loads(SITE):
        sys.exit("the site would load from other hosts:\n  " + "\n  ".join(loads))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", action="store_true", help="start from nothing")
    if parser.parse_args().clean:
        shutil.rmtree(ROOT / "_build", ignore_errors=True)
    now = fingerprint()
    if not (STAMP.exists() and STAMP.read_text() == now and (SITE / "index.html").exists()):
        STAMP.unlink(missing_ok=True)
        build()
        STAMP.write_text(now)
    print(f"The book is at {SITE / 'index.html'}: open it in a browser, or run `make serve`.")


if __name__ == "__main__":
    main()
