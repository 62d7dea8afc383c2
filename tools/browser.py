"""Find a Chromium, start it headless, and let it see nothing but this machine."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Playwright, Route, sync_playwright

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
]
MISSING = (
    "No Chromium found. Install the package `chromium` (Debian, Ubuntu: sudo apt-get install chromium), Google Chrome "
    "or Edge, or Playwright's own browser (python -m playwright install chromium); or set CHROMIUM=/path/to/it."
)


def find(playwright: Playwright) -> str:
    """The path of a Chromium: $CHROMIUM, the system's, or Playwright's own."""
    found = [os.environ.get("CHROMIUM"), *map(shutil.which, _NAMES), *_PLACES, playwright.chromium.executable_path]
    for path in found:
        if path and Path(path).exists():
            return path
    raise FileNotFoundError(MISSING)


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=find(playwright), args=FLAGS)
        yield started
        started.close()


def isolate(context: BrowserContext, own: tuple[str, ...]) -> list[str]:
    """Abort every request whose address does not start with one of `own`; the list fills with what was asked for."""
    foreign: list[str] = []

    def decide(route: Route) -> None:
        url = route.request.url
        if url.startswith((*own, "data:", "blob:")):
            route.continue_()
        else:
            foreign.append(url)
            route.abort()

    context.route("**/*", decide)
    return foreign
