"""Sphinx extension: the same pages in less time.

Pages are written by as many processes as there are cores (Jupyter Book has no option for it), and the bibliography's
plug-ins are looked up once: the lookup reads the metadata of all that is installed, a twentieth of a second a citation.
Where one page is built again, the search keeps the index entries of all others (Sphinx 7 forgets them).
"""

import functools
import os
from importlib.metadata import entry_points
from typing import Any

import pybtex.plugin
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.index_entries import split_index_msg


def write_side_by_side(app: Sphinx, env: BuildEnvironment) -> None:
    """Called between reading, which not every extension can do in parallel, and writing, which all can."""
    app.parallel = min(os.cpu_count() or 1, 8)


def keep_index_entries(app: Sphinx, env: BuildEnvironment) -> None:
    for page, entries in env.get_domain("index").entries.items():
        found = {
            (part, target, main) for kind, text, target, main, _ in entries for part in split_index_msg(kind, text)
        }
        env._search_index_index_entries.setdefault(page, sorted(found))


def setup(app: Sphinx) -> dict[str, Any]:
    pybtex.plugin.entry_points = functools.cache(entry_points)
    app.connect("env-updated", write_side_by_side)
    app.connect("env-updated", keep_index_entries)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
