"""A folder of one's own pictures: what is read, how it is cut, what is left out and what is refused."""

from __future__ import annotations

import os
import struct
import sys
import warnings
import zlib
from pathlib import Path

import drawn
import numpy as np
import pytest
import torch
from PIL import Image

from surm_lite.commands import main as cli
from surm_lite.data import LabelledSet, folder, from_folder, load, memory, pictures, prepare
from surm_lite.data.pictures import UnreadableError, read_picture

SIZE = 16
RED, BLUE = (200, 30, 30), (30, 30, 200)


def halves(width: int = 64, height: int = 64) -> Image.Image:
    """Red on the left, blue on the right."""
    picture = Image.new("RGB", (width, height), RED)
    picture.paste(BLUE, (width // 2, 0, width, height))
    return picture


def near(pixels: np.ndarray, colour: tuple[int, ...], off: int = 12) -> bool:
    return bool((abs(pixels.reshape(3, -1).mean(1) - np.array(colour)) < off).all())


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "odd name"])
def test_a_picture_is_read_by_its_content(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    halves().save(path, {"jpg": "JPEG", "odd name": "PNG"}.get(kind, kind.upper()), quality=95)
    read = read_picture(path, SIZE)
    assert (read.shape, read.dtype) == ((3, SIZE, SIZE), np.uint8)
    assert near(read[:, :, :6], RED)
    assert near(read[:, :, 10:], BLUE)


@pytest.mark.parametrize(("width", "height"), [(200, 40), (40, 200)])
def test_the_square_in_the_middle_is_kept_and_nothing_is_squashed(tmp_path, width, height):
    picture = Image.new("RGB", (width, height), "white")
    x, y = width // 2 - 20, height // 2 - 20
    picture.paste(RED, (x, y, x + 40, y + 40))
    picture.save(tmp_path / "a.png")
    assert near(read_picture(tmp_path / "a.png", SIZE), RED)


@pytest.mark.parametrize(
    ("orientation", "where"),
    [(1, np.s_[:, :, :6]), (2, np.s_[:, :, 10:]), (3, np.s_[:, :, 10:]), (6, np.s_[:, :6]), (8, np.s_[:, 10:])],
)
@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_rotation_by_exif(tmp_path, orientation, where, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    halves().save(tmp_path / f"a.{kind}", exif=exif, quality=95)
    assert near(read_picture(tmp_path / f"a.{kind}", SIZE)[where], RED)


def test_damage_in_exif_does_not_cost_the_picture(tmp_path):
    halves().save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\0\xff" + bytes(range(200)), quality=95)
    assert near(read_picture(tmp_path / "a.jpg", SIZE)[:, :, :6], RED)


def test_every_way_to_store_colours(tmp_path):
    rgba = Image.new("RGBA", (32, 32), (*RED, 255))
    rgba.paste((0, 0, 0, 0), (0, 0, 16, 32))
    palette = Image.new("P", (32, 32), 1)
    palette.putpalette([0, 0, 0, *RED])
    clear = palette.copy()
    clear.info["transparency"] = 1
    grey = {"L": Image.new("L", (32, 32), 100), "LA": Image.new("LA", (32, 32), (100, 255))}
    for name, made, half, wanted in (
        ("rgba.png", rgba, np.s_[:, :, :6], (255, 255, 255)),
        ("rgba.webp", rgba, np.s_[:, :, 10:], RED),
        ("palette.png", palette, np.s_[:], RED),
        ("clear.png", clear, np.s_[:], (255, 255, 255)),
        ("grey.png", grey["L"], np.s_[:], (100,) * 3),
        ("grey_alpha.png", grey["LA"], np.s_[:], (100,) * 3),
        ("bits.png", Image.new("1", (32, 32), 1), np.s_[:], (255,) * 3),
        ("print.jpg", Image.new("CMYK", (32, 32), (0, 255, 255, 40)), np.s_[:], (215, 0, 0)),
        ("deep.png", Image.fromarray(np.full((32, 32), 100 * 257, np.uint16)), np.s_[:], (100,) * 3),
    ):
        made.save(tmp_path / name)
        assert near(read_picture(tmp_path / name, SIZE)[half], wanted), name


def test_an_animation_is_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (32, 32), colour) for colour in (RED, BLUE)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    assert near(read_picture(tmp_path / "a.webp", SIZE), RED)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(side: int) -> bytes:
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [10_001, 30_000, 200_000])
def test_a_bomb_is_not_unpacked(tmp_path, side, monkeypatch):
    (tmp_path / "a.png").write_bytes(bomb(side))
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(UnreadableError, match=r"claims .* pixels"):
        read_picture(tmp_path / "a.png", SIZE)


def half(path: Path) -> bytes:
    halves().save(path, quality=95)
    return path.read_bytes()[: path.stat().st_size // 2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda p: b"", "empty"),
        (lambda p: b"hello", "no PNG, JPEG or WebP picture"),
        (lambda p: b"GIF89a" + bytes(100), "no PNG, JPEG or WebP picture"),
        (lambda p: half(p.with_suffix(".jpg")), "damaged"),
        (lambda p: half(p.with_suffix(".png")), "damaged"),
        (lambda p: half(p.with_suffix(".webp")), "damaged|no PNG"),
        (lambda p: bomb(30)[:45], "damaged"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path, content, words):
    path = tmp_path / "a"
    path.write_bytes(content(tmp_path / "b"))
    with pytest.raises(UnreadableError, match=words):
        read_picture(path, SIZE)


def keys(part) -> set[bytes]:
    return {one.numpy().tobytes() for one in part.inputs}


def test_a_folder_is_cut_class_by_class_by_a_seed(tmp_path):
    drawn.folder(tmp_path, 10)
    data = from_folder(tmp_path, size=SIZE)
    assert data.classes == ("bar", "disc", "ring")
    assert data.train.inputs.shape == (18, 3, SIZE, SIZE)
    for part, each in (("train", 6), ("validation", 2), ("test", 2)):
        assert getattr(data, part).labels.bincount().tolist() == [each] * 3
    assert len(keys(data.train) | keys(data.validation) | keys(data.test)) == 30
    again, other = from_folder(tmp_path, size=SIZE), from_folder(tmp_path, size=SIZE, seed=1)
    assert torch.equal(again.train.inputs, data.train.inputs)
    assert keys(other.test) != keys(data.test)
    assert sorted(data.train.labels[:3].tolist()) == [0, 1, 2]  # a slice of it is stratified too
    more = from_folder(tmp_path, size=SIZE, validation=0.1, test=0.5)
    assert [len(part) for part in more.parts.values()] == [12, 3, 15]


def test_labels_belong_to_their_pictures(tmp_path):
    for name, colour in (("red", RED), ("blue", BLUE)):
        (tmp_path / name).mkdir()
        for k in range(5):
            Image.new("RGB", (20, 20), colour).save(tmp_path / name / f"{k}.png")
    data = from_folder(tmp_path, size=SIZE)
    for part in data.parts.values():
        for picture, label in zip(part.inputs, part.labels):
            assert near(picture.numpy(), {"red": RED, "blue": BLUE}[data.classes[label]])


def test_parts_that_have_a_folder_are_kept_and_others_cut(tmp_path):
    drawn.folder(tmp_path / "train", 10, seed=0)
    drawn.folder(tmp_path / "VAL", 2, seed=1, names=("bar", "disc"))
    data = from_folder(tmp_path, size=SIZE)
    assert [len(part) for part in data.parts.values()] == [24, 4, 6]
    assert data.validation.labels.bincount(minlength=3).tolist() == [2, 2, 0]
    own = from_folder(drawn.folder(tmp_path / "other", 10, seed=1), size=SIZE)
    assert not keys(data.validation) & keys(data.train)
    assert own.name == "other"
    drawn.folder(tmp_path / "test", 3, seed=2)
    (tmp_path / "other").rename(tmp_path.with_name("away"))
    assert [len(part) for part in from_folder(tmp_path, size=SIZE).parts.values()] == [30, 4, 9]


def test_a_class_may_be_called_train(tmp_path):
    data = from_folder(drawn.folder(tmp_path, 5, names=("train", "test")), size=SIZE)
    assert data.classes == ("test", "train")


def test_grey_pictures_have_one_channel_and_any_colour_makes_three(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for k in range(4):
            Image.new("L", (20, 20), 40 * k).save(tmp_path / name / f"{k}.png")
    assert from_folder(tmp_path, size=SIZE).train.inputs.shape[1:] == (1, SIZE, SIZE)
    Image.new("RGB", (20, 20), RED).save(tmp_path / "a" / "red.png")
    assert from_folder(tmp_path, size=SIZE).train.inputs.shape[1:] == (3, SIZE, SIZE)


def test_a_few_files_that_cannot_be_used_are_left_out_and_named(tmp_path):
    drawn.folder(tmp_path, 5)
    (tmp_path / "bar" / "broken.jpg").write_bytes(half(tmp_path / "half.jpg"))
    (tmp_path / "half.jpg").unlink()
    (tmp_path / "disc" / "notes.txt").write_text("not a picture")
    (tmp_path / "labels.csv").write_text("a,b")
    for name in (".DS_Store", "Thumbs.db"):
        (tmp_path / "ring" / name).write_bytes(b"nobody's")
    with pytest.warns(UserWarning, match="3 of 18 files cannot be used") as told:
        data = from_folder(tmp_path, size=SIZE)
    (said,) = (str(one.message) for one in told)
    for words in ("bar/broken.jpg (damaged", "disc/notes.txt (no PNG", "labels.csv (in no folder of a class)"):
        assert words in said
    assert sum(len(part) for part in data.parts.values()) == 15
    (tmp_path / "disc" / "more.txt").write_text("one too many")
    with pytest.raises(ValueError, match=r"path: .*4 of 19 files cannot be used: .*more.txt.*; mend them or move"):
        from_folder(tmp_path, size=SIZE)


@pytest.mark.skipif(os.name != "posix", reason="needs links, pipes and names of bytes")
def test_links_and_pipes_are_not_followed(tmp_path):
    root = drawn.folder(tmp_path / "root", 4)
    outside = drawn.folder(tmp_path / "outside", 4, seed=9)
    (root / "bar" / "link.png").symlink_to(outside / "bar" / "0.png")
    (root / "more").symlink_to(outside / "bar")
    os.mkfifo(root / "disc" / "pipe")
    with pytest.warns(UserWarning, match=r"3 of 15 files .*more \(a link\).*link.png \(a link\).*pipe \(no ordinary"):
        data = from_folder(root, size=SIZE)
    assert data.classes == drawn.SHAPES
    assert sum(len(part) for part in data.parts.values()) == 12
    (tmp_path / "there").symlink_to(root)  # the folder itself may be reached by one
    (root / "more").unlink()
    with pytest.warns(UserWarning, match="2 of 14"):
        assert from_folder(tmp_path / "there", size=SIZE).name == "root"


@pytest.mark.skipif(os.name != "posix", reason="needs links, pipes and names of bytes")
def test_odd_names(tmp_path):
    drawn.folder(tmp_path, 3, names=("été", "a b", "new\nline", "日本"))
    (tmp_path / "a b" / "0.png").rename(tmp_path / "a b" / os.fsdecode(b"\xff\xfe.png"))
    (tmp_path / "日本").rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9t"))
    data = from_folder(tmp_path, size=SIZE)
    assert data.classes == ("\\xe9t", "a b", "new\\nline", "été")
    assert [len(part) for part in data.parts.values()] == [4, 4, 4]


def refuse(path: Path, words: str, **arguments) -> None:
    warnings.simplefilter("ignore")  # for this test alone: pytest puts it back
    with pytest.raises(ValueError, match=words):
        from_folder(path, **{"size": SIZE} | arguments)


def test_a_folder_that_is_laid_out_otherwise_is_refused_by_name(tmp_path):
    refuse(tmp_path, "sub-folder for each of two or more classes; .* has none")
    refuse(drawn.folder(tmp_path / "one", 4, names=("disc",)), "has only 'disc'")
    above = drawn.folder(tmp_path / "above" / "myimages", 4).parent
    drawn.folder(above / "second", 4)
    refuse(above, "is a folder in a folder of a class, where pictures must be; is .*above the folder above")
    refuse(drawn.folder(tmp_path / "t" / "test", 4).parent, "has a folder for test and none for train")
    twice = tmp_path / "twice"
    for name in ("train", "training"):
        drawn.folder(twice / name, 4)
    refuse(twice, "two folders for train")
    new = tmp_path / "new"
    drawn.folder(new / "train", 4)
    drawn.folder(new / "test", 4, names=("disc", "square"))
    refuse(new, "class 'square' is in the test folder .* and not in the train folder")
    hollow = tmp_path / "hollow"
    drawn.folder(hollow / "train", 4)
    drawn.folder(hollow / "test", 0)
    refuse(hollow, "has a test folder without a picture")
    with pytest.raises(FileNotFoundError, match="path: there is no folder"):
        from_folder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="path: there is no folder"):
        from_folder(above / "myimages" / "disc" / "0.png")


def test_two_folders_of_one_name_in_two_forms_are_refused(tmp_path):
    drawn.folder(tmp_path, 3, names=("é", "e\u0301"))
    if len(os.listdir(tmp_path)) < 2:
        pytest.skip("this file system knows one form of a name only")
    refuse(tmp_path, "both named 'é'")


def test_classes_with_too_few_pictures_are_named(tmp_path):
    drawn.folder(tmp_path, 4)
    drawn.folder(tmp_path, 2, names=("few", "fewer"))
    (tmp_path / "fewer" / "1.jpg").write_text("broken")
    refuse(
        tmp_path, r"path: too few examples of class 'few' \(2\), 'fewer' \(1\); need at least 3, some for validation"
    )
    too_large = (
        r"path: .* 'bar' \(4\), 'disc' \(4\), .*; of 4, validation takes 2 and test takes 2, and none is left to train"
    )
    refuse(tmp_path, too_large, validation=0.5, test=0.49)
    drawn.folder(tmp_path, 3, names=("few", "fewer"), seed=1)
    assert [len(part) for part in from_folder(tmp_path, size=SIZE).parts.values()] == [8, 5, 5]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": 0}, "size: got 0"),
        ({"size": 2.5}, "size: got 2.5"),
        ({"validation": 0}, "validation: got 0, need a share"),
        ({"test": 1.0}, "test: got 1.0, need a share"),
        ({"validation": 0.5, "test": 0.5}, "validation, test: got 0.5, 0.5, and nothing is left"),
        ({"seed": "a"}, "seed: got 'a'"),
        ({"path": 3}, "path: got 3, need a path"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, words, own_errors):
    drawn.folder(tmp_path, 4)
    with pytest.raises((ValueError, TypeError), match=words):
        from_folder(**{"path": tmp_path, "size": SIZE} | arguments)


def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    drawn.folder(tmp_path, 10)
    monkeypatch.setattr(memory, "free_memory", lambda: 10**6)
    with monkeypatch.context() as reading:
        reading.setattr(folder, "read_picture", lambda *_: pytest.fail("it was read"))
        refuse(
            tmp_path,
            r"size: at 3200, 30 pictures of .* take 1\.8 GB of memory, of which 0\.0 GB are free; size=74 would fit",
            size=3200,
        )
    assert from_folder(tmp_path, size=74).train.inputs.shape[-1] == 74
    monkeypatch.setattr(memory, "free_memory", lambda: None)  # a system that does not tell
    assert len(from_folder(tmp_path, size=SIZE).train) == 18


def test_a_missing_pillow_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs Pillow; pip install 'surm-lite\[data\]'"):
        from_folder(tmp_path)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.bool, torch.int8])
def test_what_is_no_byte_is_never_taken_for_a_picture(dtype):
    with pytest.raises(ValueError, match=f"images: got {dtype}, need torch.uint8"):
        prepare(torch.ones(2, 1, 4, 4, dtype=dtype), pictures_format())


def pictures_format():
    from surm_lite.data import ImageFormat

    return ImageFormat(4, 1, (0.5,), (0.5,))


SMALL = ["--model", "tiny_vit", "--device", "cpu", "--quiet"]


def test_the_command_line_takes_a_name_or_a_folder_and_refuses_what_is_both(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    drawn.folder(tmp_path / "digits", 4)
    for command in (["train"], ["compare", "--methods", "head"]):
        assert cli.main([*command, "--data", "digits", *SMALL]) == 2
        assert "'digits' is a data set and also a folder here; ./digits means that" in capsys.readouterr().err
        assert cli.main([*command, "--data", "digit", *SMALL]) == 2
        assert (
            "did you mean 'digits', 'sign_digits'? (and there is no folder or file of that name)"
            in capsys.readouterr().err
        )
        assert cli.main([*command, "--data", "./digits", "--root", ".", *SMALL]) == 2
        assert "--root: is for data sets by name, and ./digits is your own" in capsys.readouterr().err
    words = ["train", "--data", "./digits", "--epochs", "1", "--out", "r.json", *SMALL]
    assert cli.main([*words, "--examples", "9"]) == 2
    assert "--examples 9: digits has 6 to train on" in capsys.readouterr().err
    assert cli.main([*words, "--examples", "3"]) == 0
    from surm_lite.training.record import Record

    told = Record.from_json(tmp_path / "r.json").data
    assert (told["name"], told["train"], told["validation"], told["test"]) == ("digits", 3, 3, 3)


def test_a_warning_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (drawn.folder(tmp_path / "shapes", 4) / "disc" / "notes.txt").write_text("no picture")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert cli.main(["train", "--data", "shapes", "--quick", *SMALL]) == 0
    said = "shapes: 1 of 13 files cannot be used: shapes/disc/notes.txt (no PNG, JPEG or WebP picture)"
    assert capsys.readouterr().err == f"surm-lite: warning: {said}\n"


def test_a_comparison_on_a_folder_knows_its_pictures(tmp_path, monkeypatch, capsys):
    from surm_lite.comparison import Comparison

    monkeypatch.chdir(tmp_path)
    drawn.folder(tmp_path / "shapes", 5)
    words = [
        "compare",
        "--data",
        "shapes",
        "--methods",
        "head",
        "--lrs",
        "0.01",
        "--seeds",
        "0",
        "--epochs",
        "1",
        *SMALL,
    ]
    assert cli.main(words) == 0
    found = Comparison.from_json(tmp_path / "runs" / "compare" / "comparison.json")
    assert found.about["data"].startswith("shapes (")
    assert found.about["credit"] == "pictures of the folder shapes"
    assert len(found.rows) == 1
    drawn.folder(tmp_path / "shapes", 5, seed=1)
    assert cli.main(words) == 2
    assert "was run with data = 'shapes (" in capsys.readouterr().err


def test_a_plan_takes_examples_of_ones_own():
    from surm_lite.comparison import Arm, Plan

    data = load("digits", train=60, validation=20, test=20)
    arms = {"head": Arm("head", (1e-2,), "head", seeds=(0,))}
    assert isinstance(Plan(data, arms, model="tiny_vit").data, LabelledSet)
    with pytest.raises(ValueError, match="unknown data set"):
        Plan("nothing", arms)


def test_the_readers_limit_is_below_what_fills_a_memory():
    assert 3 * pictures.MOST_PIXELS < 10**9
