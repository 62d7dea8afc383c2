"""The capability table: committed, complete, and true when it is probed again."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from surm_lite.adapters import METHODS
from surm_lite.adapters.methods.lora import LoRA
from surm_lite.checks.capabilities import CAPABILITIES, capabilities

ROOT = Path(__file__).parent.parent
ROWS = json.loads((ROOT / "benchmarks" / "results" / "capabilities.json").read_text())["rows"]
SLOW = ("compile", "several processes")
"""Probed in a program of its own: a compiler cannot trace the shape checker of the tests."""


def test_every_method_has_a_row_and_every_capability_a_column():
    assert list(ROWS) == list(METHODS)
    assert all(list(row) == list(CAPABILITIES) for row in ROWS.values())
    assert {type(answer) for row in ROWS.values() for answer in row.values()} == {bool}


@pytest.mark.parametrize("name", METHODS)
def test_a_row_says_what_the_method_says_of_itself(name):
    method, row = METHODS[name], ROWS[name]
    assert row["exact start"] is method.exact_at_init
    assert row["merges"] is method.mergeable
    assert row["needs data"] is ("losses" in method.needs)
    assert row["needs total steps"] is ("total_steps" in method.needs)


@pytest.mark.parametrize("name", METHODS)
def test_the_table_comes_out_again(name):
    quick = [what for what in CAPABILITIES if what not in SLOW]
    assert capabilities(name, quick) == {what: ROWS[name][what] for what in quick}


@pytest.mark.slow
def test_a_seeded_few_come_out_again_compiled_and_by_two_processes():
    few = random.Random(torch.__version__).sample(sorted(METHODS), 3)
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "capabilities.py", *few], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


class Wrong(LoRA):
    """A method that breaks one promise at a time."""

    name = "wrong"


def begin_moved(self, name, weight, generator):
    return {key: value + 0.1 for key, value in LoRA.begin(self, name, weight, generator).items()}


def watched(self, state):
    assert state.total_steps > 0


def unfinished(self, state):
    for adapter in self.layers.values():
        with torch.no_grad():
            adapter.A.fill_(torch.nan)


@pytest.mark.parametrize(
    ("what", "attribute", "value", "answer"),
    [
        ("exact start", "begin", begin_moved, False),
        ("merges", "mergeable", False, False),
        ("needs data", "needs", ("losses",), True),
        ("needs total steps", "before_step", watched, True),
        ("bfloat16", "after_step", unfinished, False),
    ],
)
def test_a_probe_sees_the_difference(what, attribute, value, answer, monkeypatch):
    monkeypatch.setitem(METHODS, "wrong", Wrong)
    assert capabilities("wrong", [what]) == {what: not answer}
    monkeypatch.setattr(Wrong, attribute, value)
    if attribute == "needs":
        monkeypatch.setattr(Wrong, "ready", lambda self: False)
    assert capabilities("wrong", [what]) == {what: answer}


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"unknown method 'lor'; did you mean .*'lora'"):
        capabilities("lor")
    with pytest.raises(ValueError, match=r"unknown capability 'merge'; did you mean .*'merges'"):
        capabilities("lora", ["merge"])
