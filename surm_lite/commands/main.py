"""The command line: `surm-lite train` fine-tunes, `predict` asks the result, `compare` tries many methods."""

from __future__ import annotations

import argparse
import contextlib
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

from surm_lite.adapters.options import near
from surm_lite.commands import compare, doctor, export, inspect, predict, train
from surm_lite.training.record import versions

COMMANDS = {
    "train": train, "predict": predict, "compare": compare, "export": export, "inspect": inspect, "doctor": doctor,
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status.

    Args:
        argv: words after the program's name; None takes those of this process.

    Returns:
        int: 0 for success, 1 where something went wrong, 2 for a wrong call, 130 where it was stopped by Ctrl-C.

    Example:
        >>> main(["train", "--method", "toeplits"])
        2

    Taught in:
        21_finetune_vit
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words and not words[0].startswith("-") and words[0] not in COMMANDS:
            raise ValueError(near("command", words[0], COMMANDS))
        args, rest = _parser().parse_known_args(words)
        quiet = contextlib.redirect_stdout(None) if args.quiet else contextlib.nullcontext()
        with quiet, warnings.catch_warnings():
            warnings.showwarning = _warned
            return COMMANDS[args.command].run(args, rest)
    except (ValueError, TypeError, FileNotFoundError, FileExistsError, ModuleNotFoundError) as error:
        return _said(error, 2)
    except (FloatingPointError, OSError) as error:
        return _said(error, 1)
    except KeyboardInterrupt as stop:
        print(f"surm-lite: stopped{f'; {stop}' if str(stop) else ''}", file=sys.stderr)
        return 130
    except SystemExit as stop:  # argparse has said what is wrong, or printed its help
        return int(stop.code or 0)


def _said(error: Exception, status: int) -> int:
    """One line on standard error."""
    ours = error.strerror if isinstance(error, OSError) and error.filename is None else None  # without its number
    print(f"surm-lite: error: {ours or error}", file=sys.stderr)
    return status


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """One line on standard error; where in our code it was said is of no use there."""
    print(f"surm-lite: warning: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="surm-lite", description=__doc__)
    parser.add_argument("--version", action="version", version=f"surm-lite {versions()['surm_lite']}")
    commands = parser.add_subparsers(dest="command", required=True)
    for module in COMMANDS.values():
        one = module.add_parser(commands)
        one.add_argument("--quiet", action="store_true", help="print nothing but what is wrong")
    return parser
