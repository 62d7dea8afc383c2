"""axe-core on a page of the book: asked about every kind of thing once, not about every copy of it."""

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

# axe looks for the colour behind every piece of text, and walks over the hundreds of nodes of each formula and of each
# coloured listing. Text that has the same element, class, colour, size and ground as text before it gets the same
# answer: the first of each look is marked, and formulas and listings without a mark become boxes of their size.
_MARK_LOOKS = """() => {
  const seen = new Set(), grounds = new Map([[null, ""]]);
  const ground = (it) => {
    if (!grounds.has(it)) {
      const { backgroundColor, backgroundImage, opacity, position } = getComputedStyle(it);
      const own = [backgroundColor, backgroundImage, opacity, /static|relative/.test(position) ? "" : position].join();
      grounds.set(it, ground(it.parentElement) + (own === "rgba(0, 0, 0, 0),none,1," ? "" : `|${own}`));
    }
    return grounds.get(it);
  };
  for (const it of document.body.querySelectorAll("*")) {
    if (![...it.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.data.trim())) continue;
    if (!it.checkVisibility({ visibilityProperty: true })) continue;
    const { color, fontSize, fontWeight, textShadow } = getComputedStyle(it);
    const look = [it.tagName, it.getAttribute("class"), color, fontSize, fontWeight, textShadow, ground(it)].join("/");
    if (!seen.has(look)) it.dataset.look = seen.add(look).size;
  }
  const boxes = [...document.querySelectorAll("mjx-container:not(:has([data-look]))")]
    .map((it) => [it, it.getBoundingClientRect()]);
  for (const [it, { width, height }] of boxes) {
    it.replaceChildren();
    it.style.cssText = `display: inline-block; width: ${width}px; height: ${height}px`;
  }
  for (const it of document.querySelectorAll("div.highlight pre")) {
    if (!it.querySelector("[data-look]")) it.textContent = it.textContent;
  }
  axe.configure({ rules: [{ id: "color-contrast", selector: "[data-look]" }] });
}"""


def _prepare(page: Page) -> None:
    # A colour that is still fading in is not the colour of the page.
    page.add_style_tag(content="* { transition: none !important; animation: none !important }")
    page.evaluate(AXE_SCRIPT)
    page.evaluate(_MARK_LOOKS)


def violations(page: Page, colours: bool = True, others: bool = True) -> list[str]:
    """What axe has against the page as it stands: its colours, all else, or both."""
    if not page.evaluate("'axe' in window"):
        _prepare(page)
    options: dict = {"runOnly": RULES, "resultTypes": ["violations"]}
    options["preload"] = False  # axe would fetch every style sheet once more, some from where they are not
    if not others:
        options["runOnly"] = {"type": "rule", "values": ["color-contrast"]}
    if not colours:
        options["rules"] = {"color-contrast": {"enabled": False}}
    found = page.evaluate("async (options) => (await axe.run(options)).violations", options)
    return [f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]]
