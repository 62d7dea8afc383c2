"""axe-core finds nothing to complain about: every page, light and dark, desktop and phone."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from book_pages import documents

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SCREENS = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 360, "height": 740}}
EVERYTHING = "part1/01_low_rank"  # the one chapter whose code is measured token by token: the others look the same


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe(scheme, screen, server, visit):
    tab = visit(server, color_scheme=scheme, viewport=SCREENS[screen], reduced_motion="reduce")
    axe, found = Axe(), []
    for name in [*documents(), "search", "genindex"]:
        tab.page.goto(f"{server}{name}.html", wait_until="load")
        assert tab.page.evaluate("document.documentElement.dataset.theme") == scheme
        # A colour that is still fading in is not the colour of the page.
        tab.page.add_style_tag(content="* { transition: none !important; animation: none !important }")
        tab.page.evaluate("() => document.fonts.ready.then(() => new Promise(requestAnimationFrame))")
        # A formula is one thing to a reader and hundreds of nodes to axe; so is a coloured listing.
        skip = [["mjx-container"]] + ([] if name == EVERYTHING else [["div.cell_input pre"]])
        # Width changes no colour, and measuring colours is most of the time.
        slow = {"color-contrast": {"enabled": screen == "desktop" or name in ("index", EVERYTHING)}}
        options = {"runOnly": RULES, "resultTypes": ["violations"], "rules": slow}
        for violation in axe.run(tab.page, context={"exclude": skip}, options=options).response["violations"]:
            found += [f"{name}: {violation['id']}: {node['html'][:160]}" for node in violation["nodes"]]
    assert not found, "\n".join(found)
