"""PNG files from arrays, small and without a library."""

import struct
import zlib

import numpy as np

INDEXED, GREY, COLOUR = 3, 0, 2


def indexed(index: np.ndarray, rgba: np.ndarray) -> bytes:
    """(height, width) places in a palette of (k, 4) bytes."""
    return _png(index[..., None], INDEXED, [(b"PLTE", rgba[:, :3].tobytes()), (b"tRNS", rgba[:, 3].tobytes())])


def picture(pixels: np.ndarray) -> bytes:
    """(height, width, 1 or 3) bytes, grey or red, green and blue."""
    return _png(pixels, GREY if pixels.shape[-1] == 1 else COLOUR, [])


def _png(pixels: np.ndarray, kind: int, extra: list[tuple[bytes, bytes]]) -> bytes:
    """Rows are filtered by "up": equal rows one below the other cost almost nothing."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width, channels = pixels.shape
    flat = pixels.reshape(height, width * channels)
    up = np.diff(flat, axis=0, prepend=np.zeros((1, flat.shape[1]), np.uint8))
    rows = np.concatenate([np.full((height, 1), 2, np.uint8), up], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    parts = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, body) for name, body in parts)
