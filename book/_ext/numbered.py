"""Sphinx extension: figures that code names (``mpl(..., name=, caption=)``) are numbered and can be referred to.

The caption stands in the stored output, where JupyterLab shows it too; here it becomes that of a docutils figure.
"""

import html
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

_NAMED = re.compile(
    r'(<figure class="surm-figure") data-name="(?P<name>[^"]+)"(.*)'
    r"<figcaption>(?P<caption>.*?)</figcaption>(</figure>)\Z",
    re.S,
)


# The look and the player that an explorable brings to a notebook; every page of the site has them once.
_FOR_LAB = re.compile(r'<style class="surm-lab">.*?</style><script class="surm-lab">.*?</script>', re.S)


class Numbered(SphinxTransform):
    default_priority = 400  # before the domains collect what can be referred to

    def apply(self, **_: Any) -> None:
        for raw in list(self.document.findall(nodes.raw)):
            if raw.get("format") == "html" and _FOR_LAB.search(raw.astext()):
                raw.replace_self(nodes.raw("", _FOR_LAB.sub("", raw.astext()), format="html"))
        for raw in list(self.document.findall(nodes.raw)):
            if raw.get("format") == "html" and (found := _NAMED.match(raw.astext())):
                self.wrap(raw, found)

    def wrap(self, raw: nodes.raw, found: re.Match[str]) -> None:
        name = nodes.fully_normalize_name(found["name"])
        output = next(node for node in ancestors(raw) if node.get("nb_element") == "mime_bundle")
        figure = nodes.figure("", names=[name])
        figure.source, figure.line = output.source, output.line
        self.document.note_explicit_target(figure, figure)
        output.replace_self(figure)
        caption = html.unescape(found["caption"])
        figure += [output, nodes.caption(caption, caption)]
        raw.replace_self(nodes.raw("", found.expand(r"\1\3\5"), format="html"))


def ancestors(node: nodes.Node) -> list[nodes.Element]:
    found = []
    while (node := node.parent) is not None:
        found.append(node)
    return found


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_transform(Numbered)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
