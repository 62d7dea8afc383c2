"""HTML as the standard wants it: what a browser repairs in silence, a screen reader or the next browser may not."""

import re
from collections import Counter
from html.parser import HTMLParser

import pytest
from book_pages import documents

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
# What ends a paragraph that is still open, so that its closing tag closes nothing.
BLOCKS = {"address", "article", "aside", "blockquote", "details", "div", "dl", "fieldset", "figure", "footer", "form"}
BLOCKS |= {
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "main",
    "nav",
    "ol",
    "p",
    "pre",
    "section",
    "table",
    "ul",
}
CONTROLS = {"button", "input", "meter", "output", "progress", "select", "textarea"}
ACTIVE = {"a", "button", "details", "input", "label", "select", "textarea", "summary"}
ROLE = re.compile(
    r"\{(cite(:\w+)?|doc|eq|numref|ref|term)\}"
)  # of the source, where a cell wrote it and nobody read it
POINTERS = ("for", "aria-labelledby", "aria-describedby", "aria-controls", "aria-owns", "list", "form")


class Reader(HTMLParser):
    """Reads a page as strictly as XML and notes what is wrong with it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.open: list[str] = []
        self.ids: Counter[str] = Counter()
        self.pointers: list[tuple[str, str, str]] = []
        self.labelled: list[str] = []  # the controls inside the label that is open
        self.feed(page)
        self.close()
        self.wrong += [f"<{tag}> is never closed" for tag in self.open]
        self.wrong += [f"id {name!r} stands {count} times" for name, count in self.ids.items() if count > 1]
        self.wrong += [f"<{tag} {key}={to!r}>: no such id" for tag, key, to in self.pointers if to not in self.ids]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.element(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.element(tag, attributes)
        if tag not in VOID and not {"svg", "math"} & {*self.open, tag}:
            self.wrong.append(f"<{tag}/> closes nothing")

    def element(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        where = f"<{tag}> in <{'> <'.join(self.open[-3:])}>"
        given = dict(attributes)
        if len(given) < len(attributes):
            self.wrong.append(f"{where}: an attribute twice")
        if tag in BLOCKS and "p" in self.open:
            self.wrong.append(f"{where}: a paragraph ends before it")
        if tag in ACTIVE and {"a", "button", "summary"} & set(self.open) and given.get("type") != "hidden":
            self.wrong.append(f"{where}: one thing to press inside another")
        if tag == "label":
            self.labelled = []
        elif tag in CONTROLS and "label" in self.open:
            self.labelled.append(tag)
        if "id" in given:
            self.ids[given["id"] or ""] += 1
            if not given["id"] or " " in given["id"]:
                self.wrong.append(f"{where}: id {given['id']!r}")
        self.pointers += [(tag, key, to) for key in POINTERS for to in (given.get(key) or "").split()]
        if tag == "a" and (to := given.get("href") or "").startswith("#") and to != "#":
            self.pointers.append((tag, "href", to[1:]))

    def handle_data(self, data: str) -> None:
        if not {"code", "pre", "script", "style"} & set(self.open) and (role := ROLE.search(data)):
            self.wrong.append(f"{role.group()} is shown as it was written")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.wrong.append(f"</{tag}> where <{self.open[-1] if self.open else ''}> is open")
        if tag in self.open:
            while self.open.pop() != tag:
                pass
        if tag == "label" and len(self.labelled) > 1:
            self.wrong.append(f"a label of {self.labelled}")


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("<p>a<div>b</div></p>", "a paragraph ends"),
        ("<div><b>a</div>", "</div> where <b>"),
        ("<section>a", "never closed"),
        ('<b id="a"></b><i id="a"></i>', "2 times"),
        ('<label for="a">b</label>', "no such id"),
        ('<a href="#a">b</a>', "no such id"),
        ("<label><input><output></output></label>", "a label of"),
        ('<a href="x"><button>b</button></a>', "inside another"),
        ("<div/>", "closes nothing"),
        ('<i class="a" class="b"></i>', "twice"),
        ("<p>as in {cite:p}<code>hu2022lora</code></p>", "{cite:p} is shown"),
    ],
)
def test_the_reader_notices(page, said):
    assert any(said in wrong for wrong in Reader(page).wrong)
    assert not Reader('<p id="a">a<br>b<svg><path/></svg></p><label for="b">c</label><input id="b">').wrong


@pytest.mark.parametrize("name", [*documents(), "search", "genindex"])
def test_a_page_is_valid(name, site):
    assert not Reader((site / f"{name}.html").read_text(encoding="utf-8")).wrong
