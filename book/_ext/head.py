"""Sphinx extension: what a page says of itself, and the way to its source.

Every page gets one description, which search engines and link previews show: the ``description`` of its front matter,
or its first sentences. ``book_repository`` in ``_config.yml`` is the one line that turns on the buttons for the
repository, for editing a page, for Colab and for Binder; empty, there is none of them.
"""

import html
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ConfigError

# The pages that Sphinx makes have no text of their own.
GENERATED = {
    "genindex": "Every function and class of the library in alphabetical order, linked to its reference.",
    "search": "Search the book and the library reference; works without a network.",
    "prf-prf": "Every definition, theorem and algorithm of the book, with a link to where it stands.",
}
LONG = 110  # characters: sentences are added until they reach it
LIMIT = 240

WITHOUT_SCRIPT = (
    '<noscript><p class="book-noscript">Without JavaScript formulas stand here as LaTeX, and an explorable shows its '
    "first picture and all its numbers in words. Text, figures, guesses and solutions are complete.</p></noscript>\n"
)

_SIGNS = {r"\times": "×", r"\Delta ": "Δ", r"\top": "T", r"\log": "log ", r"\tfrac13": "⅓ ", r"\sum": "Σ", r"\,": " "}
_SUPERSCRIPT, _SUBSCRIPT = str.maketrans("0123456789T", "⁰¹²³⁴⁵⁶⁷⁸⁹ᵀ"), str.maketrans("0123456789ij-", "₀₁₂₃₄₅₆₇₈₉ᵢⱼ₋")


def plain(latex: str) -> str:
    """A short formula in plain signs.

    >>> plain(r"W_0 + 2nr \\times n^2")
    'W₀ + 2nr × n²'
    """
    for command, sign in _SIGNS.items():
        latex = latex.replace(command, sign)
    latex = re.sub(r"\^\{?([\dT]+)\}?", lambda match: match[1].translate(_SUPERSCRIPT), latex)
    latex = re.sub(r"_\{([\dij-]+)\}|_([\dij])", lambda match: (match[1] or match[2]).translate(_SUBSCRIPT), latex)
    return re.sub(r"\s+", " ", re.sub(r"[\\{}]", "", latex)).strip()


def spoken(paragraph: nodes.paragraph) -> str:
    """The words of a paragraph: formulas in plain signs, no citations."""
    copy = paragraph.deepcopy()
    for formula in list(copy.findall(nodes.math)):
        formula.replace_self(nodes.Text(plain(formula.astext())))
    text = re.sub(r"\s*\[[^\[\]]*, \d{4}\]", "", copy.astext())
    return re.sub(r"\s+", " ", text).strip()


def summary(text: str) -> str:
    """The first sentences of a text: at least ``LONG`` characters where it has them, at most ``LIMIT``."""
    said = ""
    for sentence in re.split(r"(?<=[.?!]) (?=[A-Z])", text):
        if said and (len(said) >= LONG or len(said) + len(sentence) >= LIMIT):
            break
        said = f"{said} {sentence}".strip()
    return said if len(said) <= LIMIT else said[:LIMIT].rsplit(" ", 1)[0].rstrip(",;:") + " …"


def describe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    said = app.env.metadata.get(page, {}).get("description") or GENERATED.get(page, "")
    if not said and doctree is not None:
        said = next((summary(spoken(paragraph)) for paragraph in doctree.findall(nodes.paragraph)), "")
    if said:
        tag = f'\n<meta name="description" content="{html.escape(said)}" />'
        context["metatags"] = context.get("metatags", "") + tag


def say_what_is_missing(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """A line for readers without JavaScript, on pages that lose something."""
    body = context.get("body", "")
    if 'class="math' in body or "surm-explore" in body:
        context["body"] = WITHOUT_SCRIPT + body


def turn_on_links(app: Sphinx, config: Config) -> None:
    """From the address of the repository to the theme's options."""
    address = config.book_repository.rstrip("/")
    if not address:
        return
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", address):
        raise ConfigError(f"book_repository is {address!r}, must be empty or https://github.com/OWNER/NAME")
    config.html_theme_options |= {
        "repository_url": address,
        "repository_branch": "main",
        "use_repository_button": True,
        "use_edit_page_button": True,
        "launch_buttons": {
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
            "notebook_interface": "jupyterlab",
        },
    }


def edit_the_source(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """People edit the .md; the .ipynb, which the page is made from, is written by tools/nb.py."""
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if button.get("label") == "source-edit-button":
                button["url"] = re.sub(r"\.ipynb$", ".md", button["url"])


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("book_repository", "", "html", [str])
    app.connect("config-inited", turn_on_links)
    app.connect("html-page-context", describe)
    app.connect("html-page-context", say_what_is_missing)
    app.connect("html-page-context", edit_the_source, priority=900)  # after the theme has made its buttons
    return {"parallel_read_safe": True, "parallel_write_safe": True}
