"""Get a Chromium for the site tests where there is none: Playwright's own, or as root on Debian the system's.

    python tools/get_browser.py

Every step has a limit of time, so that a machine without a network goes on without a browser, and says so.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import browser
from playwright.sync_api import sync_playwright

PLAYWRIGHT = [sys.executable, "-m", "playwright"]
APT = ["apt-get", "-qq", "-o", "Acquire::http::Timeout=20", "-o", "Acquire::Retries=1", "-o", "DPkg::Lock::Timeout=60"]
QUIET = {"PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT": "15000", "DEBIAN_FRONTEND": "noninteractive"}


def roads() -> Iterator[tuple[str, list[list[str]]]]:
    """What to try, one after the other: what it is, and its commands."""
    yield "Playwright's download", [[*PLAYWRIGHT, "install", "chromium"]]
    if hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        update = [*APT, "update"]
        # Ubuntu's package is a pointer to a snap; there it is the download that works, with the libraries it needs.
        yield "the system's package", [update, [*APT, "install", "-y", "--no-install-recommends", "chromium"]]
        yield "the libraries of Playwright's browser", [[*PLAYWRIGHT, "install-deps", "chromium"]]


def take(commands: list[list[str]], limit: float = 300) -> bool:
    """Run the commands up to the first that fails or takes longer than ``limit`` seconds."""
    for command in commands:
        try:
            done = subprocess.run(
                command, env=os.environ | QUIET, timeout=limit, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        if done.returncode:
            return False
    return True


def there() -> bool:
    """Whether there is a browser that starts."""
    with sync_playwright() as playwright:
        try:
            return bool(browser.find(playwright))
        except FileNotFoundError:
            return False


def provide() -> str | None:
    """None when there is a browser now, else a sentence that says what is missing."""
    if there():
        return None
    print("no Chromium found; getting one for the tests of the site", flush=True)
    tried = []
    for what, commands in roads():
        if take(commands) and there():
            return None
        tried.append(what)
    return f"The tests of the site are skipped, all else runs. Tried: {', '.join(tried)}. {browser.MISSING}"


if __name__ == "__main__":
    sys.exit(provide())
