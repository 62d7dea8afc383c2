"""Pictures in one visual language: matrix, displacement, parameters and error keep their colour everywhere.

Heat maps are small indexed PNGs whose zero is transparent, figures are inline SVG whose colours are CSS variables: both
follow the page into dark mode. Nothing here draws at import, and no global matplotlib state is touched.
"""

import base64
import hashlib
import html
import io
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Meaning = Literal["matrix", "displacement", "parameters", "error"]

# The four meanings and grey lie far apart in CIELAB for full vision and for each colour blindness (tests/test_viz.py
# measures it), and every colour of text or lines has at least 4.5:1 on white.
COLOURS: dict[str, str] = {
    "matrix": "#1a6fd0",
    "displacement": "#b53d00",
    "parameters": "#0e5a3c",
    "error": "#86206f",
    "negative": "#8d9196",
    "ink": "#23282f",
    "rule": "#c9ced6",
    "indigo": "#4a3fa0",
    "teal": "#0b7f8a",
    "olive": "#7d6c06",
    "wine": "#8f2c48",
    "slate": "#56616d",
    "brown": "#80502a",
}

# One look per family or method in every plot: kin share a hue and differ by dash and marker.
_FAMILY_LOOK: dict[str, tuple[str, str, str]] = {
    "dense": ("ink", "-", "s"),
    "full": ("ink", "-", "s"),
    "frozen": ("slate", ":", "x"),
    "linear_probe": ("slate", "--", "+"),
    "low_rank": ("wine", "-", "o"),
    "lora": ("wine", "-", "o"),
    "circulant": ("indigo", "-", "^"),
    "skew_circulant": ("indigo", "--", "v"),
    "f_circulant": ("indigo", ":", "<"),
    "block_circulant": ("indigo", "-.", ">"),
    "toeplitz": ("teal", "-", "D"),
    "symmetric_toeplitz": ("teal", "--", "d"),
    "hankel": ("teal", ":", "p"),
    "kronecker": ("olive", "-", "P"),
    "ldr": ("brown", "-", "*"),
    "bottleneck": ("slate", "-", "X"),
}


def number(value: object) -> str:
    """A value as readers want it: thousands marked, three digits, rounding noise not shown as a number.

    Example:
        >>> number(12288), number(0.0123456), number(3e-17), number(True)
        ('12,288', '0.0123', 'below 1e-12', 'yes')
    """
    if isinstance(value, torch.Tensor | np.generic):
        value = value.item()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return "below 1e-12" if 0 < abs(value) < 1e-12 else f"{value:.3g}"
    return str(value)


@dataclass(frozen=True)
class Fragment:
    """A piece of a page: HTML for a browser, one line of text for everybody else, and the numbers it shows."""

    html: str
    text: str
    numbers: Mapping[str, object] = field(default_factory=dict)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.text}


def row(*fragments: Fragment) -> Fragment:
    """Fragments side by side, wrapping on a narrow screen."""
    return Fragment(
        f'<div class="surm-row">{"".join(f.html for f in fragments)}</div>',
        "; ".join(f.text for f in fragments if f.text),
        {name: value for f in fragments for name, value in f.numbers.items()},
    )


def note(text: str) -> Fragment:
    """A sentence inside a view, for a grid point where there is nothing to draw."""
    return Fragment(f'<p class="surm-note">{html.escape(text)}</p>', text)


def readout(**numbers: object) -> Fragment:
    """The numbers under a picture; underscores in a name become spaces.

    Example:
        >>> readout(parameters=1536, displacement_rank=2).text
        'parameters 1,536, displacement rank 2'
    """
    named = {name.replace("_", " "): value for name, value in numbers.items()}
    cells = "".join(
        f'<div class="surm-{_meaning(name)}"><dt>{html.escape(name)}</dt><dd>{html.escape(number(value))}</dd></div>'
        for name, value in named.items()
    )
    text = ", ".join(f"{name} {number(value)}" for name, value in named.items())
    return Fragment(f'<dl class="surm-readout">{cells}</dl>', text, named)


def _meaning(name: str) -> str:
    for word in ("displacement", "parameter", "error", "rank"):
        if word in name:
            return {"parameter": "parameters", "rank": "matrix"}.get(word, word)
    return "plain"


def heat(
    matrix: Any,
    alt: str,
    *,
    caption: str | None = None,
    meaning: Meaning = "matrix",
    scale: float | None = None,
    size: int = 240,
) -> Fragment:
    """A matrix as a picture: the house colour is positive, grey is negative, no colour is zero.

    Args:
        matrix: real matrix (m, n): tensor, array, or any operator with ``to_dense()``.
        alt: what the picture shows, in words, for readers who cannot see it.
        caption: a few words printed under the picture.
        meaning: "matrix" or "displacement" (or "parameters", "error"): chooses the colour.
        scale: the magnitude drawn in full colour; default the largest entry, but never below 1e-6, so that
            rounding noise stays invisible. Pass one scale to compare pictures.
        size: longest side in pixels; every entry is a whole number of pixels.

    Returns:
        A fragment whose text is ``alt``.
    """
    values = _real_matrix(matrix)
    if meaning not in ("matrix", "displacement", "parameters", "error"):
        raise ValueError(f"meaning is {meaning!r}, must be 'matrix', 'displacement', 'parameters' or 'error'")
    full = max(float(np.abs(values).max()), 1e-6) if scale is None else float(scale)
    if not full > 0:
        raise ValueError(f"scale is {scale!r}, must be a positive number")
    pixels = max(1, size // max(values.shape))
    # 31 steps each side of a transparent zero: index 0..30 negative, 31 zero, 32..62 positive.
    index = np.rint(np.clip(values / full, -1, 1) * 31).astype(np.uint8) + np.uint8(31)
    data = _png(np.kron(index, np.ones((pixels, pixels), np.uint8)), _ramp(COLOURS[meaning]))
    height, width = (pixels * side for side in values.shape)
    image = (
        f'<img class="surm-heat dark-light" alt="{html.escape(alt)}" width="{width}" height="{height}" '
        f'src="data:image/png;base64,{base64.b64encode(data).decode()}">'
    )
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return Fragment(f'<figure class="surm-figure surm-{meaning}">{image}{below}</figure>', alt)


def _real_matrix(matrix: Any) -> np.ndarray:
    dense = matrix.to_dense() if hasattr(matrix, "to_dense") else matrix
    values = torch.as_tensor(dense).detach().cpu()
    if values.is_complex():
        raise TypeError(f"matrix has dtype {values.dtype}, must be real: draw .real, .imag or .abs()")
    if values.ndim != 2 or values.numel() == 0:
        raise ValueError(f"matrix has shape {tuple(values.shape)}, must be (m, n) with m, n >= 1")
    if not values.double().isfinite().all():
        raise ValueError("matrix holds nan or infinity, must be finite")
    return values.double().numpy()


def _ramp(colour: str) -> np.ndarray:
    """63 RGBA colours: grey -> transparent -> colour. Alpha carries the magnitude, so any page background works."""
    ramp = np.zeros((63, 4), np.uint8)
    ramp[:31, :3] = tuple(bytes.fromhex(COLOURS["negative"][1:]))
    ramp[31:, :3] = tuple(bytes.fromhex(colour[1:]))
    ramp[:, 3] = np.rint(255 * np.abs(np.arange(-31, 32)) / 31)
    return ramp


def _png(index: np.ndarray, rgba: np.ndarray) -> bytes:
    """An indexed PNG. Rows are filtered by "up": the k equal rows of one matrix row cost almost nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = index.shape
    up = np.diff(index, axis=0, prepend=np.zeros((1, width), np.uint8))
    rows = np.concatenate([np.full((height, 1), 2, np.uint8), up], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = [(b"IHDR", header), (b"PLTE", rgba[:, :3].tobytes()), (b"tRNS", rgba[:, 3].tobytes())]
    parts += [(b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in parts)


def family_style(name: str) -> dict[str, Any]:
    """Colour, dash and marker of a family or method, the same in every plot: ``plot(x, y, **family_style("ldr"))``."""
    if name not in _FAMILY_LOOK:
        raise ValueError(f"name is {name!r}, must be one of {', '.join(_FAMILY_LOOK)}")
    colour, dash, marker = _FAMILY_LOOK[name]
    return {"color": COLOURS[colour], "linestyle": dash, "marker": marker, "markersize": 4}


@contextmanager
def style() -> Iterator[None]:
    """The house style of matplotlib, inside the ``with`` block only."""
    mpl_module = _matplotlib()
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
        "axes.prop_cycle": mpl_module.cycler(color=cycle),
        "svg.hashsalt": "surm_lite",
        "svg.fonttype": "path",
    }
    with mpl_module.rc_context(settings):
        yield


def subplots(rows: int = 1, columns: int = 1, *, size: tuple[float, float] = (5.2, 3.1), **options: Any) -> tuple:
    """A figure and its axes in the house style, size in inches; no pyplot, so nothing is shown or kept behind."""
    _matplotlib()
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=size)
        return figure, figure.subplots(rows, columns, **options)


def mpl(figure: "Figure", alt: str, *, caption: str | None = None) -> Fragment:
    """A matplotlib figure as inline SVG: the same bytes every time, and house colours that follow dark mode."""
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
    for name, colour in COLOURS.items():
        variable = "currentColor" if name == "ink" else f"var(--surm-{name}, {colour})"
        svg = re.sub(rf"(: ?){colour}\b", rf"\g<1>{variable}", svg)
    width = round(figure.get_figwidth() * 96)
    look = f"width:100%;max-width:{width}px;height:auto;stroke-linejoin:round;stroke-linecap:butt"
    label = f'role="img" aria-label="{html.escape(alt)}" style="{look}"'
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf"<svg {label} \g<1>>", svg, count=1)
    svg = re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><").strip()
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return Fragment(f'<figure class="surm-figure" style="flex:1 1 {width}px">{svg}{below}</figure>', alt)


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("figures need matplotlib: pip install 'surm-lite[book]'") from error
    return matplotlib
