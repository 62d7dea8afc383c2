"""Take the README's picture from the real site: python tools/screenshot.py (build the site first)."""

from pathlib import Path

from browser import browser

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build" / "html"
PICTURE = ROOT / "book" / "_assets" / "screenshot.png"


def main() -> None:
    with browser() as chromium:
        context = chromium.new_context(viewport={"width": 1280, "height": 740}, color_scheme="light")
        page = context.new_page()
        page.goto(f"{SITE.as_uri()}/index.html")
        page.wait_for_function("MathJax.startup && MathJax.startup.promise.then(() => document.fonts.ready)")
        slider = page.locator("form.surm-explore input[type=range]")
        slider.press("End")
        page.locator("form.surm-explore[data-position]").wait_for()
        slider.blur()
        page.screenshot(path=PICTURE)
    print(PICTURE.relative_to(ROOT))


if __name__ == "__main__":
    main()
