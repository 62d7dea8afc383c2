"""A chapter with a letter counts for itself, and those after it as if it were not there."""

import re
import subprocess
import sys
from pathlib import Path

EXTENSIONS = Path(__file__).resolve().parents[1] / "book" / "_ext"
CONF = f"""
import sys
sys.path.insert(0, {str(EXTENSIONS)!r})
extensions = ["myst_parser", "sphinx_external_toc", "sphinx_multitoc_numbering", "sphinx_exercise", "lettered"]
external_toc_path = "_toc.yml"
use_multitoc_numbering = numfig = True
"""
TOC = """format: jb-book
root: index
parts:
  - numbered: true
    chapters: [{file: 01_one}]
  - numbered: true
    chapters: [{file: 02_two, sections: [{file: 02b_half}]}, {file: 03_three}]
"""
PAGE = "# Title\n\n## Why\n\n```{{exercise}}\n:label: ex-{0}\ntext\n```\n"


def test_numbers(tmp_path):
    (tmp_path / "conf.py").write_text(CONF)
    (tmp_path / "_toc.yml").write_text(TOC)
    (tmp_path / "index.md").write_text("# Book\n\n{ref}`ex-02b_half`\n")
    names = ("01_one", "02_two", "02b_half", "03_three")
    for name in names:
        (tmp_path / f"{name}.md").write_text(PAGE.format(name))
    subprocess.run([sys.executable, "-m", "sphinx", "-q", "-W", tmp_path, tmp_path / "out"], check=True)
    pages = [(tmp_path / "out" / f"{name}.html").read_text("utf-8") for name in names]
    titles = [re.search(r"<title>(\S+) ", page)[1] for page in pages]
    assert titles == ["1.", "2.", "2b.", "3."]
    sections = [re.search(r'<h2><span class="section-number">(\S+) ', page)[1] for page in pages]
    assert sections == ["1.1.", "2.1.", "2b.1.", "3.1."]
    exercises = [re.search(r'caption-number">(Exercise \S+) ', page)[1] for page in pages]
    assert exercises == ["Exercise 1.1", "Exercise 2.1", "Exercise 2b.1", "Exercise 3.1"]
    assert '<span class="section-number">2b. </span>' in pages[3], "the way back to it"
    assert "Exercise 2b.1" in (tmp_path / "out" / "index.html").read_text("utf-8")
