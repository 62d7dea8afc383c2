"""One browser, one server and one build for all site tests."""

import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from book_pages import ROOT, Visit, chromium
from playwright.sync_api import Browser, BrowserContext, sync_playwright


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def site() -> Path:
    """The built site; nothing is done if it is up to date."""
    subprocess.run([sys.executable, ROOT / "tools" / "book.py"], check=True)
    return ROOT / "_build" / "html"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def server(site: Path) -> Iterator[str]:
    """The address of the site on loopback."""
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        try:
            path = chromium.find(playwright)
        except FileNotFoundError as error:
            pytest.skip(f"the tests of the site need a browser: {error}")
        started = playwright.chromium.launch(executable_path=path, args=chromium.FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def visit(browser: Browser) -> Iterator:
    """Opens tabs: ``visit(own_address, **context_options)``; they close with the module."""
    contexts: list[BrowserContext] = []

    def start(own: str, **options: object) -> Visit:
        contexts.append(browser.new_context(**options))
        return Visit.of(contexts[-1], own)

    yield start
    for context in contexts:
        context.close()
