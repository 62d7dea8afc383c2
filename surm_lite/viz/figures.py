"""matplotlib figures as inline SVG whose colours are CSS variables, so that they follow the page into dark mode."""

import hashlib
import html
import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from surm_lite.viz.fragments import Fragment
from surm_lite.viz.palette import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def style() -> Iterator[None]:
    """The house style of matplotlib, inside the ``with`` block only."""
    matplotlib = _matplotlib()
    ink, rule = COLOURS["ink"], COLOURS["rule"]
    cycle = [COLOURS[c] for c in ("matrix", "displacement", "parameters", "error", "indigo", "olive")]
    settings: dict[str, Any] = {
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "text.color": ink,
        "axes.edgecolor": ink,
        "axes.labelcolor": ink,
        "xtick.color": ink,
        "ytick.color": ink,
        "grid.color": rule,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "font.size": 10.5,
        "lines.linewidth": 1.8,
        "figure.constrained_layout.use": True,
        "axes.prop_cycle": matplotlib.cycler(color=cycle),
        "svg.hashsalt": "surm_lite",
        "svg.fonttype": "path",
    }
    with matplotlib.rc_context(settings):
        yield


def subplots(rows: int = 1, columns: int = 1, *, size: tuple[float, float] = (5.2, 3.1), **options: Any) -> tuple:
    """A figure and its axes in the house style, size in inches; no pyplot, so nothing is shown or kept behind."""
    _matplotlib()
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=size)
        return figure, figure.subplots(rows, columns, **options)


def mpl(figure: "Figure", alt: str, *, caption: str | None = None, name: str | None = None) -> Fragment:
    """A matplotlib figure as inline SVG: the same bytes every time, and house colours that follow dark mode.

    Args:
        figure: what to draw.
        alt: what it shows, for a reader who cannot see it.
        caption: a sentence printed under it.
        name: the book numbers the figure, and ``numref`` finds it under this name; it needs a caption then.
    """
    if name and not caption:
        raise ValueError(f"name is {name!r} and caption is {caption!r}: a numbered figure must have a caption")
    buffer = io.StringIO()
    for legend in filter(None, (axes.get_legend() for axes in figure.axes)):
        legend.set_frame_on(False)  # its white box would not follow the page
    for text in figure.findobj(_matplotlib().text.Text):
        if text.get_color() == "black":
            text.set_color(COLOURS["ink"])  # added outside `style()`: pure black would not follow either
    with style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # Out: comments, metadata, ids nobody refers to, and a <style> that would leak into the page around the figure.
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>|(?<=<g) id=\"[^\"]*\"", "", svg, flags=re.S)
    # Glyph ids repeat between figures of one page; a prefix keeps each figure's own.
    prefix = hashlib.sha256(svg.encode()).hexdigest()[:5]
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>f{prefix}", svg)
    for use, colour in COLOURS.items():
        variable = "currentColor" if use == "ink" else f"var(--surm-{use}, {colour})"
        svg = re.sub(rf"(: ?){colour}\b", rf"\g<1>{variable}", svg)
    svg = _without_unused_ids(svg)
    width = round(figure.get_figwidth() * 96)
    least = _least_width(svg, width)
    look = f"width:100%;max-width:{width}px;min-width:{least}px;height:auto;stroke-linejoin:round;stroke-linecap:butt"
    label = f'role="img" aria-label="{html.escape(alt)}" style="{look}"'
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf"<svg {label} \g<1>>", svg, count=1)
    svg = re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><").strip()
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    known = f' data-name="{html.escape(name)}"' if name else ""
    return Fragment(f'<figure class="surm-figure"{known} style="flex:1 1 {width}px">{svg}{below}</figure>', alt)


def _without_unused_ids(svg: str) -> str:
    """An id that nothing refers to can only clash: matplotlib gives two equal images in a figure the same one."""
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    return re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)


def _least_width(svg: str, width: int) -> int:
    """The width in pixels at which the smallest label is 9 pixels high; a narrower screen scrolls the figure."""
    points = [100 * float(size) for size in re.findall(r"scale\(([\d.]+) -[\d.]+\)", svg)]  # glyphs are drawn at 100
    smallest = min(points, default=1e9) * 96 / 72
    return min(width, math.ceil(width * 9 / smallest))


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("figures need matplotlib: pip install 'surm-lite[book]'") from error
    return matplotlib
