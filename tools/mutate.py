"""One-line mistakes that somebody could make in a Python source: a sign, a comparison, a dropped argument, ...

`candidates` lists all of them, `draw` picks some by a seed. `tools/mutants.py` runs the tests against them.
"""

import ast
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

Edit = tuple[str, int, int, int, str]  # kind, line, from byte, to byte, what stands there instead

OPERATORS = {
    ast.Add: ("sign", "+", "-"), ast.Sub: ("sign", "-", "+"),
    ast.Mult: ("scale", "*", "/"), ast.Div: ("scale", "/", "*"), ast.FloorDiv: ("scale", "//", "*"),
    ast.Mod: ("scale", "%", "//"), ast.Pow: ("scale", "**", "*"),
    ast.Lt: ("comparison", "<", "<="), ast.LtE: ("comparison", "<=", "<"), ast.Gt: ("comparison", ">", ">="),
    ast.GtE: ("comparison", ">=", ">"), ast.Eq: ("comparison", "==", "!="), ast.NotEq: ("comparison", "!=", "=="),
    ast.In: ("comparison", "in", "not in"), ast.NotIn: ("comparison", "not in", "in"),
    ast.Is: ("comparison", "is", "is not"), ast.IsNot: ("comparison", "is not", "is"),
    ast.And: ("boolean", "and", "or"), ast.Or: ("boolean", "or", "and"),
}  # fmt: skip
PAIRS = {
    "swapped word": [
        "min max", "any all", "amin amax", "argmin argmax", "minimum maximum", "zeros ones", "floor ceil", "sum mean",
        "sin cos", "real imag", "first last", "start stop", "tril triu", "is_complex is_floating_point", "sort argsort",
    ],
    "order": ["m n", "rows columns", "row column", "left right", "in_features out_features"],
    "transform": ["fft ifft", "rfft fft", "irfft ifft", "hfft irfft"],
    "split": ["validation test"],
}  # fmt: skip
WORDS = {
    pair.split()[way]: (kind, pair.split()[1 - way])
    for kind, pairs in PAIRS.items()
    for pair in pairs
    for way in (1, 0)
}
# Methods and properties without which most expressions still run.
LEFT_OUT = {
    "conj": "transform", "mT": "order", "T": "order", "mH": "order", "real": "transform", "flip": "order",
    **dict.fromkeys(["detach", "clone", "abs", "to", "double", "float", "sqrt", "lower", "strip"], "dropped call"),
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A line of a file, what it becomes, and the lines of its statement: whoever runs one of those reaches it."""

    file: str
    line: int
    kind: str
    old: str
    new: str
    first: int
    last: int
    cached: bool  # in a function that remembers its answers: only the first caller reaches it

    @property
    def key(self) -> tuple[str, str, str]:
        """What stays when lines move."""
        return self.file, self.old.strip(), self.new.strip()


def candidates(file: str, source: str) -> list[Mutant]:
    """Every mistake of one line that can be made in this source, in order."""
    lines, found = source.splitlines(), []
    words = {"min", "max", "any", "all", *re.findall(r"\w+", source)}
    for node, (first, last), cached in _nodes(ast.parse(source), (1, 1), False):
        for kind, line, start, end, text in _edits(node, lines):
            name = text.removeprefix(".") if kind in ("order", "split") else text
            if name.isidentifier() and name not in words and name not in ("True", "False", "pass"):
                continue  # a name that means nothing here always raises
            old = lines[line - 1].encode()
            new = (old[:start] + text.encode() + old[end:]).decode()
            found.append(Mutant(file, line, kind, old.decode(), new, first, last, cached))
    return found


def apply(mutant: Mutant, source: str) -> str:
    """The source with the mistake in it."""
    lines = source.splitlines(keepends=True)
    lines[mutant.line - 1] = lines[mutant.line - 1].replace(mutant.old, mutant.new, 1)
    return "".join(lines)


def draw(sources: dict[str, str], count: int, seed: int) -> list[Mutant]:
    """``count`` mistakes, the kinds in turn, the places by chance, no two on one line."""
    chance, kinds = random.Random(seed), defaultdict(list)
    for file, source in sorted(sources.items()):
        for mutant in candidates(file, source):
            kinds[mutant.kind].append(mutant)
    for mutants in kinds.values():
        chance.shuffle(mutants)
    drawn: dict[tuple[str, int], Mutant] = {}
    while len(drawn) < count and any(kinds.values()):
        for _, mutants in sorted(kinds.items()):
            while mutants and len(drawn) < count:
                mutant = mutants.pop()
                place = mutant.file, mutant.line
                if place not in drawn and _is_another_program(mutant, sources[mutant.file]):
                    drawn[place] = mutant
                    break
    return list(drawn.values())


def _is_another_program(mutant: Mutant, source: str) -> bool:
    try:
        return ast.dump(ast.parse(apply(mutant, source))) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


def _nodes(node: ast.AST, span: tuple[int, int], cached: bool) -> Iterator[tuple[ast.AST, tuple[int, int], bool]]:
    """All nodes whose change is a mistake of the program, not of its words or its types."""
    if isinstance(node, ast.stmt):
        body = getattr(node, "body", None)
        span = (node.lineno, max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or node.lineno)
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return  # messages; and inside of f-strings Python 3.11 does not know the places
    if isinstance(node, ast.FunctionDef):
        cached = any("cache" in ast.unparse(decorator) for decorator in node.decorator_list)
    yield node, span, cached
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _nodes(child, span, cached)


def _edits(node: ast.AST, lines: list[str]) -> Iterator[Edit]:
    """What can go wrong at this node, within one line."""
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.Compare):
        yield from _operators(node, lines)
    elif isinstance(node, ast.AugAssign):
        yield from _between(node.target, type(node.op), node.value, lines)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        kind = "sign" if isinstance(node.op, ast.USub) else "boolean"
        if node.lineno == node.operand.lineno:
            yield kind, node.lineno, node.col_offset, node.operand.col_offset, ""
    elif isinstance(node, ast.Constant):
        yield from _constant(node)
    elif isinstance(node, ast.Call):
        yield from _dropped_arguments(node)
    elif isinstance(node, ast.If | ast.IfExp) and node.test.lineno == node.test.end_lineno:
        test = node.test
        yield "boolean", test.lineno, test.col_offset, test.end_col_offset, f"not ({_text(test, lines)})"
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and node.lineno == node.end_lineno:
        yield "dropped call", node.lineno, node.col_offset, node.end_col_offset, "pass"
    yield from _words(node)


def _text(node: ast.expr, lines: list[str]) -> str:
    return lines[node.lineno - 1].encode()[node.col_offset : node.end_col_offset].decode()


def _operators(node: ast.BinOp | ast.BoolOp | ast.Compare, lines: list[str]) -> Iterator[Edit]:
    if isinstance(node, ast.Compare):
        parts, kinds = [node.left, *node.comparators], [type(op) for op in node.ops]
    elif isinstance(node, ast.BoolOp):
        parts, kinds = node.values, [type(node.op)] * (len(node.values) - 1)
    else:
        parts, kinds = [node.left, node.right], [type(node.op)]
    for left, kind, right in zip(parts, kinds, parts[1:]):
        yield from _between(left, kind, right, lines)


def _between(left: ast.expr, kind: type, right: ast.expr, lines: list[str]) -> Iterator[Edit]:
    """Another operator between two operands; for ``@`` the operands in the other order."""
    words = (left, right) if kind in (ast.Add, ast.Mult, ast.Div, ast.Mod) else ()
    if left.end_lineno != right.lineno or any(isinstance(getattr(one, "value", one), str | list) for one in words):
        return  # of texts and paths such a mistake always raises
    start, end = left.end_col_offset, right.col_offset
    gap = lines[right.lineno - 1].encode()[start:end].decode()
    if kind is ast.MatMult:
        if gap.strip() == "@" and left.lineno == right.end_lineno:
            swapped = f"{_text(right, lines)} @ {_text(left, lines)}"
            yield "order", left.lineno, left.col_offset, right.end_col_offset, swapped
    elif kind in OPERATORS:
        name, operator, other = OPERATORS[kind]
        yield name, right.lineno, start, end, gap.replace(operator, other, 1)


def _constant(node: ast.Constant) -> Iterator[Edit]:
    at = node.lineno, node.col_offset, node.end_col_offset
    if isinstance(node.value, bool):
        yield "boolean", *at, str(not node.value)
    elif isinstance(node.value, int):
        yield "number", *at, str(node.value + 1)
        if node.value > 0:
            yield "number", *at, str(node.value - 1)
    elif isinstance(node.value, float):
        yield "number", *at, repr(10 * node.value)
    elif node.value in ("validation", "test") and node.lineno == node.end_lineno:
        yield "split", *at, f'"{WORDS[node.value][1]}"'


def _dropped_arguments(node: ast.Call) -> Iterator[Edit]:
    """A call without one of its named arguments, or without its last one of several."""
    if isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "issubclass", "setattr"):
        return  # that always raises
    given = [*node.args, *node.keywords]
    for number, one in enumerate(given):
        named = isinstance(one, ast.keyword) and one.arg is not None
        kind = "transform" if named and one.arg == "n" else "dropped argument"
        last = 0 < number == len(node.args) - 1 and not isinstance(one, ast.Starred)
        if one.lineno != one.end_lineno or not (named or last):
            continue
        if number == 0:
            together = len(given) > 1 and given[1].lineno == one.lineno
            end = given[1].col_offset if together else one.end_col_offset
            yield kind, one.lineno, one.col_offset, end, ""
        elif given[number - 1].end_lineno == one.lineno:
            yield kind, one.lineno, given[number - 1].end_col_offset, one.end_col_offset, ""


def _words(node: ast.AST) -> Iterator[Edit]:
    """One name for its twin, a method left out."""
    if isinstance(node, ast.Name) and node.id in WORDS and isinstance(node.ctx, ast.Load):
        kind, other = WORDS[node.id]
        yield kind, node.lineno, node.col_offset, node.end_col_offset, other
    called = node.func if isinstance(node, ast.Call) else node
    if not isinstance(called, ast.Attribute) or called.value.end_lineno != node.end_lineno:
        return
    line, start, end = node.end_lineno, called.value.end_col_offset, node.end_col_offset
    torch_fft = called.attr == "fft" and isinstance(called.value, ast.Name) and called.value.id == "torch"
    if isinstance(node, ast.Attribute) and node.attr in WORDS and not torch_fft:
        kind, other = WORDS[node.attr]
        yield kind, line, start, end, f".{other}"
    method = isinstance(node, ast.Call) or called.attr in ("mT", "T", "mH", "real")
    function = isinstance(called.value, ast.Name) and called.value.id in ("torch", "math", "np", "F", "fft")
    if called.attr in LEFT_OUT and method and not function:
        yield LEFT_OUT[called.attr], line, start, end, ""
