"""Small files, reasons beside skips, and nothing that belongs to one machine."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = sorted(ROOT.glob("surm_lite/**/*.py"))
TEXT = {".py", ".md", ".ipynb", ".toml", ".yml", ".cff", ".cfg", ".css", ".js", ".json", ".bib", ".svg", ""}


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout, so there is no list of the project's own files")
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_library_files_are_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("room", ["training", "comparison", "commands"])
def test_what_is_trained_for_is_said_by_the_task_alone(room):
    words = re.compile(r"cross.?entropy|\bimages?\b|\bclasses\b|\baccurac", re.I)
    found = {p.name: words.findall(p.read_text(encoding="utf-8")) for p in (ROOT / "surm_lite" / room).glob("*.py")}
    assert found
    assert not any(found.values()), found


def test_nothing_names_a_machine():
    """No home or work folders of whoever built this, in sources or in stored outputs."""
    folders = re.compile(r"(?<![\w.])/(?:home|root|Users|work|tmp|mnt|var)/\w+|[A-Z]:\\\\Users")
    allowed = {"tests/style/test_sources.py"}
    found = []
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in TEXT and name not in allowed:
            text = path.read_text(encoding="utf-8", errors="ignore")
            found += [f"{name}: {match.group()}" for match in folders.finditer(text)]
    assert not found, found


def test_every_skip_has_a_reason():
    for path in ROOT.glob("tests/**/*.py"):
        text = path.read_text(encoding="utf-8")
        for call in re.finditer(
            r"(?:pytest\.skip|mark\.skip|mark\.skipif|mark\.xfail|importorskip)\b(.{0,200})", text, re.S
        ):
            if path != Path(__file__):
                said = re.match(r"\(\s*f?[\"'].{8,}|.{0,160}reason\s*=\s*f?[\"'].{8,}", call.group(1), re.S)
                assert said, f"{path.relative_to(ROOT)}: {call.group()[:80]}"


def test_a_foreign_load_would_be_found(tmp_path):
    """The check that the build runs on every page can fail."""
    import sys

    sys.path.insert(0, str(ROOT / "tools"))
    import book

    bad = [
        '<script async src="https://cdn.example/x.js"></script>',
        "<img alt='' src='//img.example/a.png'>",
        '<link rel="stylesheet" href="http://font.example/a.css">',
        "<style>@import 'https://a.example/x.css';</style>",
        '<div style="background:url(https://a.example/x.png)"></div>',
    ]
    good = ['<a href="https://example.org">a link is fine</a>', '<link rel="license" href="https://example.org/by">']
    for number, line in enumerate([*bad, *good]):
        (tmp_path / f"{number}.html").write_text(line)
    found = {entry.split(".")[0] for entry in book.foreign_loads(tmp_path)}
    assert found == {str(number) for number in range(len(bad))}
