"""Sphinx extension: a chapter whose file is called ``07b_...`` is number 7b, and its sections are 7b.1, 7b.2.

It stands below chapter 7 in ``_toc.yml``, so that those after it keep their numbers; Sphinx would count it as the next
section of that chapter.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx_external_toc.collectors import TocTreeCollectorWithStyles as Collector


def rename(env: BuildEnvironment) -> None:
    for page, numbers in env.toc_secnumbers.items():
        letter = re.match(r"0*(\d+[a-z])_", page.rsplit("/", 1)[-1])
        if not letter:
            continue
        depth = len(numbers[""])
        for anchor, number in numbers.items():
            numbers[anchor] = (letter[1], *number[depth:])
        env.titles[page]["secnumber"] = [letter[1]]
        for link in env.tocs[page].findall(nodes.reference):
            if link["anchorname"] in numbers and link["refuri"] == page:
                link["secnumber"] = list(numbers[link["anchorname"]])


def setup(app: Sphinx) -> dict[str, Any]:
    count = Collector.assign_section_numbers  # it has the last word on numbers

    def assign(self: Collector, env: BuildEnvironment) -> list[str]:
        before = env.toc_secnumbers
        changed = count(self, env)
        rename(env)
        return [page for page in changed if env.toc_secnumbers[page] != before.get(page)]

    Collector.assign_section_numbers = assign
    return {"parallel_read_safe": True, "parallel_write_safe": True}
