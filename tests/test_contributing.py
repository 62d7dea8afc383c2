"""The worked examples of CONTRIBUTING.md run as they stand, outside the package, and what they register is found."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
GROWING = TEXT[TEXT.index("## Growing it") : TEXT.index("## Writing a chapter")]
EXAMPLES = {
    title: code
    for title, body in re.findall(r"^### Add an? (.*?)\n(.*?)(?=^### |\Z)", GROWING, re.M | re.S)
    for code in re.findall(r"^```python\n(.*?)^```", body, re.M | re.S)
}


def test_the_readme_counts_the_methods():
    from surm_lite.adapters import METHODS  # here: the shape checker must be installed before the package is imported

    assert f"lists the {len(METHODS)} methods" in (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_there_is_an_example_for_all_that_can_be_added():
    assert list(EXAMPLES) == ["family", "method", "task", "data set", "experiment"]  # a chapter is no Python file
    assert "### Add a chapter" in GROWING


@pytest.mark.slow
@pytest.mark.parametrize("what", EXAMPLES)
def test_the_example_runs(what, tmp_path):
    assert len(EXAMPLES[what].splitlines()) < 40
    file = tmp_path / "example.py"
    file.write_text(EXAMPLES[what], encoding="utf-8")
    done = subprocess.run([sys.executable, "-W", "error", file], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
