"""Paths that a user gives: every function that takes one names the argument where it can be no path."""

from __future__ import annotations

import os

import pytest
from resumable import pictures
from torch import nn

import surm_lite as sl
from surm_lite import files
from surm_lite.comparison import Arm, Comparison, Plan
from surm_lite.models import tiny_vit

PLAN = Plan("digits", {"head": Arm("head", (1e-3,), "head")}, model="tiny_vit")


def adapted() -> nn.Module:
    return sl.adapt(nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), "toeplitz", targets="1")


TAKERS = {
    "save_adapter": ("path", lambda path: sl.save_adapter(adapted(), path)),
    "load_adapter": ("path", lambda path: sl.load_adapter(nn.Sequential(nn.Linear(4, 4)), path)),
    "export": ("path", lambda path: sl.export(adapted(), path)),
    "train": ("checkpoint", lambda path: sl.train(adapted(), pictures(), checkpoint=path, progress=False)),
    "compare": ("folder", lambda path: sl.compare(PLAN, path, progress=False)),
    "from_folder": ("path", sl.data.from_folder),
    "predict": ("things", lambda path: sl.predict(tiny_vit(), [path])),
    "load": ("root", lambda path: sl.data.load("mnist5k", root=path)),
    "Record.to_json": ("path", lambda path: sl.Record({}, [], {}, "cpu").to_json(path)),
    "Comparison.to_json": ("path", lambda path: Comparison({}, [], []).to_json(path)),
    "Comparison.to_csv": ("path", lambda path: Comparison({}, [], []).to_csv(path)),
}


@pytest.mark.parametrize("name", TAKERS)
@pytest.mark.parametrize("path", [3, b"bytes", "", "a\0b", "\ud800", "a" * 300], ids=repr)
def test_what_can_be_no_path_is_refused_by_name(name, path, own_errors):
    argument, take = TAKERS[name]
    with pytest.raises(ValueError if isinstance(path, str) else TypeError, match=rf"^{argument}: got .*(path|file)"):
        take(path)


def test_all_bytes_are_on_the_disk_before_a_file_gets_its_name(tmp_path, monkeypatch):
    """Those that still wait in a buffer are not: fsync knows nothing of them."""
    path, seen, fsync = tmp_path / "a", [], os.fsync
    monkeypatch.setattr(files.os, "fsync", lambda fd: (seen.append((os.fstat(fd).st_size, path.exists())), fsync(fd)))
    files.write_whole(path, b"seven b")
    assert seen[0] == (7, False)
    assert seen[1][1], "and the name itself, by the folder"
