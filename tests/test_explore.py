"""An explorable: the right frame for every position, small, escaped, the same live and stored."""

import base64
import gzip
import json
import re
from html.parser import HTMLParser

import pytest
import torch

from surm_lite import explore
from surm_lite.viz import heat, note, readout


def table(page: str) -> list[str]:
    """The frames as the player unpacks them."""
    packing, body = re.search(
        r'<script type="application/json" data-packing="(\w+)">(.*?)</script>', page, re.S
    ).groups()
    return json.loads(body if packing == "json" else gzip.decompress(base64.b64decode(body)))


def grid_view(n, family):
    return readout(parameters=n, letters=family)


def test_frames_are_in_the_order_of_the_player():
    shown = explore(grid_view, n=(1, 2, 3), family=("a", "b"))
    frames = table(shown.as_html())
    assert [re.findall(r"<dd>(.*?)</dd>", frame) for frame in frames] == [
        ["1", "a"], ["1", "b"], ["2", "a"], ["2", "b"], ["3", "a"], ["3", "b"],
    ]  # fmt: skip
    assert shown.numbers()[3] == {"parameters": 2, "letters": "b"}
    assert shown.as_text().splitlines()[3] == "n=2 family=b: parameters 2, letters b"


def test_page_starts_at_start_and_says_where_it_is():
    page = explore(grid_view, n=(1, 2, 3), family=("a", "b"), start={"n": 2, "family": "b"}).as_html()
    assert re.search(r'<input type="range" min="0" max="2" value="1" aria-valuetext="2"', page)
    assert "<output>2</output>" in page
    assert re.search(r'value="1" checked><span>b</span>', page)
    assert re.search(r'<div class="surm-view"><div class="surm-row"><dl.*?<dd>2</dd>.*?<dd>b</dd>', page)


def test_small_tables_are_plain_and_large_ones_packed(rng):
    assert 'data-packing="json"' in explore(grid_view, n=(1, 2), family=("a",)).as_html()
    pictures = explore(lambda n: heat(torch.randn(32, 32, generator=rng), "noise"), n=range(9))
    page = pictures.as_html()
    assert 'data-packing="gzip"' in page
    assert len(table(page)) == 9


def test_the_page_is_the_same_bytes_every_time():
    made = [explore(lambda n: heat(torch.eye(n), "eye"), n=range(1, 60)).as_html() for _ in range(2)]
    assert made[0] == made[1]


class Balanced(HTMLParser):
    """Fails where a tag is closed that is not open."""

    void = {"input", "img"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("many", [1, 40])
def test_nothing_a_view_says_can_break_the_page(many):
    nasty = "</script><b>&\"'"
    shown = explore(
        lambda n, word: [readout(**{nasty: nasty}), note(nasty * many * n)],
        title=nasty,
        labels={"n": nasty, "word": nasty},
        n=range(1, 9),
        word=(nasty, "plain"),
    )
    page = shown.as_html()
    assert page.count("</script>") == 1
    assert "<b>" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert len(table(page)) == 16


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "grid is empty"),
        ({"n": ()}, r"n is \[\], must hold at least one value"),
        ({"n": (1, 1)}, "none twice"),
        ({"n": (1, 2), "labels": {"m": "size"}}, r"labels names \['m'\], must be among the sliders \['n'\]"),
        ({"n": (1, 2), "start": {"m": 1}}, r"start names \['m'\]"),
        ({"n": (1, 2), "start": {"n": 3}}, r"start\['n'\] is 3, must be one of \[1, 2\]"),
    ],
)
def test_bad_grids_are_named(arguments, says):
    with pytest.raises(ValueError, match=says):
        explore(lambda n: readout(n=n), **arguments)


def test_too_much_for_a_page_is_refused_but_fine_with_a_kernel():
    many = explore(lambda n: readout(n=n), n=range(129))
    with pytest.raises(ValueError, match="129 points, must have at most 128"):
        many.as_html()
    assert many.at(n=128).numbers == {"n": 128}
    heavy = explore(lambda n: [heat(torch.randn(99, 99), "noise", size=99) for _ in range(9)], n=range(9))
    with pytest.raises(ValueError, match=r"the frames take [\d,]+ bytes, must be at most 200,000"):
        heavy.as_html()


def test_a_view_must_return_fragments():
    with pytest.raises(TypeError, match=r"view returned \['int'\]"):
        explore(lambda n: [n], n=(1,)).as_html()


def test_stored_form_is_the_page_and_the_numbers(monkeypatch):
    monkeypatch.setenv("SURM_BOOK", "1")
    shown = explore(grid_view, n=(1, 2), family=("a",))
    stored = shown._repr_mimebundle_()
    assert stored["text/plain"] == shown.as_text()
    # A trusted notebook needs the look and the player; one that drops them shows what to press.
    look, player = re.fullmatch(
        '<style class="surm-lab">(.*)</style><script class="surm-lab">(.*)</script>' + re.escape(shown.as_html()),
        stored["text/html"],
        re.S,
    ).groups()
    assert "DecompressionStream" in player
    assert ".surm-press {\n  display: none;" in look
    assert ".surm-quiz {" in look  # the questions of the same chapter
    assert "</" not in look + player
    assert 'class="surm-press">In JupyterLab: Run &gt; Run All Cells' in shown.as_html()


def test_a_label_names_one_control():
    page = explore(grid_view, n=(1, 2, 3), family=("a", "b")).as_html()
    labels = re.findall(r"<label\b.*?</label>", page, re.S)
    assert len(labels) == 3
    assert all(len(re.findall(r"<(?:input|output|select|button)\b", label)) == 1 for label in labels)


def test_live_form_follows_its_sliders(monkeypatch):
    monkeypatch.delenv("SURM_BOOK", raising=False)
    shown = explore(grid_view, n=(1, 2, 3), family=("a", "b"), labels={"n": "Size"}, start={"n": 2})
    assert "application/vnd.jupyter.widget-view+json" in shown._repr_mimebundle_()
    _, size, family, picture = shown.widget().children
    assert size.description == "Size"
    assert picture.value == shown.at(n=2, family="a").html
    size.value, family.value = 3, "b"
    assert picture.value == shown.at(n=3, family="b").html


def test_float_positions_are_shown_short():
    assert 'aria-valuetext="0.1"' in explore(lambda f: readout(f=f), f=(0.1, 1.0)).as_html()
