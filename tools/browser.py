"""Find a Chromium, start it headless, and let it see nothing but this machine."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Playwright, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_PLACES = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",  # nothing but this machine
]
MISSING = (
    "No Chromium found. Install the package `chromium` (Debian, Ubuntu: sudo apt-get install chromium), Google Chrome "
    "or Edge, or Playwright's own browser (python -m playwright install chromium); or set CHROMIUM=/path/to/it."
)


def starts(path: str) -> bool:
    """Whether this browser runs here: one without its libraries does not, nor does Ubuntu's stand-in for a snap."""
    if os.name == "nt":
        return True  # there, --version opens a window
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def find(playwright: Playwright) -> str:
    """The path of a Chromium that starts: $CHROMIUM, the system's, or Playwright's own."""
    found = [os.environ.get("CHROMIUM"), *map(shutil.which, _NAMES), *_PLACES, playwright.chromium.executable_path]
    for path in found:
        if path and Path(path).exists() and starts(path):
            return path
    raise FileNotFoundError(MISSING)


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=find(playwright), args=FLAGS)
        yield started
        started.close()


def listen(context: BrowserContext, own: tuple[str, ...]) -> list[str]:
    """A list that fills with every address asked for that does not start with one of ``own``."""
    foreign: list[str] = []
    own = (*own, "data:", "blob:")
    # a route could stop them too, but with one in place nothing is cached and every page takes twice as long
    context.on("request", lambda request: None if request.url.startswith(own) else foreign.append(request.url))
    return foreign
