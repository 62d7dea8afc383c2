"""The mistakes that `make mutants` makes: which there are, how they are drawn, which tests run, what is said."""

import ast
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("pytest_cov", reason="needs the extra [test]")
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import mutants  # noqa: E402  (tools/ is a folder of scripts, not a package)
import mutate  # noqa: E402
import reach  # noqa: E402

SOURCE = '''"""Words + words, 1 of them."""
import functools


@functools.cache
def product(c, x, n: int = 3 + 1, validation=None) -> "a + b":
    """A docstring - not a sum."""
    if n < 0:
        raise ValueError(f"n: got {n + 1}, need at least {0}")
    y = irfft(rfft(c).conj() * x, n=n)
    test = min(y, -2.5 @ c)
    check(n)
    return test if not validation or n is None else (
        validation
    )
'''
EXPECTED = {
    ("number", 6, "def product(c, x, n: int = 4 + 1, validation=None) -> \"a + b\":"),
    ("number", 6, "def product(c, x, n: int = 2 + 1, validation=None) -> \"a + b\":"),
    ("number", 6, "def product(c, x, n: int = 3 + 2, validation=None) -> \"a + b\":"),
    ("number", 6, "def product(c, x, n: int = 3 + 0, validation=None) -> \"a + b\":"),
    ("sign", 6, "def product(c, x, n: int = 3 - 1, validation=None) -> \"a + b\":"),
    ("boolean", 8, "if not (n < 0):"),
    ("comparison", 8, "if n <= 0:"),
    ("number", 8, "if n < 1:"),
    ("transform", 10, "y = irfft(rfft(c) * x, n=n)"),
    ("transform", 10, "y = irfft(rfft(c).conj() * x)"),
    ("scale", 10, "y = irfft(rfft(c).conj() / x, n=n)"),
    ("swapped word", 11, "test = max(y, -2.5 @ c)"),
    ("dropped argument", 11, "test = min(y)"),
    ("sign", 11, "test = min(y, 2.5 @ c)"),
    ("number", 11, "test = min(y, -25.0 @ c)"),
    ("order", 11, "test = min(y, c @ -2.5)"),
    ("dropped call", 12, "pass"),
    ("split", 13, "return validation if not validation or n is None else ("),
    ("boolean", 13, "return test if not (not validation or n is None) else ("),
    ("boolean", 13, "return test if validation or n is None else ("),
    ("boolean", 13, "return test if not validation and n is None else ("),
    ("comparison", 13, "return test if not validation or n is not None else ("),
    ("split", 13, "return test if not test or n is None else ("),
    ("split", 14, "test"),
}  # fmt: skip


def test_every_kind_of_mistake_and_none_in_words_or_types():
    found = mutate.candidates("f.py", SOURCE)
    assert {(one.kind, one.line, one.new.strip()) for one in found} == EXPECTED
    for one in found:
        before, after = SOURCE.splitlines(), mutate.apply(one, SOURCE).splitlines()
        assert [k for k, pair in enumerate(zip(before, after), 1) if pair[0] != pair[1]] == [one.line]
        assert one.cached  # the decorator covers them all
    assert {(one.first, one.last) for one in found if one.line == 8} == {(8, 8)}
    assert {(one.first, one.last) for one in found if one.line == 14} == {(13, 15)}


def test_the_draw_is_seeded_and_takes_the_kinds_in_turn():
    sources = {path.name: path.read_text() for path in (ROOT / "surm_lite" / "matrices").glob("[fo]*.py")}
    drawn = mutate.draw(sources, 20, seed=1)
    assert drawn == mutate.draw(sources, 20, seed=1)
    assert drawn != mutate.draw(sources, 20, seed=2)
    assert len({(one.file, one.line) for one in drawn}) == 20
    assert len({one.kind for one in drawn[:8]}) == 8
    for one in drawn:
        assert ast.dump(ast.parse(mutate.apply(one, sources[one.file]))) != ast.dump(ast.parse(sources[one.file]))


def test_moved_lines_are_found_again():
    drawn = next(one for one in mutate.candidates("f.py", SOURCE) if one.kind == "order")
    moved = mutants.today(drawn, {"f.py": "x = 1\n\n" + SOURCE})
    assert (moved.line, moved.first, moved.key) == (13, 13, drawn.key)
    assert mutants.today(drawn, {"f.py": SOURCE.replace("@ c", "@ d")}) is None
    assert mutants.today(drawn, {}) is None


def mutant(line: int, cached: bool = False) -> mutate.Mutant:
    return mutate.Mutant("f.py", line, "sign", "", "", line, line, cached)


def test_the_tests_that_reach_a_line():
    runs = ["", "t/a.py::one|run", "t/a.py::two[x|y]|run", "t/b.py::one|setup", "t/b.py::one|run", "t/c.py::red|run"]
    lines = {"f.py": {"1": [0], "2": [1, 2], "3": [3], "4": [2], "5": [5]}}
    seconds = {"t/a.py::one": 2.0, "t/a.py::two[x|y]": 1.0, "t/b.py::one": 0.5, "t/b.py::two": 0.1}
    tests = reach.Map(runs, lines, seconds)
    of_a, of_b = ["t/a.py::two[x|y]", "t/a.py::one"], ["t/b.py::two", "t/b.py::one"]
    assert tests.reaching(mutant(2)) == of_a
    assert tests.reaching(mutant(3)) == of_b  # a fixture of the whole file
    assert tests.reaching(mutant(4)) == of_a[:1]
    assert tests.reaching(mutant(4, cached=True)) == tests.reaching(mutant(1)) == [*of_b, *of_a]
    assert tests.reaching(mutant(5)) == tests.reaching(mutant(6)) == []  # a test that fails anyway, a line never run


def test_a_file_of_tables_is_reached_by_the_tests_that_name_it():
    by_name, other = "tests/test_mutate.py::one", "tests/test_guard.py::one"
    table = mutate.Mutant("surm_lite/test_the_tests_that_reach_a_line.py", 1, "number", "", "", 1, 1, False)
    assert reach.Map([""], {table.file: {"1": [0]}}, {by_name: 1.0, other: 1.0}).reaching(table) == [by_name]


@pytest.mark.slow
def test_a_small_project_from_draw_to_table(tmp_path, monkeypatch, capsys):
    """Two functions, of which one is tested, in a copy: what is caught, what survives, what is never reached."""
    monkeypatch.chdir(tmp_path)
    for folder in ("surm_lite", "tests"):
        Path(folder).mkdir()
    Path("surm_lite/__init__.py").write_text("")
    source = (
        "def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    return a - b\n\n\ndef same(a):\n    return a * 1\n"
    )
    Path("surm_lite/sums.py").write_text(source)
    Path("tests/test_sums.py").write_text(
        "from surm_lite.sums import add, same\n\ndef test_add():\n    assert add(2, 3) == 5\n    same(1)\n"
    )
    Path("pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["slow", "gpu"]\n')
    Path("equivalent.toml").write_text("")
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    monkeypatch.setattr(mutants, "KEPT", tmp_path / ".mutants")
    monkeypatch.setattr(mutants, "EQUIVALENT", tmp_path / "equivalent.toml")
    monkeypatch.setattr(sys, "argv", ["mutants.py", "--count", "3", "--jobs", "2"])
    mutants.main()
    said = capsys.readouterr().out
    kept = json.loads(Path(".mutants/seed-0-count-3.json").read_text())
    states = {result["mutant"]["line"]: result["state"] for result in kept}
    assert states == {2: "caught", 6: "not reached", 10: "survived"}
    assert "caught: 1 of 3 that are mistakes" in said
    assert "\n- return a - b\n+ return a + b" in said
    assert Path("surm_lite/sums.py").read_text() == source  # all was done in a copy

    survivor = next(result["mutant"] for result in kept if result["state"] == "survived")
    entry = {key: survivor[key] for key in ("file", "old", "new")} | {"reason": "nobody uses it"}
    Path("equivalent.toml").write_text(
        "[[equivalent]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in entry.items())
    )
    mutants.main()  # nothing is left to do
    said = capsys.readouterr().out
    assert "nobody uses it" in said
    assert "caught: 1 of 2 that are mistakes" in said
