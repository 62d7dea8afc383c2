"""Imports point one way: each room of the library stands on those to its left, and no two files import each other.

Every import counts, also one inside a function or under ``TYPE_CHECKING``: a type that is needed is a thing that is
known. What ``import`` does by itself, running the ``__init__`` of the packages above a module, does not count.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LAYERS = (
    "files device guard tensor_bytes viz explore quiz",
    "matrices",
    "matrices.families",
    "matrices.algorithms matrices.__init__",
    "adapters",
    "data models",
    "tasks evaluate predict outcome",
    "training",
    "comparison checks hf",
    "describe",
    "commands",
    "surm_lite __main__",
)
"""From left to right; rooms of one line may know each other, as long as that goes one way."""

Graph = Mapping[str, set[str]]


def files() -> dict[str, str]:
    """Dotted name -> source of every file of the library."""
    sources = {}
    for path in sorted(ROOT.glob("surm_lite/**/*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        sources[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return sources


def imports(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """File -> the files of the library that it imports, wherever in it."""
    return {name: set(_imported(ast.parse(source), sources)) - {name} for name, source in sources.items()}


def _imported(tree: ast.AST, known: Mapping[str, str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]  # a file, or a name in one
            yield from (name if name in known else node.module for name in names if name.startswith("surm_lite"))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "surm_lite")


def layer(name: str) -> int:
    """The place of a file, by the longest name of a room that holds it; a ValueError if there is none."""
    inside = name.removeprefix("surm_lite.")
    inside = "matrices.__init__" if inside == "matrices" else inside  # it names what the families are
    places = {room: k for k, line in enumerate(LAYERS) for room in line.split()}
    held = [room for room in places if f"{inside}.".startswith(f"{room}.")]
    if not held:
        raise ValueError(f"{name} is in no room of LAYERS")
    return places[max(held, key=len)]


def backwards(graph: Graph) -> list[str]:
    return [f"{a} imports {b}" for a, known in graph.items() for b in sorted(known) if layer(b) > layer(a)]


def circles(graph: Graph) -> list[set[str]]:
    """Sets of files, each of which reaches each other one by imports."""
    reached = {name: _reached(name, graph) for name in graph}
    found = {frozenset(b for b in reached[a] if a in reached[b]) for a in graph if a in reached[a]}
    return [set(circle) for circle in found]


def _reached(start: str, graph: Graph) -> set[str]:
    seen: set[str] = set()
    todo = list(graph.get(start, ()))
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += graph.get(name, ())
    return seen


def rooms(graph: Graph) -> dict[str, set[str]]:
    """The same graph between top-level rooms."""
    found: dict[str, set[str]] = {}
    for a, known in graph.items():
        room = found.setdefault(_room(a), set())
        room |= {_room(b) for b in known} - {_room(a)}
    return found


def _room(name: str) -> str:
    return ".".join(name.split(".")[:2])


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    return imports(files())


def test_every_import_points_to_the_left(graph):
    assert not backwards(graph), backwards(graph)


def test_no_circles(graph):
    assert not circles(graph), circles(graph)
    assert not circles(rooms(graph)), circles(rooms(graph))


def test_every_imported_file_exists(graph):
    unknown = {f"{a} imports {b}" for a, known in graph.items() for b in known if b not in graph}
    assert not unknown, unknown


def test_every_room_of_the_list_is_there(graph):
    """A room that has moved would make its line say nothing."""
    inside = {f"{name.removeprefix('surm_lite.')}." for name in graph} | {"matrices.__init__."}
    rooms_listed = {room for line in LAYERS for room in line.split()}
    empty = {room for room in rooms_listed if not any(name.startswith(f"{room}.") for name in inside)}
    assert not empty


LEFT, RIGHT = "surm_lite.viz.heatmap", "surm_lite.training.loop"
WAYS = {
    "at the top": "from {0} import thing",
    "of a module": "from {1} import {2}",
    "plain": "import {0}",
    "in a function": "def f():\n    from {0} import thing",
    "in a method": "class C:\n    def f(self):\n        import {0} as m",
    "for types": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from {0} import thing",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_step_backwards_would_be_found(way):
    source = WAYS[way].format(RIGHT, *RIGHT.rsplit(".", 1))
    assert backwards(imports({LEFT: source, RIGHT: ""})) == [f"{LEFT} imports {RIGHT}"]
    assert not backwards(imports({RIGHT: WAYS[way].format(LEFT, *LEFT.rsplit(".", 1)), LEFT: ""}))


def test_circles_of_any_length_would_be_found():
    for n in (2, 3, 5):
        ring = {f"surm_lite.training.m{k}": f"from surm_lite.training.m{(k + 1) % n} import x" for k in range(n)}
        assert circles(imports(ring | {"surm_lite.training.tail": "import surm_lite.training.m0"})) == [set(ring)]
    apart = {"surm_lite.data.a": "import surm_lite.models.b", "surm_lite.models.b": "", "surm_lite.data.c": ""}
    assert not circles(imports(apart))
    assert circles(rooms(imports(apart | {"surm_lite.models.d": "import surm_lite.data.c"})))


def test_inside_the_matrices_too():
    base, family, algorithm = (f"surm_lite.matrices.{name}" for name in ("compose", "families.ldr", "algorithms.gko"))
    wrong = {base: f"import {family}", family: f"import {algorithm}\nimport surm_lite.matrices", algorithm: ""}
    assert len(backwards(imports(wrong))) == 3
