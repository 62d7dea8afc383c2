"""One Python function, two lives: sliders with a kernel, precomputed frames on a plain web page.

A view takes one value per slider and returns pictures and numbers made by ``surm_lite.viz``. In a notebook every move
calls it again. Where SURM_BOOK=1 (the book's build, nbval) it is called once per grid point; the frames travel inside
the page and ``_static/explore.js`` swaps them. The plain-text form lists the numbers of every grid point, so a test
that compares stored outputs guards all of them.
"""

import base64
import gzip
import html
import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from importlib.resources import files
from typing import Any

from surm_lite.viz import Fragment, row

MAX_POINTS = 128
MAX_BYTES = 200_000
_PACK_ABOVE = 20_000
# Hidden by explore.css, so seen only where a notebook drops the style of an output that it does not trust.
_PRESS = '<p class="surm-press">In JupyterLab: Run &gt; Run All Cells makes the sliders move.</p>'

View = Callable[..., Fragment | Iterable[Fragment]]


def explore(
    view: View,
    *,
    title: str | None = None,
    labels: Mapping[str, str] | None = None,
    start: Mapping[str, object] | None = None,
    **grid: Iterable[Any],
) -> "Explorable":
    """A picture with sliders: live with a kernel, precomputed on the site.

    Args:
        view: called as ``view(name=value, ...)``; returns a fragment of ``surm_lite.viz``, or several.
        title: one line above the sliders, best a question.
        labels: what the reader sees for a slider, by grid name; default the name itself.
        start: first value of a slider, by grid name; default the first of its grid.
        **grid: one slider each: the values it steps through. Words become buttons, numbers a slider.

    Returns:
        An object that a notebook shows as the widget; ``numbers()`` gives what it reads out at every grid point.

    Raises:
        ValueError: for an empty or repeated grid, an unknown name in ``labels`` or ``start``, or, on the site, more
            than 128 grid points or 200 kB.
        TypeError: if the view returns something that is not made by ``surm_lite.viz``.

    Cost:
        With a kernel one call of the view per move; on the site one per grid point, when the notebook is run.

    Example:
        >>> from surm_lite.viz import readout
        >>> square = explore(lambda n: readout(parameters=n * n), n=(2, 3))
        >>> print(square.as_text())
        n=2: parameters 4
        n=3: parameters 9

    Source:
        This book; the form of the call is that of ipywidgets' ``interact``.

    Taught in:
        04_full_rank_from_n
    """
    if not grid:
        raise ValueError("grid is empty, must name at least one slider, such as n=(8, 16, 32)")
    if not callable(view):
        raise TypeError(f"view is {view!r}, must be a function of the sliders' values")
    if title is not None and not isinstance(title, str):
        raise TypeError(f"title is {title!r}, must be one line of text")
    for name, choices in grid.items():
        if not isinstance(choices, Iterable) or isinstance(choices, str | type) or getattr(choices, "ndim", 1) != 1:
            raise TypeError(f"{name} is {choices!r}, must be the values of a slider, such as (8, 16, 32)")
    for argument, given in (("labels", labels), ("start", start)):
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(f"{argument} is {given!r}, must be a dictionary by the names of sliders")
    values = {name: list(choices) for name, choices in grid.items()}
    for name, choices in values.items():
        if not choices or len(set(map(str, choices))) < len(choices):
            raise ValueError(f"{name} is {choices!r}, must hold at least one value and none twice")
    labels, start = dict(labels or {}), dict(start or {})
    for argument, names in (("labels", labels), ("start", start)):
        if unknown := set(names) - set(values):
            raise ValueError(f"{argument} names {sorted(unknown)}, must be among the sliders {list(values)}")
    for name, value in start.items():
        if value not in values[name]:
            raise ValueError(f"start[{name!r}] is {value!r}, must be one of {values[name]}")
    return Explorable(view, title, labels, start, values)


class Explorable:
    """What ``explore`` returns; shown by a notebook or by the book."""

    def __init__(
        self, view: View, title: str | None, labels: dict[str, str], start: dict[str, object], grid: dict[str, list]
    ) -> None:
        self.view, self.title, self.grid = view, title, grid
        self.labels = {name: labels.get(name, name) for name in grid}
        self.start = {name: start.get(name, choices[0]) for name, choices in grid.items()}

    def at(self, **values: object) -> Fragment:
        """The view at one grid point, joined into one fragment."""
        try:
            made = self.view(**values)
        except TypeError as error:
            raise TypeError(f"view is {self.view!r}, which fails at {values} ({error})") from error
        parts = [made] if isinstance(made, Fragment) else list(made)
        if not all(isinstance(part, Fragment) for part in parts):
            kinds = sorted({type(part).__name__ for part in parts})
            raise TypeError(
                f"view returned {kinds}, must return fragments made by surm_lite.viz (heat, readout, mpl, ...)"
            )
        return row(*parts)

    @cached_property
    def points(self) -> list[dict[str, Any]]:
        """Every grid point, the last slider running fastest."""
        return [dict(zip(self.grid, values)) for values in itertools.product(*self.grid.values())]

    def numbers(self) -> list[dict[str, object]]:
        """The numbers read out at every grid point, in the order of ``points``."""
        return [dict(frame.numbers) for frame in self._frames]

    def as_text(self) -> str:
        """One line of numbers per grid point."""
        return _lines(self.points, self._frames)

    def as_html(self) -> str:
        """The widget for a page without a kernel: first frame readable without JavaScript, the others in a table."""
        frames = self._frames
        table = json.dumps([frame.html for frame in frames], ensure_ascii=False, separators=(",", ":"))
        packing, body = "json", table.replace("</", "<\\/")
        if len(table) > _PACK_ABOVE:
            packing, body = "gzip", base64.b64encode(gzip.compress(table.encode(), 9, mtime=0)).decode()
        if len(body) > MAX_BYTES:
            raise ValueError(
                f"the frames take {len(body):,} bytes, must be at most {MAX_BYTES:,}: "
                "use fewer grid points or smaller pictures"
            )
        first = frames[self.points.index(self.start)]
        name = html.escape(self.title or "Explorable")
        controls = "".join(self._control(name) for name in self.grid)
        return (
            f'<form class="surm-explore" autocomplete="off" aria-label="{name}">{self._heading()}'
            f'{_PRESS}<div class="surm-controls">{controls}</div><div class="surm-view">{first.html}</div>'
            '<p class="surm-status" role="status"></p>'
            f'<details class="surm-all"><summary>All positions in words</summary><pre tabindex="0">'
            f"{html.escape(_lines(self.points, frames))}</pre></details>"
            f'<script type="application/json" data-packing="{packing}">{body}</script></form>'
        )

    def _heading(self) -> str:
        return f'<p class="surm-title">{html.escape(self.title)}</p>' if self.title else ""

    @cached_property
    def _frames(self) -> list[Fragment]:
        if len(self.points) > MAX_POINTS:
            raise ValueError(f"the grid has {len(self.points)} points, must have at most {MAX_POINTS} on a page")
        return [self.at(**point) for point in self.points]

    def _control(self, name: str) -> str:
        choices, label = self.grid[name], html.escape(self.labels[name])
        shown = [html.escape(_shown(choice)) for choice in choices]
        at = choices.index(self.start[name])
        if _is_words(choices):
            buttons = "".join(
                f'<label><input type="radio" name="{html.escape(name)}" value="{i}"{" checked" * (i == at)}>'
                f"<span>{text}</span></label>"
                for i, text in enumerate(shown)
            )
            return f'<fieldset data-size="{len(choices)}"><legend>{label}</legend><div>{buttons}</div></fieldset>'
        return (
            f'<div class="surm-slider" data-size="{len(choices)}"><label><span>{label}</span>'
            f'<input type="range" min="0" max="{len(choices) - 1}" value="{at}" aria-valuetext="{shown[at]}" '
            f'data-shown="{html.escape(json.dumps([_shown(choice) for choice in choices]))}"></label>'
            f"<output>{shown[at]}</output></div>"
        )

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        if os.environ.get("SURM_BOOK") == "1":
            return {"text/html": _for_a_notebook() + self.as_html(), "text/plain": self.as_text()}
        return self.widget()._repr_mimebundle_()

    def widget(self) -> Any:
        """The live form: ipywidgets that call the view at every move."""
        try:
            import ipywidgets
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("sliders need ipywidgets: pip install 'surm-lite[book]'") from error
        controls = {}
        for name, choices in self.grid.items():
            kind = ipywidgets.ToggleButtons if _is_words(choices) else ipywidgets.SelectionSlider
            options = [(_shown(choice), choice) for choice in choices]
            controls[name] = kind(options=options, value=self.start[name], description=self.labels[name])
            controls[name].style.description_width = "initial"
        style = _static("explore.css")
        picture = ipywidgets.HTML()

        def show(_change: object = None) -> None:
            picture.value = self.at(**{name: control.value for name, control in controls.items()}).html

        for control in controls.values():
            control.observe(show, "value")
        show()
        heading = ipywidgets.HTML(f"<style>{style}</style>{self._heading()}")
        return ipywidgets.VBox([heading, *controls.values(), picture])


def _for_a_notebook() -> str:
    """Look and player, so that the frames move in a trusted notebook before anything ran; the site leaves them out."""
    style, player = _static("explore.css") + _static("quiz.css"), _static("explore.js")  # a page has one look
    return f'<style class="surm-lab">{style}</style><script class="surm-lab">{player}</script>'


def _static(name: str) -> str:
    return (files("surm_lite") / "_static" / name).read_text(encoding="utf-8")


def _lines(points: list[dict[str, Any]], frames: list[Fragment]) -> str:
    named = [" ".join(f"{name}={_shown(value)}" for name, value in point.items()) for point in points]
    return "\n".join(f"{name}: {frame.text}" for name, frame in zip(named, frames))


def _is_words(choices: list[Any]) -> bool:
    return all(isinstance(choice, str) for choice in choices)


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
