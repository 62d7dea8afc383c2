"""Small pictures in files, drawn with Pillow: three shapes that a tiny model tells apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SHAPES = ("bar", "disc", "ring")


def shape(name: str, rng: np.random.Generator, side: int = 40) -> Image.Image:
    """A bright shape on a dark ground, with some noise."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    r = np.hypot(x, y)
    inside = {"bar": abs(x) < 0.25, "disc": r < 0.6, "ring": (r > 0.55) & (r < 0.85)}[name]
    ground, ink = rng.integers(0, 90, 3), rng.integers(150, 256, 3)
    pixels = np.where(inside[..., None], ink, ground) + rng.normal(0, 8, (side, side, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def folder(path: Path, count: int = 6, *, names: tuple[str, ...] = SHAPES, seed: int = 0) -> Path:
    """A folder of pictures with a sub-folder a class, each as PNG, JPEG and WebP in turn."""
    rng = np.random.default_rng(seed)
    for name in names:
        (path / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            picture = shape(name if name in SHAPES else "disc", rng, side=int(rng.integers(30, 60)))
            picture.save(path / name / f"{k}.{('png', 'jpg', 'webp')[k % 3]}")
    return path
