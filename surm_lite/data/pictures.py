"""Picture files: whatever a file is, three square planes of bytes, or a reason why not."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

FORMATS = ("PNG", "JPEG", "WEBP")
MOST_PIXELS = 100_000_000
"""A file that claims more is not opened: it could be a few bytes that unpack to a full memory."""


class UnreadableError(ValueError):
    """Why a file is not taken, in words that follow its name."""


def need_pillow(name: str) -> None:
    """ModuleNotFoundError with the way out, before anything else is done."""
    try:
        import PIL  # noqa: F401
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"{name}: reading pictures needs Pillow; pip install 'surm-lite[data]'") from None


def read_picture(path: Path, size: int) -> np.ndarray:
    """The largest square in the middle of a picture, as it is meant to be seen, at a size.

    Its rotation is that of its EXIF entry, of an animation it is the first frame, what is transparent lies on white, 16
    bits become 8, and a grey picture has three equal channels.

    Args:
        path: a PNG, JPEG or WebP file; its content tells, not its name.
        size: side in pixels.

    Returns:
        ndarray: uint8 of shape (3, size, size).

    Raises:
        UnreadableError: another format, damage, or more pixels than `MOST_PIXELS`.

    Cost:
        The decoding. A JPEG is decoded at about twice the size, not at its own.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not path.is_file():
        raise UnreadableError("no ordinary file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow suspects of a file is said by what comes of it
            with Image.open(path, formats=FORMATS) as opened:
                if opened.width * opened.height > MOST_PIXELS:
                    raise UnreadableError(f"claims {opened.width:,} x {opened.height:,} pixels, too many to unpack")
                opened.draft(None, (2 * size, 2 * size))
                opened.load()
                picture = _plain(ImageOps.exif_transpose(opened), Image)
                square = ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
                if square.mode == "RGBA":
                    square = Image.alpha_composite(Image.new("RGBA", square.size, "white"), square)
                return np.asarray(square.convert("RGB")).transpose(2, 0, 1)  # (3, size, size)
    except UnreadableError:
        raise
    except Image.DecompressionBombError:
        raise UnreadableError("claims more pixels than can be unpacked") from None
    except UnidentifiedImageError:
        raise UnreadableError("no PNG, JPEG or WebP picture" if path.stat().st_size else "empty") from None
    except Exception as error:  # a damaged file makes Pillow raise whatever its plugin does
        refused = isinstance(error, OSError) and error.strerror  # by the system
        raise UnreadableError(refused or f"damaged ({error or type(error).__name__})") from None


def _plain(picture: Any, pillow: ModuleType) -> Any:
    """A picture whose pixels can be averaged: grey, RGB or RGBA, with eight bits."""
    if picture.has_transparency_data:
        return picture.convert("RGBA")
    if picture.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        return pillow.fromarray((np.asarray(picture).clip(0, 2**16 - 1) >> 8).astype(np.uint8))
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def shown(path: Path) -> str:
    """A path as text that can be printed: bytes and letters that cannot are escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def hidden(name: str) -> bool:
    """What an operating system leaves in folders: nobody's pictures."""
    return name.startswith(".") or name.lower() in ("thumbs.db", "desktop.ini", "__macosx")


def entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What lies in a folder, by name, without what is hidden."""
    with os.scandir(folder) as found:
        yield from sorted((entry for entry in found if not hidden(entry.name)), key=lambda entry: entry.name)


def left_out(files: Iterable[tuple[str, str]]) -> str:
    """A sentence about files that were not taken, by name and reason; ten of them are named."""
    told = [f"{name} ({why})" for name, why in files]
    return ", ".join(told[:10]) + (f" and {len(told) - 10} more" if len(told) > 10 else "")


def check_left_out(name: str, where: str, files: list[tuple[str, str]], count: int, what: str = "files") -> None:
    """Says which of `count` files, or rows, were not taken: a warning for a few, a ValueError for more."""
    if not files:
        return
    told = f"{where}: {len(files)} of {count} {what} cannot be used: {left_out(files)}"
    if len(files) > max(3, count // 20):
        raise ValueError(f"{name}: {told}; mend them or move them away")
    warnings.warn(told, stacklevel=3)
