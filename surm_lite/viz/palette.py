"""The colours of the book, and the look of each family in a plot."""

from typing import Any

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
    "toeplitz_plus_hankel": ("teal", "-.", "H"),
    "kronecker": ("olive", "-", "P"),
    "kronecker_sum": ("olive", "--", "8"),
    "monarch": ("olive", ":", "s"),
    "c · identity": ("slate", "-", "1"),
    "diagonal": ("slate", "--", "2"),
    "ldr": ("brown", "-", "*"),
    "bottleneck": ("slate", "-", "X"),
    "c3a": ("indigo", "-.", "h"),
    "gralora": ("wine", "-", "P"),
    "miss": ("teal", "-", "P"),
    "bone": ("teal", ":", "s"),
    "bat": ("teal", "--", "X"),
    "loha": ("olive", "-", "h"),
    "lokr": ("olive", "-.", "D"),
    "lokh": ("olive", "--", "v"),
    "dora": ("wine", "--", "s"),
    "bora": ("wine", "--", "X"),
    "loldu": ("brown", "--", "v"),
    "cdvft": ("indigo", "-", "d"),
    "fourierft": ("teal", "-", "*"),
    "vera": ("brown", "-", "P"),
    "randlora": ("brown", "--", "p"),
    "oft": ("brown", ":", "h"),
    "gora": ("wine", ":", "v"),
    "singlora": ("wine", "-.", "^"),
    "lorapro": ("wine", "-", "D"),
    "adalora": ("wine", "--", "p"),
    "elalora": ("wine", "-.", "h"),
    "ardlora": ("wine", ":", "*"),
    "trp": ("ink", "--", "p"),
    "cuttlefish": ("ink", "-.", "h"),
    "lord": ("ink", ":", "P"),
    "lorae": ("ink", "-", "*"),
    "head": ("slate", "-.", "+"),
    "bitfit": ("ink", ":", "."),
}
_SPARE = ("#6d3fb5", "#1f6e2f", "#a8326e", "#3b5fa8", "#6a6a1c", "#8a4b12")
"""Colours of families and methods that readers register, in order; then with another mark."""
_MARKS = ("h", "D", "P", "v", "*", "X")


def add_look(name: str) -> None:
    """Gives a new family or method a look that no other one has; one that has a look keeps it."""
    if name in _FAMILY_LOOK:
        return
    new = sum(colour.startswith("#") for colour, _, _ in _FAMILY_LOOK.values())
    mark = _MARKS[new // len(_SPARE) % len(_MARKS)]
    _FAMILY_LOOK[name] = (_SPARE[new % len(_SPARE)], "-", mark)


def family_style(name: str) -> dict[str, Any]:
    """Colour, dash and marker of a family or method, the same in every plot: ``plot(x, y, **family_style("ldr"))``."""
    if name not in _FAMILY_LOOK:
        raise ValueError(f"name is {name!r}, must be one of {', '.join(_FAMILY_LOOK)}")
    colour, dash, marker = _FAMILY_LOOK[name]
    return {"color": COLOURS.get(colour, colour), "linestyle": dash, "marker": marker, "markersize": 4}
