"""Print the built site as one PDF: python tools/pdf.py (build the site first; a few minutes).

All chapters are put into one page, whose links then stay inside it, and a Chromium prints that: formulas typeset,
explorables as their first picture, folds open, solutions at the end. It lies beside the pages, and the first page links
to it.
"""

import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import get_browser
from browser import browser
from bs4 import BeautifulSoup, Tag
from playwright.sync_api import Browser
from sphinx_external_toc.parsing import parse_toc_yaml

from surm_lite.files import write_whole

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build" / "html"
NAME = "structured-matrices-live.pdf"
BACK_MATTER = ("glossary", "notation", "bibliography")

# Attributes that name an element of the same page.
_REFERENCES = ("for", "aria-labelledby", "aria-describedby", "aria-controls")
_LINKS = ("href", "xlink:href")
_URL = re.compile(r"url\(#([^)]+)\)")
# Of what a page loads, all styles, and of the scripts the one that sets formulas.
_SCRIPTS = "mathjax|MathJax"
_FRONT = (
    '<section class="book-front"><h1>{title}</h1><p>All chapters of the site as one document. Sliders are printed at '
    "their start; on the site they move. Solutions stand at the end.</p><h2>Contents</h2><ul>{contents}</ul></section>"
)
_STYLE = """<style>
  html, body { background: white !important; margin: 0; } .book-front ul { list-style: none; padding: 0; }
  .bd-article > section { break-before: page; } .headerlink { display: none; }
</style>"""
_READY = "() => Promise.resolve(window.MathJax?.startup.promise).then(() => document.fonts.ready).then(() => 1)"
_FOOTER = '<div style="font-size: 8px; text-align: center; width: 100%"><span class="pageNumber"></span></div>'


def main() -> None:
    if not (SITE / "index.html").exists():
        sys.exit("build the site first: make book")
    if sorry := get_browser.provide():
        sys.exit(sorry)
    toc = list(parse_toc_yaml(ROOT / "book" / "_toc.yml"))
    pages = [name for name in toc if name.startswith("part")] + [name for name in BACK_MATTER if name in toc]
    with browser() as chromium:
        write_whole(SITE / NAME, printed(chromium, SITE, pages))
    offer(SITE)
    print(f"{(SITE / NAME).relative_to(ROOT)}, {(SITE / NAME).stat().st_size / 1e6:.0f} MB")


def printed(chromium: Browser, site: Path, pages: list[str]) -> bytes:
    """The PDF of these pages of a site."""
    together = site / "_together.html"  # in the site, where its styles and fonts are
    together.write_text(joined(site, pages), encoding="utf-8")
    try:
        page = chromium.new_context(color_scheme="light").new_page()
        page.set_default_timeout(600_000)
        page.goto(together.as_uri())
        page.evaluate(
            "() => Promise.resolve(window.MathJax?.startup.promise).then(() => document.fonts.ready.then(() => 1))"
        )
        return page.pdf(
            format="A4",
            outline=True,
            tagged=True,
            print_background=True,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=_FOOTER,
            margin={"top": "18mm", "bottom": "18mm", "left": "18mm", "right": "18mm"},
        )
    finally:
        together.unlink()


def joined(site: Path, pages: list[str]) -> str:
    """One page of HTML that holds all of these, solutions last."""
    articles, solutions, contents, tags = [], [], [], {}
    for name in pages:
        soup = BeautifulSoup((site / f"{name}.html").read_bytes(), "html.parser")
        article = soup.select_one("article.bd-article")
        move_in(article, name, pages)
        title = re.sub(r"\s*#$", "", article.h1.get_text())
        contents.append(f'<li><a href="#{anchor(name)}">{title}</a></li>')
        solved = [it.extract() for it in article.select("div.solution")]
        if solved:
            solutions.append(f"<h2>{title}</h2>" + "".join(map(str, solved)))
        tags |= dict.fromkeys(loaded(soup, name))  # not every page has formulas
        articles.append(f'<section id="{anchor(name)}">{article.decode_contents()}</section>')
    if solutions:
        contents.append('<li><a href="#solutions">Solutions</a></li>')
        articles.append(f'<section id="solutions"><h1>Solutions</h1>{"".join(solutions)}</section>')
    title = soup.select_one("html > head > title").get_text().split(" — ")[-1]
    front = _FRONT.format(title=title, contents="".join(contents))
    return (
        f'<!DOCTYPE html><html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">'
        f"<title>{title}</title>{''.join(tags)}{_STYLE}</head>"
        f'<body><article class="bd-article">{front}{"".join(articles)}</article></body></html>'
    )


def anchor(page: str, ident: str = "") -> str:
    """A name for an element, or for a whole page, that no other page has."""
    return page.replace("/", "--") + (f"---{ident}" if ident else "")


def move_in(article: Tag, page: str, pages: list[str]) -> None:
    """Names made unique, links led to where their targets are now, folds opened."""
    for it in article.find_all(True):
        if it.name == "script":
            it.decompose()
            continue
        if "id" in it.attrs:
            it["id"] = anchor(page, it["id"])
        if it.name == "details":
            it["open"] = ""
        if it.name == "input" and "name" in it.attrs:
            it["name"] = anchor(page, it["name"])
        for key in set(it.attrs) & set(_REFERENCES):
            it[key] = " ".join(anchor(page, ident) for ident in it[key].split())
        for key in set(it.attrs) & set(_LINKS):
            if (link := led(it[key], page, pages)) is None:
                del it[key]
            else:
                it[key] = link
        if "src" in it.attrs:
            it["src"] = from_root(it["src"], page)
        for key, value in it.attrs.items():
            if isinstance(value, str) and "url(#" in value:
                it[key] = _URL.sub(lambda found: f"url(#{anchor(page, found[1])})", value)


def led(link: str, page: str, pages: list[str]) -> str | None:
    """A link on this page as one of the whole; none to a page that is not in it."""
    if re.match(r"[a-z]+:", link):
        return link
    target, _, ident = link.partition("#")
    to = from_root(target, page).removesuffix(".html") if target else page
    return "#" + anchor(to, ident) if to in pages else None


def from_root(address: str, page: str) -> str:
    """An address relative to a page as one relative to the site."""
    if re.match(r"[a-z]+:", address):
        return address
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), address))


def loaded(soup: BeautifulSoup, page: str) -> Iterator[str]:
    """The tags of what a page loads that are needed on paper."""
    for it in soup.head.select("link[rel=stylesheet]"):
        it["href"] = from_root(it["href"], page)
        yield str(it)
    for it in soup.head.find_all("script"):
        if re.search(_SCRIPTS, it.get("src", "") + it.get_text()):
            if "src" in it.attrs:
                it["src"] = from_root(it["src"], page)
            yield str(it)


def offer(site: Path) -> None:
    """The link on the first page."""
    index = site / "index.html"
    text = index.read_text(encoding="utf-8")
    if NAME not in text:
        link = f'<p class="book-pdf">The whole book as <a href="{NAME}">one PDF</a>.</p>'
        head, foot = text.rsplit("</article>", 1)
        write_whole(index, f"{head}{link}</article>{foot}".encode())


if __name__ == "__main__":
    main()
