"""Where the results of a command may go: not over what it reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from surm_lite.files import as_path


def check_apart(name: str, output: Path, inputs: Mapping[str, str | Path | None]) -> None:
    """Refuses an output that would replace an input, or lie in a folder that is read; links are followed.

    Args:
        name: the argument that the output comes from, for messages.
        output: a file or folder to be.
        inputs: files and folders that are read, by their arguments; None for an argument that names none.

    Raises:
        ValueError: the output is an input, or in one.
    """
    place = Path(os.path.realpath(as_path(name, output)))
    there = [one for one in (place, *place.parents) if one.exists()]
    for what, source in inputs.items():
        if source is not None and os.path.exists(source) and any(one.samefile(source) for one in there):
            how = "is" if place.exists() and place.samefile(source) else "lies in"
            raise ValueError(f"{name}: {output} {how} an input ({what} {source}); take another place")
