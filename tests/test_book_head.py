"""The description of a page, made from its first sentences, and the one line that turns links on."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes
from sphinx.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import head  # noqa: E402  (a Sphinx extension, not a package)


@pytest.mark.parametrize(
    ("latex", "signs"),
    [
        ("n^2", "n²"),
        (r"32 \times 32", "32 × 32"),
        (r"W_{ij} = t_{i-j}", "Wᵢⱼ = tᵢ₋ⱼ"),
        (r"X X^\top", "X Xᵀ"),
        (r"\Delta W = BA", "ΔW = BA"),
    ],
)
def test_formulas_in_plain_signs(latex, signs):
    assert head.plain(latex) == signs


def test_words_of_a_paragraph_without_citations():
    paragraph = nodes.paragraph(
        "", "", nodes.Text("LoRA "), nodes.inline("", "[Hu et al., 2022]"), nodes.Text(" learns ")
    )
    paragraph += [nodes.math("", r"W_0"), nodes.Text(".\nMore.")]
    assert head.spoken(paragraph) == "LoRA learns W₀. More."


def test_whole_sentences_up_to_a_length():
    short, long = "A sentence of some words.", "x" * 130 + "."
    assert head.summary(f"{short} B{long}") == f"{short} B{long}"
    assert head.summary(f"B{long} {short}") == f"B{long}"
    assert head.summary(short) == short
    cut = head.summary("word " * 100)
    assert len(cut) <= head.LIMIT + 2
    assert cut.endswith("word …")


def config(address: str) -> SimpleNamespace:
    return SimpleNamespace(book_repository=address, html_theme_options={"path_to_docs": "book"})


def test_without_an_address_there_are_no_buttons():
    off = config("")
    head.turn_on_links(None, off)
    assert off.html_theme_options == {"path_to_docs": "book"}


def test_one_line_turns_all_links_on():
    on = config("https://github.com/somebody/a-book/")
    head.turn_on_links(None, on)
    options = on.html_theme_options
    assert options["repository_url"] == "https://github.com/somebody/a-book"
    assert options["use_repository_button"]
    assert options["use_edit_page_button"]
    assert {"binderhub_url", "colab_url"} < set(options["launch_buttons"])


@pytest.mark.parametrize("address", ["github.com/a/b", "https://github.com/a", "https://example.org/a/b"])
def test_an_address_that_gives_no_links_is_refused(address):
    with pytest.raises(ConfigError, match=r"book_repository is .* must be empty or https://github\.com/OWNER/NAME"):
        head.turn_on_links(None, config(address))
