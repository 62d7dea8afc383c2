"""Sphinx extension: the site's own fonts, cut out of pip packages at build time.

The packages carry whole variable fonts (a megabyte each); a page needs Latin, Greek and a few signs of mathematics. The
cut fonts are kept in ``_build/fonts``, so the ten seconds are paid once.
"""

import shutil
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from fontTools.varLib.instancer import instantiateVariableFont
from sphinx.application import Sphinx

# file on the site -> package, file in it, axes kept
FONTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "serif.woff": ("fontpkg-source-serif-4", "SourceSerif4[opsz,wght].ttf", {"opsz": 14, "wght": (400, 700)}),
    "serif-italic.woff": ("fontpkg-source-serif-4", "SourceSerif4-Italic[opsz,wght].ttf", {"opsz": 14, "wght": 400}),
    "sans.woff": ("fontpkg-source-sans-3", "SourceSans3[wght].ttf", {"wght": (400, 700)}),
}
_RANGES = [(0x20, 0x17F), (0x370, 0x3FF), (0x2010, 0x209F), (0x2100, 0x214F), (0x2190, 0x22FF)]


def cut(target: Path) -> None:
    """Write the font that the site calls ``target.name``."""
    package, name, axes = FONTS[target.name]
    font = TTFont(distribution(package).locate_file(f"{package.replace('-', '_')}/files/{name}"))
    options = Options(hinting=False, layout_features=["kern", "liga", "mark", "ccmp", "tnum", "lnum"])
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=[code for first, last in _RANGES for code in range(first, last + 1)])
    subsetter.subset(font)
    font = instantiateVariableFont(font, axes)
    font.flavor = "woff"
    target.parent.mkdir(parents=True, exist_ok=True)
    font.save(target)


def install(app: Sphinx, error: Exception | None) -> None:
    if error or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static" / "fonts"
    static.mkdir(parents=True, exist_ok=True)
    for name, (package, _, _) in FONTS.items():
        kept = Path(app.outdir).parent / "fonts" / version(package) / name
        if not kept.exists():
            cut(kept)
        shutil.copy2(kept, static / name)
        licence = distribution(package).locate_file(f"{package.replace('-', '_')}/LICENSE")
        shutil.copy2(str(licence), static / f"LICENSE-{package}.txt")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", install)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
