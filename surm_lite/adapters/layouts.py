"""Arrangements of a model that an adapter file may presuppose, such as queries, keys and values in three layers.

Whoever knows such an arrangement puts it in ``LAYOUTS``; the file of a model says which one it had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from surm_lite.adapters.attached import methods_of
from surm_lite.adapters.names import check_model, unwrap
from surm_lite.adapters.targets import adaptable


@dataclass(frozen=True)
class Layout:
    """How a model is rearranged, and how its tensors are put back in the order of the plain model."""

    arrange: Callable[[Any], nn.Module]
    """Rearranges a plain model in place."""
    plain: Callable[[nn.Module, dict[str, Tensor]], dict[str, Tensor]]
    """Model and its ``state_dict`` -> ``state_dict`` of the plain model."""


LAYOUTS: dict[str, Layout] = {}


def layout_of(model: nn.Module) -> str | None:
    """The arrangement that a model was given; None for a plain one."""
    found: str | None = vars(unwrap(model)).get("surm_layout")
    return found


def set_layout(model: nn.Module, name: str) -> None:
    """Notes the arrangement on the model."""
    vars(model)["surm_layout"] = name


def arrange(model: nn.Module, name: str) -> None:
    """Gives a plain model an arrangement, in place."""
    if name not in LAYOUTS:
        raise ValueError(f"layout {name!r} of the file is unknown; known: {', '.join(LAYOUTS) or 'none'}")
    LAYOUTS[name].arrange(unwrap(model))


def remember(model: nn.Module) -> Callable[[], None]:
    """A function that puts back the children and arrangements which the modules of a model have now."""
    check_model(model)
    before = [(m, dict(m._modules), vars(m).get("surm_layout")) for m in model.modules()]

    def put_back() -> None:
        for module, children, layout in before:
            module._modules.update(children)
            vars(module).pop("surm_layout", None)
            if layout is not None:
                set_layout(module, layout)

    return put_back


@contextmanager
def arranged_for_a_moment(model: nn.Module, name: str) -> Iterator[None]:
    """The model in an arrangement, and afterwards as it was."""
    put_back = remember(model)
    try:
        arrange(model, name)
        yield
    finally:
        put_back()


def arrange_as(model: nn.Module, header: dict[str, Any]) -> None:
    """Gives the model the arrangement of the file's, which a file of version 0.1.0 shows by the names of its layers."""
    mine = layout_of(model)
    if "layout" in header:
        wanted = header["layout"]
    else:
        wanted = next((name for name in LAYOUTS if _fits_as(model, header, name)), mine) if mine is None else mine
    if wanted == mine:
        return
    if mine is not None or methods_of(model):
        raise ValueError(f"the model has layout {mine!r}, the file's had {wanted!r}; take a plain model")
    arrange(model, wanted)


def _fits_as(model: nn.Module, header: dict[str, Any], layout: str) -> bool:
    """Whether a plain model lacks layers that the file names, and has them in this arrangement."""
    names = header["layers"].keys()
    if methods_of(model) or names <= adaptable(model).keys():
        return False
    with arranged_for_a_moment(model, layout):
        return names <= adaptable(model).keys()
