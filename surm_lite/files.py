"""Files that are written completely or not at all, and read back only if they are what was written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SEAL = "sha256"  # the entry of a safetensors header that holds the digest: safetensors itself has none


def verify(path: Path, sha256: str) -> None:
    """Raises ValueError unless the file is the one that was published."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.name}: missing; reinstall the package that carries it")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ValueError(
            f"{path.name}: sha256 is {found[:12]}..., the published file has {sha256[:12]}...; reinstall it"
        )


def write_whole(path: Path, data: bytes) -> None:
    """Writes beside `path`, waits until the bytes are on the disk, and renames.

    Whatever happens in between, a kill or a full disk, `path` holds either all that it held before or all of `data`.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the rename itself is on the disk once the folder is
        folder = os.open(path.absolute().parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def as_path(name: str, value: str | os.PathLike[str]) -> Path:
    """A path that a user gave, for the argument of this name.

    Raises:
        TypeError: it is no path.
        ValueError: no file can have such a name.
    """
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise TypeError(f"{name}: got {value!r}, need a path: a string or a pathlib.Path")
    if not os.fspath(value):  # pathlib would take it for the current folder
        raise ValueError(f"{name}: got '', need a path; the current folder is '.'")
    try:
        os.stat(value)
    except (ValueError, OSError) as error:  # a NUL, a lone surrogate; all other trouble is for who reads or writes it
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            raise ValueError(f"{name}: got {str(value)[:80]!r}, which cannot be the name of a file ({error})") from None
    return Path(value)


def write_text(name: str, path: str | os.PathLike[str], text: str) -> None:
    """Writes a text where a user wants it, completely or not at all; errors name the argument."""
    place = as_path(name, path)
    check_output(name, place)
    write_whole(place, text.encode())


def text_of(name: str, source: str | Path) -> str:
    """JSON text that a user gave, or the text of the file whose `Path` is given.

    Raises:
        TypeError: it is neither.
        ValueError: it is the name of a file, or the file holds no text.
        FileNotFoundError: there is no such file.
    """
    if isinstance(source, str):
        if source.endswith(".json"):
            raise ValueError(f"{name}: got {source!r}, a text that is a file's name; pass Path({source!r})")
        return source
    if not isinstance(source, Path):
        raise TypeError(f"{name}: got a {type(source).__name__}, need a Path or JSON text")
    if not as_path(name, source).is_file():
        raise FileNotFoundError(f"{name}: there is no file {source}")
    try:
        return source.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: {source} holds no text ({error})") from None


def check_output(name: str, path: Path, *, folder: bool = False) -> None:
    """Tries a place for output before there is anything to put there, by writing beside it and taking that away again.

    Args:
        name: the argument that the place comes from, for messages.
        path: the file to be, or the folder to be, which may lie in others that do not exist yet.
        folder: whether it is a folder.

    Raises:
        ValueError: what is there is of the other kind, or no ordinary file such as ``/dev/null``.
        FileNotFoundError: the folder that a file shall be in does not exist.
        OSError: it cannot be written, because that is forbidden or the disk is full.
    """
    path = as_path(name, path)
    if path.exists() and path.is_dir() != folder:
        raise ValueError(f"{name}: {path} is {'no folder' if folder else 'a folder'}")
    if path.exists() and not folder and not path.is_file():
        raise ValueError(f"{name}: {path} is no ordinary file, and would be replaced by one")
    if not folder and not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{name}: the folder {path.absolute().parent} does not exist")
    near = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    trial = near / f".{os.getpid()}.trial" if folder else path.with_name(f"{path.name}.{os.getpid()}.trial")
    try:
        write_whole(trial, bytes(1 << 16))
        trial.unlink()
    except OSError as error:
        raise OSError(error.errno, f"{name}: {path} cannot be written ({error.strerror or error})") from error


def seal(text: str) -> str:
    """JSON text of an object with one more entry, the last: a digest of every character before it."""
    head = text.rstrip().removesuffix("}")
    return f'{head},\n"{SEAL}": "{hashlib.sha256(head.encode()).hexdigest()}"}}\n'


def json_object(text: str) -> dict[str, Any]:
    """The object that is a JSON text; ValueError, which does not name the file, for any other text."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:  # a few thousand brackets are too deep
        raise ValueError(f"damaged, or no JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"holds a {type(content).__name__}, need an object")
    return content


def unseal(text: str) -> dict[str, Any]:
    """What ``seal`` was given, its digest left out; ValueError where the text is not what was written."""
    content = json_object(text)
    found = re.fullmatch(rf'(.*),\n"{SEAL}": "([0-9a-f]{{64}})"}}\n', text, re.DOTALL)
    if found is None:
        raise ValueError("has no digest of its contents")
    if hashlib.sha256(found[1].encode()).hexdigest() != found[2]:
        raise ValueError("damaged: its contents are not those that were written")
    del content[SEAL]
    return content


def write_sealed(path: Path, key: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Writes a safetensors file with a JSON header under `key` and a digest over all of it, whole or not at all."""
    text = json.dumps(header)
    write_whole(path, packed(tensors, {key: text, SEAL: digest(tensors, text)}))


def packed(tensors: Mapping[str, Tensor], entries: Mapping[str, str]) -> bytes:
    """A safetensors file; the same tensors and entries of the header give the same bytes."""
    from safetensors.torch import save

    data = save({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, dict(entries))
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(entries)  # safetensors puts them in any order
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight
    return len(text).to_bytes(8, "little") + text + data[end:]


def read_sealed(path: Path, key: str, what: str, format: int) -> tuple[dict[str, Any], dict[str, Tensor], bool]:
    """Header and tensors of a file of ``write_sealed``, and whether it has a digest.

    Args:
        path: the file.
        key: the entry of its header that tells one kind of file from another.
        what: that kind in words, for messages.
        format: the header's "format" that the caller understands.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, of another kind, or of another format; the message does not name the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no {what} at {path}")
    entries, tensors = metadata(path), tensors_of(path)
    if key not in entries:
        raise ValueError(f"a safetensors file, but no {what}: its header has no {key!r} entry")
    header = json_object(entries[key])
    if SEAL in entries and entries[SEAL] != digest(tensors, entries[key]):
        raise ValueError("damaged: its contents are not those that were written")
    if header.get("format") != format:
        raise ValueError(f"format {header.get('format')!r}; this version reads format {format}")
    return header, tensors, SEAL in entries


def metadata(path: Path) -> dict[str, str]:
    """The entries of a safetensors header; ValueError, which does not name the file, for any other file."""
    with _opened(path) as file:
        return dict(file.metadata() or {})


def tensors_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, likewise."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"damaged, or not a safetensors file ({error})") from error


def digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """One fingerprint of named tensors, and of a text."""
    total = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
