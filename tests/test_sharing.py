"""The tests run in several processes: what shares something slow to make stays in one of them."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SITE = "tests/site/test_pages.py::test_every_picture_has_words"
CELL = "book/part1/01_low_rank.ipynb::Cell 3"


@pytest.mark.parametrize(
    ("nodeid", "group", "part"),
    [
        (SITE, "site", "site"),
        ("tests/site/test_jupyterlab.py::test_a", "tests/site/test_jupyterlab.py", "site"),
        (CELL, CELL.split("::")[0], "notebooks"),
        ("tests/test_comparison.py::test_a[x::y]", "tests/test_comparison.py", "tests"),  # one comparison for the file
        ("tests/test_fft.py::test_a[x::y]", "tests/test_fft.py::test_a[x::y]", "tests"),
        ("tests/contract/test_families.py::test_a", "tests/contract/test_families.py::test_a", "contract"),
        ("surm_lite/files.py::surm_lite.files.f", "surm_lite/files.py::surm_lite.files.f", "doctests"),
    ],
)
def test_groups_and_parts(nodeid, group, part, pytestconfig):
    conftest = pytestconfig.pluginmanager.get_plugin(str(ROOT / "conftest.py"))
    assert conftest._group(nodeid, ROOT) == group
    assert conftest._part(nodeid) == part


def test_as_many_processes_as_cores(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    monkeypatch.delitem(sys.modules, "test", raising=False)
    import test as tool

    for cores, wanted in ((1, 2), (2, 2), (6, 6), (64, 8)):
        monkeypatch.setattr(tool.os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        assert tool.processes() == wanted
    sys.modules.pop("test")
