"""A slice of `make fuzz`: right answers or errors that name an argument, whatever is passed."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools" / "fuzz"))

import engine


@pytest.mark.parametrize(
    ("section", "count"),
    [
        *(("matrices", 150), ("adapters", 100), ("training", 60), ("rest", 100)),
        pytest.param("commands", 40, marks=pytest.mark.slow),
    ],
)
def test_no_silent_wrong_result_and_no_raw_traceback(section, count, own_errors, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = import_module(section)
    in_process = [target for target in module.TARGETS if "in a process of its own" not in target.name]
    tally = engine.run(in_process, module.BAD, count, seed=1)
    assert tally.silent + tally.raw == []
    assert tally.answered + tally.refused == count
    assert min(tally.answered, tally.refused) > 0


def test_the_engine_tells_the_four_outcomes_apart():
    """Its own mistakes would make every run green."""

    def half(n):
        if n == 7:
            raise KeyError("n")
        if n == 6:
            raise ValueError("something else")
        if not isinstance(n, int):
            raise TypeError(f"n is {n!r}; it must be an integer")
        return n / 2 if n != 5 else 0

    def draws(*values):
        return [lambda random, value=value: value for value in values]

    target = engine.Target(
        "half", half, {"n": lambda random: 4}, lambda a, found: None if found * 2 == a["n"] else "no"
    )
    for value, kind in ((4, "answered"), ("x", "refused"), (5, "silent"), (6, "raw"), (7, "raw")):
        tally = engine.run([target], draws(value), 30, seed=0)
        counts = {name: n if isinstance(n, int) else len(n) for name, n in vars(tally).items()}
        assert sum(counts.values()) == 30
        assert {name for name, n in counts.items() if n} == {"answered", kind}
