"""Give kept results of an older version today's names, counts and digest; a file that has them stays, byte for byte.

What was trained whole counted as kept; now only what was kept beside it does: in rows of full fine-tuning, the head.

python tools/convert_results.py [PATH ...]   files or folders of comparisons and records
                                             (default: benchmarks/results and the card of the tiny ViT)
"""

import json
import re
import sys
from pathlib import Path

from surm_lite.files import SEAL, seal, unseal

ROOT = Path(__file__).resolve().parents[1]
KEPT = ["benchmarks/results", "surm_lite/models/weights/tiny_vit.json"]
NAMES = {"images": "examples"} | {f"{part}_accuracy": f"{part}_score" for part in ("train", "validation", "test")}


def convert(text: str) -> str:
    """The same JSON with its keys renamed, and not a byte more: the layout of a file is part of its diff.

    A comparison also gets its counts and its digest.
    """
    if f'"{SEAL}": "' in text and "rows" in json.loads(text):
        unseal(text)  # refuses one that was changed
        return text
    new = re.sub(r'"(\w+)"(?=\s*:)', lambda key: f'"{NAMES.get(key[1], key[1])}"', text)
    if json.loads(new) != renamed(json.loads(text)):
        raise ValueError("a text of this file looks like a key; convert it by hand")
    content = json.loads(new)
    return seal(counted(new, content["rows"])) if {"about", "rows", "frozen"} <= set(content) else new


def counted(text: str, rows: list) -> str:
    """Rows of full fine-tuning, a line each, with the head alone as kept: the number that the other rows agree on."""
    heads = {row["kept"] for row in rows if row["method"] != "full" and row["test"] is not None}
    lines = text.split("\n")
    for k, line in enumerate(lines):
        if '"method": "full"' in line:
            (head,) = heads
            lines[k] = re.sub(r'"kept": \d+', f'"kept": {head}', line)
    return "\n".join(lines)


def renamed(value):
    if isinstance(value, dict):
        return {NAMES.get(key, key): renamed(one) for key, one in value.items()}
    return [renamed(one) for one in value] if isinstance(value, list) else value


def main() -> int:
    for path in [Path(word) for word in sys.argv[1:]] or [ROOT / name for name in KEPT]:
        for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
            old = file.read_text(encoding="utf-8")
            if (new := convert(old)) != old:
                file.write_text(new, encoding="utf-8")
                print(f"converted: {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
