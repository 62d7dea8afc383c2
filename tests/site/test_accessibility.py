"""axe-core finds nothing to complain about: every page, light and dark, desktop and phone."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from book_pages import documents

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SCREENS = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 360, "height": 740}}


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe(scheme, screen, server, visit):
    tab = visit(server, color_scheme=scheme, viewport=SCREENS[screen])
    axe, found = Axe(), []
    for name in [*documents(), "search", "genindex"]:
        tab.page.goto(f"{server}{name}.html", wait_until="load")
        assert tab.page.evaluate("document.documentElement.dataset.theme") == scheme
        # What is inside a picture or a formula is one thing to a screen reader, and thousands of nodes to axe.
        whole = {"exclude": [["svg[role=img] *"], ["mjx-container *"]]}
        result = axe.run(tab.page, context=whole, options={"runOnly": RULES, "resultTypes": ["violations"]})
        for violation in result.response["violations"]:
            found += [f"{name}: {violation['id']}: {node['html'][:160]}" for node in violation["nodes"]]
    assert not found, "\n".join(found)
