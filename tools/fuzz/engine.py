"""Calls with arguments that nobody should pass, and what came of them."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

Draw = Callable[[Random], Any]


@dataclass(frozen=True)
class Target:
    """A public function, how its arguments are drawn, and what a right answer is.

    Args:
        name: as a user writes it.
        call: takes the arguments by name.
        good: argument -> draws a value that is right for it.
        wrong: called with the arguments and the result; says what is wrong with it, or None.
        words: other names that a message may use for the arguments.
        refusals: what else is a clear error, if it names an argument.
    """

    name: str
    call: Callable[..., Any]
    good: Mapping[str, Draw]
    wrong: Callable[[dict[str, Any], Any], str | None] | None = None
    words: tuple[str, ...] = ()
    refusals: tuple[type[Exception], ...] = ()


@dataclass
class Tally:
    """What became of all calls."""

    answered: int = 0
    refused: int = 0
    silent: list[str] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        total = self.answered + self.refused + len(self.silent) + len(self.raw)
        head = f"{total:,} calls: {self.answered:,} right, {self.refused:,} refused by name"
        return f"{head}, {len(self.silent)} silent wrong results, {len(self.raw)} raw tracebacks"


def run(targets: Sequence[Target], bad: Sequence[Draw], count: int, seed: int) -> Tally:
    """``count`` calls, each with up to two arguments replaced by something from ``bad``."""
    random, tally = Random(seed), Tally()
    for _ in range(count):
        target = random.choice(targets)
        arguments = {name: draw(random) for name, draw in target.good.items()}
        for name in random.sample(sorted(arguments), min(len(arguments), random.choice((0, 1, 1, 1, 2)))):
            arguments[name] = random.choice(bad)(random)
        _try(target, arguments, tally)
    return tally


def _try(target: Target, arguments: dict[str, Any], tally: Tally) -> None:
    called = f"{target.name}({', '.join(f'{name}={short(value)}' for name, value in arguments.items())})"
    clear = (ValueError, TypeError, *target.refusals)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            result = target.call(**arguments)
    except clear as error:
        names = "|".join(re.escape(name).replace("_", "[-_]") for name in (*arguments, *target.words))
        # LinAlgError and others of torch are a RuntimeError or a ValueError too: only our own sentences name arguments.
        if re.search(rf"\b({names})\b", str(error)):
            tally.refused += 1
        else:
            tally.raw.append(f"{called}: {type(error).__name__}: {error}")
        return
    except Exception as error:
        tally.raw.append(f"{called}: {type(error).__name__}: {str(error).splitlines()[:1]}")
        return
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        said = target.wrong(arguments, result) if target.wrong else None
    if said:
        tally.silent.append(f"{called}: {said}")
    else:
        tally.answered += 1


def short(value: Any) -> str:
    """A value in one line."""
    shape = getattr(value, "shape", None)
    text = (
        f"<{type(value).__name__} {tuple(shape)} {getattr(value, 'dtype', '')}>" if shape is not None else repr(value)
    )
    text = " ".join(text.split())
    return text if len(text) < 60 else text[:57] + "..."
