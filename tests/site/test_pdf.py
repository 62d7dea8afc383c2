"""The book as one document: nothing of two pages is mixed up, every link leads to where it led."""

import sys

import pytest
from book_pages import ROOT
from bs4 import BeautifulSoup

sys.path.insert(0, str(ROOT / "tools"))

import pdf

PAGE = """<html><head><title>{title} — A Book</title><link rel="stylesheet" href="{up}_static/a.css"/>
<script src="{up}_static/menu.js"></script>{more}</head><body><nav><a href="elsewhere.html">menu</a></nav>
<article class="bd-article"><h1>{title}<a class="headerlink" href="#top">#</a></h1>{body}</article></body></html>"""
ONE = """<section id="top"><h2 id="why">Why one</h2><a href="#why">here</a> <a href="02.html#why">there</a>
<a href="../glossary.html">words</a> <a href="../map.html">not printed</a> <a href="https://a.b/c#d">out</a>
<label for="n">n</label><input id="n" name="k" type="radio"/><img src="../_images/x.png"/><script>alert(1)</script>
<details><summary>more</summary>folded</details><svg><clipPath id="c"></clipPath><g clip-path="url(#c)"></g></svg>
<div class="solution" id="s">Solution one, see <a href="#why">why</a></div></section>"""
TWO = (
    '<section id="top"><h2 id="why">Why two</h2><div class="solution" id="s">Solution two</div><p>After.</p></section>'
)
FORMULAS = '<script>window.MathJax = {}</script><script src="../_static/mathjax/a.js"></script>'
PAGES = ["part1/01", "part1/02", "glossary"]


@pytest.fixture
def site(tmp_path):
    (tmp_path / "part1").mkdir()
    for name, title, body, more in (
        ("part1/01", "1. One", ONE, FORMULAS),
        ("part1/02", "2. Two", TWO, ""),
        ("glossary", "Glossary", "<p>Words.</p>", ""),
        ("index", "A Book", "<p>Hello.</p>", ""),
    ):
        up = "../" if "/" in name else ""
        (tmp_path / f"{name}.html").write_text(PAGE.format(title=title, body=body, up=up, more=more), encoding="utf-8")
    return tmp_path


@pytest.fixture
def whole(site):
    return BeautifulSoup(pdf.joined(site, PAGES), "html.parser")


def link(whole, words):
    return whole.find("a", string=words).get("href")


def test_no_two_elements_have_one_name(whole):
    names = [it["id"] for it in whole.select("[id]")]
    assert len(set(names)) == len(names) == 12
    assert whole.label["for"] == whole.input["id"]
    assert whole.g["clip-path"] == f"url(#{whole.find('clippath')['id']})"


def test_links_lead_to_where_they_led(whole):
    assert whole.select_one(link(whole, "here")).get_text() == "Why one"
    assert whole.select_one(link(whole, "there")).get_text() == "Why two"
    assert whole.select_one(link(whole, "why")).get_text() == "Why one"
    assert "Words." in whole.select_one(link(whole, "words")).get_text()
    assert link(whole, "not printed") is None
    assert link(whole, "out") == "https://a.b/c#d"
    assert whole.img["src"] == "_images/x.png"


def test_it_has_a_title_contents_and_the_solutions_at_the_end(whole):
    assert whole.title.get_text() == whole.h1.get_text() == "A Book"
    listed = [(a.get_text(), a["href"]) for a in whole.select(".book-front li a")]
    assert [title for title, _ in listed] == ["1. One", "2. Two", "Glossary", "Solutions"]
    assert [whole.select_one(to).h1.get_text().rstrip("#") for _, to in listed] == [title for title, _ in listed]
    *others, last = whole.select("article > section")
    assert not any("Solution o" in it.get_text() or "Solution t" in it.get_text() for it in others)
    assert [it.get_text() for it in last.select("h2, div")] == [
        "1. One",
        "Solution one, see why",
        "2. Two",
        "Solution two",
    ]


def test_styles_and_formulas_come_along_and_nothing_else(whole):
    assert [it["href"] for it in whole.head.select("link")] == ["_static/a.css"]
    assert [it.get("src") for it in whole.select("script")] == [None, "_static/mathjax/a.js"]
    assert not whole.nav
    assert all(it.has_attr("open") for it in whole.select("details"))


def test_chromium_prints_it(site, browser):
    pypdf = pytest.importorskip("pypdf", reason="needs the extra [test]")
    (site / "part1" / "01.html").write_text(PAGE.format(title="1. One", body=ONE, up="../", more=""), encoding="utf-8")
    (site / "book.pdf").write_bytes(pdf.printed(browser, site, PAGES))
    book = pypdf.PdfReader(site / "book.pdf")
    text = [page.extract_text() for page in book.pages]
    first = {word: next(k for k, page in enumerate(text) if word in page) for word in ("Why one", "Why two", "Words.")}
    assert first == {"Why one": 1, "Why two": 2, "Words.": 3}
    assert "Solution two" in text[-1]
    assert "folded" in text[1]
    marks = {it.title: book.get_destination_page_number(it) for it in book.outline if not isinstance(it, list)}
    assert marks == {"A Book": 0, "1. One": 1, "2. Two": 2, "Glossary": 3, "Solutions": 4}
    out = [it.get_object()["/A"] for page in book.pages for it in page.get("/Annots", []) if "/A" in it.get_object()]
    assert [it["/URI"] for it in out if "/URI" in it] == ["https://a.b/c#d"]
    assert not (site / "_together.html").exists()


def test_the_first_page_offers_it_once(site):
    before = (site / "index.html").read_text(encoding="utf-8")
    for _ in range(2):
        pdf.offer(site)
    after = BeautifulSoup((site / "index.html").read_bytes(), "html.parser")
    assert [it["href"] for it in after.select("article a[href$=pdf]")] == [pdf.NAME]
    assert len(before) < len(str(after)) < len(before) + 200
