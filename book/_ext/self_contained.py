"""Sphinx extension: make the site need nothing but itself.

MathJax and its fonts are copied out of a pip package (a wheel whose name has a hyphen, so it is found, not imported);
what the theme ships and no page uses is dropped.
"""

import shutil
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

# The web font draws every icon; this script, half a megabyte gzipped on each page, would draw them again as SVG.
_UNUSED_SCRIPTS = ("scripts/fontawesome.js",)


def copy_mathjax(static: Path) -> None:
    source = Path(str(distribution("sphinx-mathjax-offline").locate_file("sphinx-mathjax-offline/static/mathjax")))
    target = static / "mathjax"
    for part in ("tex-chtml-full.js", "output/chtml/fonts/woff-v2"):
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        else:
            shutil.copy2(source / part, target / part)


def finish(app: Sphinx, error: Exception | None) -> None:
    if error or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    copy_mathjax(static)
    for name in _UNUSED_SCRIPTS:
        if (static / name).exists():
            (static / name).write_text("// Not used: the icons come from the web font.\n")
    for leftover in static.rglob("*.map"):
        leftover.unlink()


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
