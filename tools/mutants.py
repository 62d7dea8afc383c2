"""Would the tests notice? Makes one-line mistakes in a copy of the library and runs the tests that reach the line.

    python tools/mutants.py [--count 100] [--seed 0] [--jobs 1] [--again]

The mistakes are drawn by the seed over all of surm_lite. Each is tried against those tests of `make check` that run its
line, until the first fails. All work is done in a temporary copy; results and the map from lines to tests are kept in
.mutants, and the same command goes on where it was stopped. --again tries once more what survived, with today's tests.
Mistakes that change nothing are listed, with the reason, in tools/mutants_equivalent.toml.
"""

import argparse
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from queue import Queue

import reach
from mutate import Mutant, apply, candidates, draw

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / ".mutants"
EQUIVALENT = ROOT / "tools" / "mutants_equivalent.toml"
LEFT_BEHIND = shutil.ignore_patterns(".git", ".venv", "_build", ".mutants", "__pycache__", ".*_cache", "runs")
STATES = ("caught", "survived", "equivalent", "not reached", "gone")


class Tree:
    """A copy of the project in which a file is wrong for the length of a test run."""

    def __init__(self, folder: Path):
        self.folder, self.clock = folder, time.time()
        shutil.copytree(ROOT, folder, ignore=LEFT_BEHIND)

    def write(self, file: str, source: str) -> None:
        """With a time of its own: Python takes a file of the same time and size for the one it has compiled."""
        self.clock += 10
        (self.folder / file).write_text(source, encoding="utf-8")
        os.utime(self.folder / file, (self.clock, self.clock))

    def judge(self, mutant: Mutant, tests: list[str], limit: float) -> dict:
        """What the tests say about the mistake: state, the test that failed, seconds."""
        source, start = (self.folder / mutant.file).read_text(encoding="utf-8"), time.perf_counter()
        self.write(mutant.file, apply(mutant, source))
        try:
            status, said = reach.run(self.folder, tests, limit)
        finally:
            self.write(mutant.file, source)
        failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", said, re.M)
        if status is not None and status > 2:  # 1: a test failed; 2: a module could not be imported; below 0: a crash
            raise RuntimeError(f"pytest ended with status {status}:\n{said[-2000:]}")
        by = "no end within the time limit" if status is None else failed.group(1) if failed else said[-200:]
        return {
            "state": "survived" if status == 0 else "caught",
            "by": by if status != 0 else "",
            "seconds": round(time.perf_counter() - start, 1),
        }


def equivalent() -> dict[tuple[str, str, str], str]:
    """The mistakes that are none, and why."""
    listed = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8")).get("equivalent", [])
    return {(entry["file"], entry["old"].strip(), entry["new"].strip()): entry["reason"] for entry in listed}


def today(mutant: Mutant, sources: dict[str, str]) -> Mutant | None:
    """The same mistake in the sources of today, whose lines may have moved; None if its line is no more."""
    same = [one for one in candidates(mutant.file, sources.get(mutant.file, "")) if one.key == mutant.key]
    return min(same, key=lambda one: abs(one.line - mutant.line), default=None)


def save(path: Path, results: list[dict]) -> None:
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(results, indent=1))
    unfinished.replace(path)


def table(results: list[dict]) -> str:
    """Kinds and what became of them, then every survivor as a diff."""
    known, counts, lines = equivalent(), Counter(), []
    for result in results:
        mutant = Mutant(**result["mutant"])
        reason = known.get(mutant.key)
        state = "equivalent" if reason and result.get("state") != "caught" else result.get("state", "to do")
        counts[mutant.kind, state] += 1
        counts["together", state] += 1
        if state in ("survived", "not reached"):
            lines += [f"\n{state}: {mutant.file}:{mutant.line}", f"- {mutant.old.strip()}", f"+ {mutant.new.strip()}"]
        elif state == "equivalent":
            lines += [f"\nequivalent: {mutant.file}:{mutant.line} -> {mutant.new.strip()}\n  {reason}"]
    kinds = [*sorted({kind for kind, _ in counts} - {"together"}), "together"]
    shown = [state for state in (*STATES, "to do") if counts["together", state]]
    rows = [["", "drawn", *shown]]
    for kind in kinds:
        row = [counts[kind, state] for state in shown]
        rows.append([kind, str(sum(row)), *map(str, row)])
    widths = [max(map(len, column)) for column in zip(*rows)]
    head = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows]
    judged = sum(counts["together", state] for state in ("caught", "survived", "not reached"))
    share = f"caught: {counts['together', 'caught']} of {judged} that are mistakes" if judged else ""
    return "\n".join([*head, *lines, "", share])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="how many mistakes are tried at the same time")
    parser.add_argument("--again", action="store_true", help="try what survived once more")
    parser.add_argument("--show", action="store_true", help="print the table of what was found so far")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped; the same command goes on from here"))
    KEPT.mkdir(exist_ok=True)
    path = KEPT / f"seed-{options.seed}-count-{options.count}.json"
    sources = {file.relative_to(ROOT).as_posix(): file.read_text("utf-8") for file in ROOT.glob("surm_lite/**/*.py")}
    if not path.exists():
        save(path, [{"mutant": asdict(mutant)} for mutant in draw(sources, options.count, options.seed)])
    results = json.loads(path.read_text())
    again = ("survived", "not reached", "gone") if options.again else ()
    waiting = [result for result in results if result.get("state", "to do") in ("to do", *again)]
    if waiting and not options.show:
        with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder:
            work(waiting, Path(folder), options.jobs, sources, lambda: save(path, results))
    print(table(results))


def work(waiting: list[dict], folder: Path, jobs: int, sources: dict[str, str], keep) -> None:
    """Judge all that waits, each copy of the project one mistake at a time."""
    trees: Queue[Tree] = Queue()
    for number in range(jobs):
        trees.put(Tree(folder / str(number)))
    tests = reach.Map.of(folder / "0", KEPT / "map.json")
    start, known = time.perf_counter(), equivalent()

    def judge(result: dict) -> None:
        drawn = Mutant(**result["mutant"])
        mutant = today(drawn, sources)
        chosen = tests.reaching(mutant) if mutant else []
        if drawn.key in known or not chosen:
            answer = {"state": "gone" if not mutant else "not reached" if not chosen else "survived"}
        else:
            tree = trees.get()
            try:
                answer = tree.judge(mutant, chosen, tests.limit(chosen))
            finally:
                trees.put(tree)
        if reach.stopped.is_set():
            return
        for old in ("by", "seconds", "tests"):
            result.pop(old, None)
        result.update(answer, tests=len(chosen))
        keep()
        print(f"{time.perf_counter() - start:6.0f} s  {result['state']:<11} {drawn.file}:{drawn.line}  "
              f"{drawn.new.strip()}  [{result.get('by', '')}]", flush=True)  # fmt: skip

    with ThreadPoolExecutor(jobs) as pool:
        try:
            for done in [pool.submit(judge, result) for result in waiting]:
                done.result()
        except KeyboardInterrupt:
            sys.exit("stopped; the same command goes on from here")
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            reach.stop()


if __name__ == "__main__":
    main()
