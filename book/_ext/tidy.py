"""Sphinx extension: an id names one thing on a page.

Theorems, exercises and solutions put their bodies into sections that are all called alike; nothing links to them.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

_ALL_ALIKE = {"proof-content", "exercise-content", "solution-content"}


def drop_repeated(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for section in doctree.findall(nodes.section):
        section["ids"] = [name for name in section["ids"] if name not in _ALL_ALIKE]


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", drop_repeated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
