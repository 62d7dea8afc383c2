"""Which tests of `make check` reach which lines of the library, how long each takes, and a run of some of them.

This is also the pytest plugin that such a run uses (-p reach): it keeps the tests that are asked for, in that order.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
QUICK = "not slow and not gpu"
WANTED = "TESTS_TO_RUN"  # the environment variable that names the file with the list
TIMES = "TEST_TIMES"  # and the one that names the file to write the seconds to
MEMORY = 16 * 2**30  # bytes of address space; a mistake in a size must not take the machine's

running: set[subprocess.Popen] = set()
stopped = threading.Event()


class Map:
    """For each file of the library, the runs that reach each line, as numbers; for each test, its seconds.

    A run is "test|setup", "test|run" or "test|teardown"; the empty one is an import.
    """

    def __init__(self, runs: list[str], lines: dict[str, dict[str, list[int]]], seconds: dict[str, float]):
        self.runs, self.lines, self.seconds = runs, lines, seconds

    @classmethod
    def of(cls, tree: Path, path: Path) -> "Map":
        """The map of this tree: the one that is kept, if nothing changed since, else a new one."""
        files = sorted([*tree.glob("surm_lite/**/*.py"), *tree.glob("tests/**/*.py"), tree / "pyproject.toml"])
        now = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
        kept = json.loads(path.read_text()) if path.exists() else {}
        if kept.get("made of") != now:
            kept = {"made of": now, **_measure(tree)}
            path.write_text(json.dumps(kept))
        return cls(kept["runs"], kept["lines"], kept["seconds"])

    def reaching(self, mutant) -> list[str]:
        """The tests that run the statement, quick files first. What runs on import, all tests of the file reach.

        Of a file of tables, which no test runs, these are the tests of those files that name it.
        """
        lines = self.lines.get(mutant.file, {})
        seen = {run for line in range(mutant.first, mutant.last + 1) for run in lines.get(str(line), ())}
        if seen and (mutant.cached or self.runs.index("") in seen):
            seen = {run for runs in lines.values() for run in runs}
        reached = [self.runs[run].rpartition("|")[::2] for run in seen]
        # A fixture that a whole file shares runs in the first of its tests only.
        shared = {test.split("::")[0] for test, phase in reached if phase == "setup"}
        chosen = {test for test, _ in reached} | {test for test in self.seconds if test.split("::")[0] in shared}
        if {run for runs in lines.values() for run in runs} == {self.runs.index("")}:
            named = {path for path in ROOT.glob("tests/**/test_*.py") if Path(mutant.file).stem in path.read_text()}
            chosen = {test for test in self.seconds if ROOT / test.split("::")[0] in named}
        files = defaultdict(list)
        for test in chosen & self.seconds.keys():
            files[test.split("::")[0]].append(test)
        mean = {file: sum(self.seconds[test] for test in tests) / len(tests) for file, tests in files.items()}
        return [
            test
            for file in sorted(files, key=lambda file: (mean[file], file))
            for test in sorted(files[file], key=lambda test: (self.seconds[test], test))
        ]

    def limit(self, tests: list[str]) -> float:
        """Seconds after which a run has lost its way, on a machine that others use too."""
        return 120 + 5 * sum(self.seconds[test] for test in tests)


def _measure(tree: Path) -> dict:
    """Run the tests of `make check` once, with coverage by test. Those that fail by themselves can catch nothing."""
    from coverage import CoverageData

    print("finding out which tests reach which lines (some minutes)", flush=True)
    times = tree / "times.json"
    options = ["-n", "2", "--cov=surm_lite", "--cov-context=test", "--cov-report=", "-m", QUICK]
    status, said = _pytest(tree, [*options, "-p", "reach"], None, {TIMES: str(times)})
    if not times.exists():
        sys.exit(f"the tests did not come to their end, pytest's status is {status}:\n{said[-2000:]}")
    print(said.strip().splitlines()[-1], flush=True)
    found = CoverageData(str(tree / ".coverage"))
    found.read()
    runs = {run: number for number, run in enumerate(sorted({"", *found.measured_contexts()}))}
    lines = {
        Path(file).relative_to(tree.resolve()).as_posix(): {
            str(line): [runs[run] for run in reached] for line, reached in found.contexts_by_lineno(file).items()
        }
        for file in found.measured_files()
    }
    return {"runs": list(runs), "lines": lines, "seconds": json.loads(times.read_text())}


def run(tree: Path, tests: list[str], limit: float) -> tuple[int | None, str]:
    """pytest's status and words for these tests, up to the first that fails; None where it took too long."""
    wanted = tree / "wanted.json"
    wanted.write_text(json.dumps(tests))
    files = list(dict.fromkeys(test.split("::")[0] for test in tests))
    return _pytest(tree, ["-x", "-p", "reach", *files], limit, {WANTED: str(wanted)})


def stop() -> None:
    """End what runs now, and whatever it started."""
    stopped.set()
    for process in list(running):
        _kill(process)


def _kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _pytest(tree: Path, words: list[str], limit: float | None, more: dict[str, str]) -> tuple[int | None, str]:
    path = os.pathsep.join([str(tree), str(Path(__file__).parent)])
    own = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "SURM_BOOK": "1"}
    # a run inside a worker process of another run is nobody's worker
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")} | own
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:nbval", *words]
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    process = subprocess.Popen(command, cwd=tree, env=environment | more, **both)
    running.add(process)
    try:
        said, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return None, ""
    finally:
        _kill(process)  # or what it left behind
        process.wait()
        running.discard(process)
    return process.returncode, said


def pytest_configure() -> None:
    if WANTED in os.environ:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def pytest_collection_modifyitems(items: list) -> None:
    if WANTED in os.environ:
        order = {test: place for place, test in enumerate(json.loads(Path(os.environ[WANTED]).read_text()))}
        items[:] = sorted((item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid])


def pytest_terminal_summary(terminalreporter) -> None:
    """The seconds of every test that passed, but for those of a worker process: the first process hears of all."""
    if TIMES in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
        passed = {report.nodeid: report.duration for report in terminalreporter.stats.get("passed", [])}
        Path(os.environ[TIMES]).write_text(json.dumps(passed))
