"""A matrix as a small indexed PNG whose zero is transparent, so that it sits on a light or a dark page."""

import base64
import html
from typing import Any, Literal

import numpy as np
import torch

from surm_lite.viz.fragments import Fragment
from surm_lite.viz.palette import COLOURS
from surm_lite.viz.png import indexed

Meaning = Literal["matrix", "displacement", "parameters", "error"]


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
    data = indexed(np.kron(index, np.ones((pixels, pixels), np.uint8)), _ramp(COLOURS[meaning]))
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
