"""The tests of the site get their browser themselves, one road after the other, and never wait for ever."""

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs the extra [test]")
ROOT = Path(__file__).parents[1]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    import get_browser

    yield get_browser
    for name in ("get_browser", "browser"):
        sys.modules.pop(name)


@pytest.fixture
def bare(tool, monkeypatch, tmp_path):
    """A machine on which nothing is installed; the commands that run are noted, and ``works`` says which help."""

    class Bare:
        root, apt, works, ran = True, True, (), []

        def take(self, commands):
            self.ran.append([" ".join(map(str, command[-2:])) for command in commands])
            return self.ran[-1][-1] in self.works

        def find(self, playwright):
            if self.ran and self.ran[-1][-1] in self.works:
                return "a browser"
            raise FileNotFoundError("none")

    here = Bare()
    here.ran = []
    monkeypatch.setattr(os, "geteuid", lambda: 0 if here.root else 1000)
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/x" if here.apt else None)
    monkeypatch.setattr(tool, "take", here.take)
    monkeypatch.setattr(tool.browser, "find", here.find)
    # the site tests of the same process may hold a Playwright open, and it bears no second one
    monkeypatch.setattr(tool, "sync_playwright", nullcontext)
    return here


DOWNLOAD, PACKAGE, LIBRARIES = "install chromium", "--no-install-recommends chromium", "install-deps chromium"


@pytest.mark.parametrize(
    ("works", "ran"),
    [
        (DOWNLOAD, [[DOWNLOAD]]),
        (PACKAGE, [[DOWNLOAD], ["DPkg::Lock::Timeout=60 update", PACKAGE]]),
        (LIBRARIES, [[DOWNLOAD], ["DPkg::Lock::Timeout=60 update", PACKAGE], [LIBRARIES]]),
    ],
)
def test_the_roads_are_tried_until_one_works(tool, bare, works, ran):
    bare.works = (works,)
    assert tool.provide() is None
    assert bare.ran == ran


@pytest.mark.parametrize(("root", "apt"), [(False, True), (True, False)])
def test_the_system_is_left_alone_without_root_or_apt(tool, bare, root, apt):
    bare.root, bare.apt = root, apt
    said = tool.provide()
    assert bare.ran == [[DOWNLOAD]]
    assert "tests of the site are skipped, all else runs. Tried: Playwright's download." in said
    assert "playwright install chromium" in said


def test_nothing_is_fetched_where_there_is_a_browser(tool, bare, monkeypatch):
    monkeypatch.setattr(tool.browser, "find", lambda playwright: "a browser")
    assert tool.provide() is None
    assert bare.ran == []


def test_a_command_that_hangs_or_fails_ends_its_road(tool, tmp_path):
    write = [sys.executable, "-c", f"open({str(tmp_path / 'ran')!r}, 'w')"]
    start = time.monotonic()
    assert not tool.take([[sys.executable, "-c", "import time; time.sleep(60)"], write], limit=0.5)
    assert time.monotonic() - start < 30
    assert not tool.take([[sys.executable, "-c", "raise SystemExit(1)"], write])
    assert not tool.take([["no-such-command"], write])
    assert not (tmp_path / "ran").exists()
    assert tool.take([write])
    assert (tmp_path / "ran").exists()


def test_a_browser_that_does_not_start_is_passed_over(tool, monkeypatch, tmp_path):
    class Playwright:
        class chromium:
            executable_path = tmp_path / "own"

    for name, status in (("stand-in", 1), ("own", 0)):
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {status}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "stand-in"))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(tool.browser, "_PLACES", ())
    assert tool.browser.find(Playwright) == tmp_path / "own"
    (tmp_path / "own").unlink()
    with pytest.raises(FileNotFoundError, match="No Chromium found"):
        tool.browser.find(Playwright)


SITE = """
from playwright.sync_api import sync_playwright
import pytest, sys
sys.path.insert(0, "tools")
import browser
browser._NAMES = browser._PLACES = ()
sys.exit(pytest.main(["-q", "-rs", "-p", "no:cacheprovider", "tests/site/test_jupyterlab.py"]))
"""


@pytest.mark.slow
def test_without_a_browser_the_site_is_skipped_and_the_reason_said(tmp_path):
    bare = os.environ | {"CHROMIUM": "", "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", SITE], cwd=ROOT, env=bare, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d+ skipped in", done.stdout, re.MULTILINE), "nothing passed, nothing failed"
    assert "the tests of the site need a browser: No Chromium found. Install" in done.stdout
