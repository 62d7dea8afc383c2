"""From a shell, no result takes the place of what the command reads."""

from __future__ import annotations

import drawn
import pytest
import torch

import surm_lite as sl
from surm_lite import data
from surm_lite.commands import compare, export, train
from surm_lite.commands import main as cli
from surm_lite.models import ViT, ViTConfig

TABLE = ["--data", "r.csv", "--text", "review", "--label", "stars", "--model", "minilm"]
SHAPES = ["--data", "shapes", "--model", "tiny_vit"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Pictures, a table, an adapter, a folder of a model, and links to them; no work is to start."""
    monkeypatch.chdir(tmp_path)
    drawn.folder(tmp_path / "shapes", 5)
    for name in ("r.csv", "runs/comparison.csv", "base/config.json", "base/model.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("review,stars\n" + "good,1\nbad,0\n" * 5)
    model = ViT(ViTConfig(image_size=4, patch_size=2, width=8, depth=1, heads=2, num_classes=2))
    sl.save_adapter(sl.adapt(model, "toeplitz", targets="qkv"), tmp_path / "p.st")
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_model.safetensors").write_bytes((tmp_path / "p.st").read_bytes())
    (tmp_path / "link.csv").symlink_to("r.csv")
    (tmp_path / "here").symlink_to("shapes")
    monkeypatch.setattr(data, "from_csv", lambda *_, **__: sl.data.from_arrays(torch.ones(9, 3).long(), [0, 1, 1] * 3))
    for module, name in ((train, "load"), (compare, "compare"), (export, "adapted")):
        monkeypatch.setattr(module, name, lambda *args, **options: pytest.fail("work has started"))
    return tmp_path


def contents(place):
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "p.st", "./p.st"], "out: p.st is an input (adapter p.st)"),
        (["export", "p.st", "base/../p.st"], "out: base/../p.st is an input"),
        (["export", "p.st", "base/model.safetensors", "--model", "base"], "lies in an input (--model base)"),
        (
            ["export", "lora/adapter_model.safetensors", "lora", "--form", "lora"],
            "adapter_model.safetensors is an input",
        ),
        (["train", *TABLE, "--save", "r.csv"], "--save: r.csv is an input (--data r.csv)"),
        (["train", *TABLE, "--save", "link.csv"], "--save: link.csv is an input (--data r.csv)"),
        (["train", *TABLE, "--data", "link.csv", "--out", "r.csv"], "--out: r.csv is an input (--data link.csv)"),
        (["train", *SHAPES, "--save", "shapes/bar/0.png"], "--save: shapes/bar/0.png lies in an input (--data shapes)"),
        (["train", *SHAPES, "--json-log", "here/log"], "--json-log: here/log lies in an input (--data shapes)"),
        (["train", *SHAPES, "--data", "here", "--checkpoint", "shapes/x"], "--checkpoint: shapes/x lies in an input"),
        (["compare", "--methods", "head", *SHAPES, "--out", "shapes/new/runs"], "--out: shapes/new/runs lies in"),
        (["compare", "--methods", "head", *SHAPES, "--out", "shapes"], "--out: shapes is an input (--data shapes)"),
        (["compare", "--methods", "head", *SHAPES, "--figure", "shapes/x.svg"], "--figure: shapes/x.svg lies in"),
        (
            ["compare", "--methods", "head", *TABLE, "--data", "runs/comparison.csv", "--out", "runs"],
            "--out: runs/comparison.csv is an input (--data runs/comparison.csv)",
        ),
        (["compare", "--show", "runs/comparison.csv", "--figure", "x.svg"], "source: runs/comparison.csv is not"),
    ],
)
def test_an_output_is_no_input(words, said, place, capsys):
    """A check of the paths as they are written, or of the path and not what it lies in, lets some of these through."""
    before = contents(place)
    assert cli.main(words) == 2
    assert said in capsys.readouterr().err
    assert contents(place) == before


def test_a_figure_is_not_drawn_over_the_comparison(place, capsys):
    (place / "x.svg").write_text("a comparison")
    assert cli.main(["compare", "--show", "x.svg", "--figure", "x.svg"]) == 2
    assert "--figure: x.svg is an input (--show x.svg)" in capsys.readouterr().err


def test_a_place_beside_the_inputs_is_taken(place, monkeypatch):
    """Names that begin alike, and the name of a data set or model that a folder here has too."""
    began = []
    for module, name in ((train, "load"), (export, "adapted")):
        monkeypatch.setattr(module, name, lambda *args, **options: began.append(0) or "x" + 0)
    (place / "tiny_vit").mkdir()
    for words in (
        ["train", *SHAPES, "--save", "shapes.st"],
        ["train", *TABLE, "--save", "r.csv.st"],
        ["export", "p.st", "tiny_vit/x.st", "--model", "tiny_vit"],
        ["export", "p.st", "lora", "--form", "lora"],
    ):
        assert cli.main(words) == 2
    assert len(began) == 4


def test_two_outputs_are_one_by_a_link(place, capsys):
    assert cli.main(["train", *SHAPES, "--out", "a.json", "--save", "base/../a.json"]) == 2
    assert "--out, --save: are both base/../a.json" in capsys.readouterr().err


EMPTY = [
    ["inspect", ""],
    ["predict", "", "x.png"],
    ["export", "", "x"],
    ["export", "p.st", "", "--form", "lora"],
    ["train", "--save", ""],
    ["train", "--json-log", ""],
    ["compare", "--methods", "head", "--out", ""],
    ["compare", "--show", ""],
]


@pytest.mark.parametrize("words", EMPTY, ids=" ".join)
def test_an_empty_path_is_not_the_current_folder(words, place, capsys):
    """`type=Path` makes "." of it, which no later check can tell from what was asked for."""
    assert cli.main(words) == 2
    assert "got '', need a path" in capsys.readouterr().err
