"""What the explorables of a page show, beside what the notebook says that they show."""

import re
from pathlib import Path

import nbformat
from playwright.sync_api import Locator


def of_notebook(path: Path) -> list[list[str]]:
    """What each explorable says at each of its positions: the text beside it, which nbval holds against a fresh run."""
    outputs = [output for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]
    shown = [output.data for output in outputs if 'class="surm-explore"' in output.get("data", {}).get("text/html", "")]
    return [data["text/plain"].splitlines() for data in shown]


# Reads all positions in one go: sets the controls, tells the page as a user's hand does, waits for the frame.
READ_ALL = """async (form) => {
  const controls = [...form.querySelectorAll("[data-size]")];
  const sizes = controls.map((c) => Number(c.dataset.size));
  const frames = [];
  for (let at = 0; at < sizes.reduce((a, b) => a * b, 1); at++) {
    let rest = at;
    for (let i = controls.length - 1; i >= 0; i--) {
      const inputs = controls[i].querySelectorAll("input"), k = rest % sizes[i];
      rest = (rest - k) / sizes[i];
      if (inputs[0].type === "radio") inputs[k].checked = true; else inputs[0].value = k;
    }
    controls[0].querySelector("input").dispatchEvent(new Event("input", { bubbles: true }));
    while (form.dataset.position !== String(at)) await new Promise((r) => setTimeout(r, 2));
    frames.push(READ(form));
  }
  return frames;
}"""
READ = """((form) => {
  const all = (selector, read) => [...form.querySelectorAll(selector)].map(read), picture = "img, svg[role=img]";
  return {
    at: all("[data-size]", (c) => c.querySelector("output, input:checked + span").textContent),
    numbers: all(".surm-view dl > div", (pair) => [...pair.children].map((part) => part.innerText)),
    pictures: all(picture, (p) => p.outerHTML),
    names: all(picture, (p) => p.alt ?? p.ariaLabel),
  };
})"""


def read_all(form: Locator) -> list[dict]:
    """What an explorable of a page shows at each of its positions, in order."""
    return form.evaluate(READ_ALL.replace("READ(form)", f"{READ}(form)"))


def compare(frames: list[dict], lines: list[str]) -> None:
    """Every frame has the position, the pictures and the numbers of its line."""
    assert len(frames) == len(lines)
    for frame, line in zip(frames, lines):
        position = " ".join(rf"\w+={re.escape(choice)}" for choice in frame["at"])
        found = re.fullmatch(f"{position}: (.*)", line)
        assert found, f"{line}: shown at {frame['at']}"
        said = found[1]
        assert all(frame["names"]), f"{line}: a picture without words"
        missing = [name for name in frame["names"] if name not in said]
        assert not missing, f"{line}: not of the pictures {missing}"
        numbers = ", ".join(f"{name} {value}" for name, value in frame["numbers"])
        assert numbers in said, f"{line}: shown {numbers}"
