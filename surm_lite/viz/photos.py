"""Pictures of a data set, side by side."""

import base64
import html
from collections.abc import Sequence

import torch
from torch import Tensor

from surm_lite.viz.fragments import Fragment, row
from surm_lite.viz.png import picture


def photos(inputs: Tensor, captions: Sequence[str], alt: str, *, size: int = 84) -> Fragment:
    """Pictures with a few words below each.

    Args:
        inputs: uint8 of shape (count, channels, height, width), as a data set holds them; 1 or 3 channels.
        captions: one for each picture.
        alt: what they show together, for readers who cannot see them.
        size: width of each in pixels.

    Returns:
        A fragment whose text is ``alt`` and the captions.
    """
    if (
        not isinstance(inputs, Tensor)
        or inputs.dtype != torch.uint8
        or inputs.ndim != 4
        or inputs.shape[1] not in (1, 3)
    ):
        got = f"{inputs.dtype} of shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else type(inputs).__name__
        raise ValueError(f"inputs: got {got}, need torch.uint8 of shape (count, 1 or 3, height, width)")
    if len(captions) != len(inputs):
        raise ValueError(f"captions: got {len(captions)} for {len(inputs)} pictures, need one for each")
    shown = []
    for pixels, caption in zip(inputs.permute(0, 2, 3, 1).cpu().numpy(), captions):
        data, words = base64.b64encode(picture(pixels)).decode(), html.escape(caption)
        height = max(1, round(size * pixels.shape[0] / pixels.shape[1]))
        image = (
            f'<img alt="{html.escape(alt)}: {words}" width="{size}" height="{height}" '
            f'src="data:image/png;base64,{data}">'
        )
        below = f"<figcaption>{words}</figcaption>"
        shown.append(Fragment(f'<figure class="surm-figure">{image}{below}</figure>', caption))
    return Fragment(row(*shown).html, "; ".join(f"{alt}: {caption}" for caption in captions) or alt)
