"""Pieces of a page: HTML for a browser, a line of text and the numbers for everybody else."""

import html
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch


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
