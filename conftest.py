"""Fixtures that several test modules share, and how the tests share the processes that run them side by side."""

import functools
import inspect
import random
import re
from collections import Counter, defaultdict
from pathlib import Path

import jaxtyping
import pytest
import torch
from jaxtyping import config, jaxtyped

SHAPED = re.compile(r"\b(Complex|Float|Inexact|Int64)\[")


def checked(it=None, *, typechecker):
    """What --jaxtyping-packages puts around each function of the library: types are checked as it is called.

    jaxtyping binds all arguments anew in every call, since shapes tie them together. Where none is annotated the
    checker alone does the same in a third of the time, made when it is first needed.
    """
    if it is None:
        return functools.partial(checked, typechecker=typechecker)
    if inspect.isclass(it) or SHAPED.search(" ".join(map(str, it.__annotations__.values()))):
        return jaxtyped(it, typechecker=typechecker)

    @functools.cache
    def within():
        for name, hint in [*it.__annotations__.items()]:
            try:
                eval(hint, it.__globals__) if isinstance(hint, str) else None
            except NameError:  # what only mypy imports
                del it.__annotations__[name]
        return typechecker(it)

    settings = config  # in reach of a compiler, which finds no global of a conftest

    @functools.wraps(it)
    def call(*args, **kwargs):
        return (it if settings.jaxtyping_disable else within())(*args, **kwargs)

    return call


jaxtyping.jaxtyped = checked


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Tests that share something slow to make (a kernel, a browser, a trained model) stay in one process."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid, config.rootpath)

    return Together(config, log)


def _group(nodeid: str, root: Path) -> str:
    file = nodeid.split("::")[0]
    if _part(nodeid) == "site" and not file.endswith("test_jupyterlab.py"):
        return "site"  # one build, one server, one browser
    return file if file.endswith(".ipynb") or _shares(root / file) else nodeid


@functools.cache
def _shares(file: Path) -> bool:
    return any(f'scope="{scope}"' in file.read_text(encoding="utf-8") for scope in ("module", "session"))


def _part(nodeid: str) -> str:
    """The part of the tests that one belongs to, by its path."""
    file = nodeid.split("::")[0]
    folder = file.split("/")[1] if file.startswith("tests/") else ""
    if file.startswith("surm_lite/"):
        return "doctests"
    return "notebooks" if file.endswith(".ipynb") else folder if folder in ("contract", "site", "style") else "tests"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long each part took, summed over the processes; the closing line counts them all together."""
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[_part(report.nodeid)] += report.duration
    if len(seconds) > 1:
        parts = ", ".join(f"{part} {total:.0f} s" for part, total in seconds.most_common())
        terminalreporter.write_line(f"summed over the processes: {parts}")


@pytest.hookimpl(tryfirst=True)  # before -m looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """``@pytest.mark.thin(n)``: n cases of a test, by chance but always the same ones, are quick; the rest are slow."""
    cases: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("thin"):
            cases[item.nodeid.split("[")[0]].append(item)
    for name, same in cases.items():
        (n,) = same[0].get_closest_marker("thin").args
        for item in random.Random(name).sample(same, max(len(same) - n, 0)):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def doctest_torch(doctest_namespace):
    """Docstring examples may say ``torch`` without importing it."""
    doctest_namespace["torch"] = torch


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def randn(rng):
    """Seeded Gaussian tensors in float64."""
    return lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=rng)


@pytest.fixture
def draw(rng):
    """Seeded random members of a family, by name, in float64."""
    from surm_lite.matrices import FAMILIES  # here: the shape checker must be installed before the package is imported

    return lambda name, m=12, n=None, **budget: FAMILIES[name].random(
        m, n, dtype=torch.float64, generator=rng, **budget
    )


@pytest.fixture
def own_errors():
    """Switches the shape checker off, so that bad input meets the library's own validation."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
