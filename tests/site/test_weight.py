"""What a reader's line has to carry."""

import gzip
import re
from collections import Counter
from pathlib import Path

import pytest
from book_pages import documents, notebooks

PAGE, CHAPTER = 300_000, 1_000_000  # bytes, the first gzipped
LOADED = re.compile(r'<(?:script|img|link|source)\b[^>]*?\s(?:src|href)="([^":?#]+)')


@pytest.fixture(scope="module")
def loads(site) -> dict[Path, set[Path]]:
    """The files that each page loads."""
    found = {}
    for name in documents():
        page = site / f"{name}.html"
        names = LOADED.findall(page.read_text(encoding="utf-8"))  # a link to the next page loads nothing
        files = {(page.parent / name).resolve() for name in names if not name.endswith(".html")}
        found[page] = {file for file in files if file.is_file()}
    return found


def test_no_page_is_heavy(loads):
    """With what it alone loads: what several pages load is fetched once."""
    shared = Counter(file for files in loads.values() for file in files)
    assert max(shared.values()) == len(loads), "the styles are on every page"
    for page, files in loads.items():
        own = [page, *(file for file in files if shared[file] == 1)]
        weight = sum(len(gzip.compress(file.read_bytes())) for file in own)
        assert weight <= PAGE, f"{page.name}: {weight:,} bytes"


def test_the_site_is_no_heavier_than_its_chapters(site):
    chapters = [name for name in notebooks() if name.startswith("part")]
    apart = (".pdf", ".zip")
    weight = sum(file.stat().st_size for file in site.rglob("*") if file.is_file() and file.suffix not in apart)
    assert weight <= CHAPTER * len(chapters), f"{weight:,} bytes for {len(chapters)} chapters"
