"""What a file of ours holds, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from textwrap import indent
from typing import Any

from torch import Tensor

from surm_lite.adapters.header import read_adapter, read_header
from surm_lite.adapters.held import class_names
from surm_lite.comparison.result import Comparison
from surm_lite.data.pictures import shown
from surm_lite.files import json_object, metadata, tensors_of
from surm_lite.training import checkpoint
from surm_lite.training.record import Record

Lines = list[tuple[str, str]]
WHOLE = ("digest", "right: the contents are those that were written")


def describe(path: Path) -> str:
    """What an adapter, a merged model, a LoRA, a checkpoint, a comparison or a record holds: a line for each thing.

    Args:
        path: the file; the folder of a LoRA too.

    Returns:
        str: a title, and indented lines.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file that is damaged, or none of ours.

    Cost:
        One reading of the file. No model is built.
    """
    path = path / "adapter_model.safetensors" if (path / "adapter_config.json").is_file() else path
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {shown(path)}")
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    try:
        title, lines = _json(path) if start.startswith(b"{") else _safetensors(path)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{shown(path)}: malformed ({error!r})") from error
    except ValueError as error:
        raise ValueError(f"{shown(path)}: {error}") from error
    size = path.stat().st_size
    title = (
        f"{shown(path)}: {title}, {size / 1e6:.1f} MB" if size > 1e6 else f"{shown(path)}: {title}, {size / 1e3:.1f} kB"
    )
    return "\n".join([title, *(f"  {name:13} {text}".rstrip() for name, text in lines if text)])


def _safetensors(path: Path) -> tuple[str, Lines]:
    if checkpoint.KEY in metadata(path):
        return _checkpoint(path)
    kind, said = read_header(path)
    if kind == "adapter":
        return _adapter(path)
    tensors = tensors_of(path)
    if not kind:
        raise ValueError(f"a safetensors file of {len(tensors)} tensors, but none that surm_lite wrote")
    count = [("numbers", f"{_numbers(tensors):,} in {len(tensors)} tensors")]
    if kind == "merged":
        return "a merged model", [*_model(said["model"]), *count]
    lost = f"{said['relative_error']:.2g} in all, at most {max(said['layers'].values()):.2g} in a layer"
    return "a LoRA in the format of peft", [*_model(said["model"]), *count, ("relative error of the update", lost)]


def _adapter(path: Path) -> tuple[str, Lines]:
    header, tensors, sealed = read_adapter(path)
    lines = _model(header.get("model", {}))
    layout = header.get("layout") or ""
    lines.append(("layers", "queries, keys and values apart" if layout == "split qkv" else layout))
    for k, method in enumerate(header["methods"]):
        own = [layer["shape"] for layer in header["layers"].values() if k in layer["methods"]]
        shapes = ", ".join(sorted({f"{m} x {n}" for m, n in own}))
        lines.append(("method", _method(method) + (f" on {len(own)} layers of {shapes}" if own else "")))
    kept = {name.removeprefix("kept:"): t for name, t in tensors.items() if name.startswith("kept:")}
    whole = f", {_numbers(kept):,} of them in {', '.join(kept)}" if kept else ""
    lines += [("numbers", f"{_numbers(tensors):,}{whole}"), ("fits weights", header.get("frozen", "")[:16])]
    lines += [WHOLE if sealed else ("digest", "none, so damage cannot be told"), ("written by", header["version"])]
    return "an adapter", lines


def _checkpoint(path: Path) -> tuple[str, Lines]:
    header, tensors = checkpoint.read(path)
    run, record = header["run"], Record.from_json(json.dumps(header["record"]))
    options = run["options"]
    lines = [
        ("state", f"after {header['step']} steps, {header['epoch']} of {options['epochs']} epochs done"),
        *_trained(record),
        ("device", f"{run['device']}, {run['processes']} process" + ("es" if run["processes"] > 1 else "")),
        ("numbers", f"{_numbers(tensors):,} in {len(tensors)} tensors"),
        WHOLE,
        ("written by", ", ".join(f"{name} {version}" for name, version in run["versions"].items())),
    ]
    return "a checkpoint; the same call of train, with resume=True, goes on from it", lines


def _json(path: Path) -> tuple[str, Lines]:
    text = path.read_text(encoding="utf-8")
    if {"about", "rows", "frozen"} <= json_object(text).keys():
        found = Comparison.from_json(text)
        about = found.about
        table = indent(str(found), 4 * " ").lstrip()
        lines = [
            ("data", f"{about['data']}: {about['validation']} for validation, {about['test']} for the test"),
            ("", f"{about.get('credit', '')}"),
            ("model", f"{about['model']}, {about['epochs']} epochs, batches of {about['batch_size']}"),
            ("runs", f"{len(found.rows)}, {sum(one['chosen'] for one in found.rows)} at the chosen rate"),
            WHOLE,
            ("chosen", f"on validation\n    {table}"),
        ]
        return "a comparison", lines
    record = Record.from_json(text)
    scores = f"validation {max(record.validation_score.items())[1]:.3f}" if record.validation_score else ""
    scores += "" if record.test_score is None else f", test {record.test_score:.3f}"
    return "the record of a training run", [*_trained(record), ("scores", scores), ("device", record.device)]


def _trained(record: Record) -> Lines:
    data, options = record.data, record.options
    steps = (
        f"{len(record.loss)} steps, loss {record.loss[0]:.3f} -> {record.loss[-1]:.3f}" if record.loss else "no step"
    )
    return [
        ("data", f"{data.get('name')}: {data.get('train')} to train on, task {data.get('task')}"),
        *(("method", f"{_method(one)} on {len(one['layers'])} layers") for one in record.methods),
        (
            "settings",
            ", ".join(f"{key} {options[key]}" for key in ("lr", "head_lr", "batch_size", "seed") if key in options),
        ),
        ("so far", steps),
        ("seconds", f"{record.seconds:.1f}"),
    ]


def _model(said: Mapping[str, Any]) -> Lines:
    config, form, classes = said.get("config", {}), said.get("image_format"), class_names(said)
    shape = ", ".join(f"{key} {config[key]}" for key in ("depth", "width", "heads") if key in config)
    names = ", ".join(classes[:20]) + (f" and {len(classes) - 20} more" if len(classes) > 20 else "")
    return [
        ("base model", said.get("name", "(no name)") + f" ({', '.join(filter(None, (said.get('class'), shape)))})"),
        ("task", said.get("task", "")),
        ("classes", f"{len(classes)}: {names}" if classes else ""),
        ("pictures", f"{form['size']} x {form['size']}, {form['channels']} channels" if form else ""),
    ]


def _method(method: Mapping[str, Any]) -> str:
    options = {key: value for key, value in method["options"].items() if not isinstance(value, dict)}
    return f"{method['name']}({', '.join(f'{key}={value}' for key, value in options.items())})"


def _numbers(tensors: Mapping[str, Tensor]) -> int:
    return sum(prod(tensor.shape) for tensor in tensors.values())
