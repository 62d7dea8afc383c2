"""What the table of contents holds, and a tab that notes everything that goes wrong in it."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import BrowserContext, Page
from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import browser as chromium  # noqa: E402  (tools/ is a folder of scripts, not a package)


def documents() -> list[str]:
    """Every page of the book."""
    return sorted(parse_toc_yaml(ROOT / "book" / "_toc.yml"))


def notebooks() -> list[str]:
    """The pages that are notebooks."""
    return [name for name in documents() if (ROOT / "book" / f"{name}.ipynb").exists()]


@dataclass
class Visit:
    page: Page
    foreign: list[str]
    errors: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, context: BrowserContext, own: str) -> "Visit":
        """A tab that notes whatever it loads from elsewhere than ``own``."""
        visit = cls(context.new_page(), chromium.listen(context, (own,)))
        page, errors, missing = visit.page, visit.errors, visit.missing
        page.on("pageerror", lambda error: errors.append(f"{page.url}: {error}"))
        page.on("console", lambda said: errors.append(f"{page.url}: {said.text}") if said.type == "error" else None)
        page.on("response", lambda answer: missing.append(answer.url) if answer.status >= 400 else None)
        # A load that was cancelled because the tab went on to the next page is not a missing file.
        page.on("requestfailed", lambda it: missing.append(it.url) if it.failure != "net::ERR_ABORTED" else None)
        return visit

    def assert_clean(self) -> None:
        assert not self.foreign, f"requests to other hosts: {self.foreign}"
        assert not self.errors, f"script errors: {self.errors}"
        assert not self.missing, f"files not found: {self.missing}"
