"""The map of chapters: read from what chapters say they need, drawn with every chapter and no line too many."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import chapter_map  # noqa: E402  (a Sphinx extension, not a package)

CHAPTERS = chapter_map.read_all(ROOT / "book")


@pytest.fixture
def small():
    """1 <- 2 <- 3, and 3 also says that it needs 1; 7b alone."""
    needs = {"01_a": (), "02_b": ("01_a",), "03_c": ("01_a", "02_b"), "07b_d": ()}
    return {stem: chapter_map.Chapter(stem, f"part1/{stem}", f"<{stem}>", n, 30) for stem, n in needs.items()}


def test_every_chapter_says_what_it_needs_by_links():
    assert len(CHAPTERS) >= 27
    chapter_map.columns(CHAPTERS)  # raises where one needs a chapter that is missing or comes later
    for chapter in CHAPTERS.values():
        said = chapter_map._NEEDS.search((ROOT / "book" / f"{chapter.page}.md").read_text(encoding="utf-8")).group(1)
        assert not re.search(r"[Cc]hapters? \d", said), f"{chapter.stem}: a needed chapter is a link, {{doc}}`...`"
        assert 10 <= chapter.minutes <= 90


@pytest.mark.parametrize(
    ("line", "needs"),
    [
        ("You need {doc}`/part2/05_shift` and {doc}`06_more`. About 45 minutes.", ("05_shift", "06_more")),
        ("**You need** {doc}`words <05_shift>` for\n{doc}`/part2/05_shift`. **Time**: 45 minutes.", ("05_shift",)),
        ("You\nneed {doc}`05_shift`. (The end needs {doc}`07_sum`.) About 45 minutes.", ("05_shift",)),
        ("You need a pen. About 45 minutes. Then {doc}`09_next`.", ()),
    ],
)
def test_the_sentence_is_read(line, needs, tmp_path):
    page = tmp_path / "part2" / "07b_two.md"
    page.parent.mkdir()
    page.write_text(f"# What $n$ is\n\n{line}\n", encoding="utf-8")
    chapter = chapter_map.read(page)
    assert (chapter.needs, chapter.minutes, chapter.number) == (needs, 45, "7b")
    assert (chapter.title, chapter.page) == ("What n is", "part2/07b_two")
    page.write_text("# What n is\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"07b_two.md must have a title and a sentence 'You need"):
        chapter_map.read(page)


def test_columns_and_lines(small):
    assert chapter_map.columns(small) == {"01_a": 0, "02_b": 1, "03_c": 2, "07b_d": 0}
    assert chapter_map.direct(small) == {("01_a", "02_b"), ("02_b", "03_c")}, "3 needs 1 by way of 2"
    with pytest.raises(ValueError, match=r"03_c needs .*, must need chapters that come before it"):
        chapter_map.columns(dict(reversed(small.items())))


def test_the_picture_and_the_list_link_every_chapter(small):
    addresses = {stem: f"{chapter.page}.html" for stem, chapter in small.items()}
    picture, listing = chapter_map.picture(small, addresses), chapter_map.listing(small, addresses)
    assert re.findall('<a class="at-([^"]*)" href="([^"]*)">', picture) == [
        (stem.split("_")[0], address) for stem, address in addresses.items()
    ]
    assert re.findall('class="from-(.*?) to-(.*?)"', picture) == [("01", "02"), ("02", "03")]
    assert "<01_a>" not in picture + listing
    assert 'needs <a href="part1/01_a.html">1</a>, <a href="part1/02_b.html">2</a>; 30 minutes' in listing
    boxes = re.findall(r'<rect x="(\d+)" y="(\d+)"', picture)
    assert len(set(boxes)) == len(small), "no chapter lies on another"
