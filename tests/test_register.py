"""A family and a method of a reader's own, registered outside the package: everything finds them."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import surm_lite as sl
from surm_lite.adapters import METHODS, Update
from surm_lite.comparison import Arm, Plan, compare
from surm_lite.comparison import run as running
from surm_lite.comparison.figure import score_figure
from surm_lite.viz import family_style
from surm_lite.viz.palette import _FAMILY_LOOK


class Negacyclic(sl.SkewCirculant):
    """A family of a reader's own; its mathematics is known."""


@dataclass
class NegacyclicUpdate(Update):
    name, paper = "negacyclic_update", "a reader's own"
    alpha: float = 1.0

    def n_params(self, m, n):
        return max(m, n)

    def begin(self, name, weight, generator):
        return {"column": torch.zeros(max(weight.shape))}

    def operator(self, m, n, tensors):
        C = Negacyclic(self.alpha * tensors["column"])
        return C if m == n else sl.Toeplitz(C.to_dense()[:m, 0], C.to_dense()[0, :n])


@pytest.fixture(autouse=True)
def registered():
    looks = dict(_FAMILY_LOOK)
    sl.register(Negacyclic)
    sl.register(NegacyclicUpdate)
    yield
    del sl.FAMILIES["negacyclic"], METHODS["negacyclic_update"]
    _FAMILY_LOOK.clear()
    _FAMILY_LOOK.update(looks)


def test_they_keep_the_contracts():
    sl.check_family(sl.FAMILIES["negacyclic"], quick=True).raise_if_failed()
    sl.check_method("negacyclic_update").raise_if_failed()


def test_the_tables_list_them():
    (row,) = [row for row in sl.methods() if row["name"] == "negacyclic_update"]
    assert (row["options"], row["paper"]) == ({"alpha": 1.0}, "a reader's own")
    assert "negacyclic" in repr(sl.families(n=8)).lower()


def test_each_has_a_look_of_its_own():
    looks = [tuple(family_style(name)[key] for key in ("color", "linestyle", "marker")) for name in _FAMILY_LOOK]
    for name in ("negacyclic", "negacyclic_update"):
        mine = tuple(family_style(name)[key] for key in ("color", "linestyle", "marker"))
        assert looks.count(mine) == 1
        assert sum(look[0] == mine[0] for look in looks) == 1


def test_a_comparison_and_its_picture_show_it(tmp_path, monkeypatch):
    monkeypatch.setattr(running.data_sets, "load", partial(running.data_sets.load, validation=40, test=40))
    arms = {"negacyclic_update": Arm("mine", (1e-3,), "negacyclic_update", seeds=(0,))}
    plan = Plan("digits", arms, model="tiny_vit", examples=(40,), epochs=1, frozen=False)
    comparison = compare(plan, tmp_path, progress=False)
    assert [row["arm"] for row in comparison.rows] == ["negacyclic_update"]
    colours = [line.get_color() for ax in score_figure(comparison).axes for line in ax.get_lines()]
    assert family_style("negacyclic_update")["color"] in colours


def test_a_file_and_the_exports_hold_it(tmp_path):
    def plain():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 4))

    model, x = sl.adapt(plain(), "negacyclic_update", "*"), torch.randn(3, 6)
    with torch.no_grad():
        for p in sl.trainable_parameters(model):
            p.normal_()
    y = model(x)
    sl.save_adapter(model, tmp_path / "mine.safetensors")
    assert torch.equal(sl.load_adapter(plain(), tmp_path / "mine.safetensors")(x), y)
    sl.export(model, tmp_path / "merged.safetensors")
    merged = plain()
    merged.load_state_dict(load_file(tmp_path / "merged.safetensors"))
    torch.testing.assert_close(merged(x), y, rtol=1e-5, atol=1e-5)
    assert sl.export(model, tmp_path / "lora", "lora").error < 1e-6


def test_another_class_of_the_same_name_is_refused():
    class Other(NegacyclicUpdate):
        pass

    with pytest.raises(ValueError, match="'negacyclic_update', which NegacyclicUpdate has already"):
        sl.register(Other)
