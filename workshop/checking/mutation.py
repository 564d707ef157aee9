"""Small changes to Python source: each alters what the code does, in one place.

A change is found in the syntax tree but made in the text, so that all else stays as it was written.
What only people read is left alone: docstrings, type hints, messages, and what is logged.
"""

import ast
import difflib
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

# An edit: the bytes from start to end are replaced.
Edit = tuple[int, int, bytes]

COMPARISONS = {
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
ARITHMETIC = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.FloorDiv: "/",
    ast.Mod: "*",
    ast.Pow: "*",
    ast.BitOr: "&",
    ast.BitAnd: "|",
}
COMPARISON = re.compile(rb"not\s+in|is\s+not|\bin\b|\bis\b|[<>=!]=|[<>]")
OPERATOR = re.compile(rb"\*\*|//|[-+*/%|&]")
NEGATION = re.compile(rb"not\s*")
JUNCTION = re.compile(rb"\b(and|or)\b")
PLACEHOLDER = re.compile(rb"\{[^{}]+\}")  # of an f-string
HINTS = {"annotation", "returns", "type_params"}
# Their texts go to people.
SPEAKERS = {"abort", "unauthorized", "SystemExit", "OperationalError"}
# The order of their arguments means nothing.
UNORDERED = {"suppress", "min", "max"}
LOGGING = {"debug", "info", "warning", "error", "exception"}


@dataclass(frozen=True)
class Mutant:
    """The source of one file with one change in it.

    `function` is the qualified name of the function or class that holds the change, empty at the
    top of the module; `before` and `after` are the lines that change.
    """

    file: str
    function: str
    before: str
    after: str
    source: str
    original: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What names the change as long as its lines stay, wherever they move."""
        return self.file, self.function, self.before, self.after

    def __str__(self) -> str:
        return f"{self.file} {self.function or '(module)'}: {self.before} → {self.after}"

    def diff(self) -> str:
        lines = difflib.unified_diff(
            self.original.splitlines(),
            self.source.splitlines(),
            self.file,
            self.file,
            "",
            "",
            2,
            "",
        )
        return "\n".join(lines)


class Source:
    """The text of one file, with the places of its syntax tree as offsets in bytes."""

    def __init__(self, file: str, text: str):
        self.file, self.text, self.data = file, text, text.encode()
        self.tree = ast.parse(text)
        self.lines = [0]
        for line in self.data.splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))

    def start(self, node) -> int:
        return self.lines[node.lineno - 1] + node.col_offset

    def end(self, node) -> int:
        return self.lines[node.end_lineno - 1] + node.end_col_offset

    def span(self, node) -> tuple[int, int]:
        return self.start(node), self.end(node)

    @cached_property
    def meaning(self) -> str:
        return ast.dump(self.tree)

    def mutant(self, function: str, edit: Edit) -> Mutant | None:
        """The source with this edit; None where it does not compile or means the same."""
        start, end, replacement = edit
        changed = self.data[:start] + replacement + self.data[end:]
        text = changed.decode()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)
                compile(text, self.file, "exec")
                if ast.dump(ast.parse(text)) == self.meaning:
                    return None
        except SyntaxError:
            return None
        first = self.data.rfind(b"\n", 0, start) + 1
        last = self.data.find(b"\n", end)
        after = changed[first : last + len(changed) - len(self.data)]
        before = self.data[first:last]
        return Mutant(self.file, function, _one_line(before), _one_line(after), text, self.text)

    def edits(self) -> Iterator[tuple[str, Edit]]:
        """Every edit, with the name of the function that holds it, in the order of the source."""
        unchanged = for_people(self.tree)
        for function, node in _walk(self.tree, "", unchanged):
            for find in FINDERS:
                for edit in find(node, self):
                    yield function, edit


def _one_line(lines: bytes) -> str:
    return " ".join(lines.decode().split())


def _walk(node, function: str, unchanged: set[int]) -> Iterator[tuple[str, ast.AST]]:
    if id(node) in unchanged:
        return
    if not isinstance(node, ast.Module):
        yield function, node
    if isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom):
        return  # Python 3.11 does not know the places within an f-string
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        function = f"{function}.{node.name}".lstrip(".")
    for field, value in ast.iter_fields(node):
        if field in HINTS:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _walk(child, function, unchanged)


def for_people(tree: ast.Module) -> set[int]:
    """The ids of the nodes that only people read: docstrings, messages, what is logged."""
    found: set[int] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant()):
                found.add(id(node))
            case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name))) if name in LOGGING:
                found.add(id(node))
            case ast.Call(func=ast.Name(id=name)) if name in SPEAKERS:
                found |= _texts(node.args)
            case ast.Dict():
                pairs = zip(node.keys, node.values, strict=True)
                found |= _texts(
                    v for k, v in pairs if isinstance(k, ast.Constant) and k.value == "message"
                )
            case ast.Assign(targets=[ast.Name(id="TECHNIQUE")]):
                found.add(id(node))
    return found


def _texts(nodes) -> set[int]:
    inner = (inner for node in nodes for inner in ast.walk(node))
    return {
        id(n)
        for n in inner
        if isinstance(n, ast.JoinedStr)
        or (isinstance(n, ast.Constant) and isinstance(n.value, str))
    }


def _between(source: Source, left, right, pattern: re.Pattern, other: str) -> Iterator[Edit]:
    """Put another operator between two nodes."""
    if found := pattern.search(source.data, source.end(left), source.start(right)):
        yield *found.span(), other.encode()


def _without(spans: list[tuple[int, int]], data: bytes) -> Iterator[Edit]:
    """Leave out each item of a list in turn, and the comma or operator beside it."""
    for number, (start, end) in enumerate(spans):
        if number + 1 < len(spans):
            yield start, spans[number + 1][0], b""
        elif number:
            yield spans[number - 1][1], end, b""
        else:
            yield start, end + data.startswith(b",", end), b""


def comparisons(node, source: Source) -> Iterator[Edit]:
    """Another comparison: < for <=, == for !=."""
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        for left, operator, right in zip(sides, node.ops, node.comparators, strict=False):
            for other in COMPARISONS[type(operator)]:
                yield from _between(source, left, right, COMPARISON, other)


def logic(node, source: Source) -> Iterator[Edit]:
    """`and` for `or`, an operand left out, `not` left out."""
    match node:
        case ast.BoolOp(op=operator, values=values):
            other = "or" if isinstance(operator, ast.And) else "and"
            for left, right in pairwise(values):
                yield from _between(source, left, right, JUNCTION, other)
            yield from _without([source.span(value) for value in values], source.data)
        case ast.UnaryOp(op=ast.Not()):
            if found := NEGATION.match(source.data, source.start(node)):
                yield *found.span(), b""


def arithmetic(node, source: Source) -> Iterator[Edit]:
    """- for +, / for *; a sign left out."""
    match node:
        case ast.BinOp(op=operator) if type(operator) in ARITHMETIC:
            other = ARITHMETIC[type(operator)]
            yield from _between(source, node.left, node.right, OPERATOR, other)
        case ast.AugAssign(op=operator) if type(operator) in ARITHMETIC:
            for other in ARITHMETIC[type(operator)], "":
                yield from _between(source, node.target, node.value, OPERATOR, other)
        case ast.UnaryOp(op=ast.USub()):
            yield source.start(node), source.start(node.operand), b""


def constants(node, source: Source) -> Iterator[Edit]:
    """A number one more or less, or ten times as large or small; a flipped truth; an empty text."""
    others: tuple[object, ...] = ()
    match node:
        case ast.Constant(value=bool(value)):
            others = (not value,)
        case ast.Constant(value=int(value)):
            others = (value + 1, value - 1)
        case ast.Constant(value=float(value)):
            others = (value * 10, value / 10)
        case ast.Constant(value=str(value)) if "\n" not in value:
            others = ("" if value else "x",)
        case ast.Constant(value=bytes(value)):
            others = (b"" if value else b"x",)
    for other in others:
        yield *source.span(node), repr(other).encode()


def scripts(node, source: Source) -> Iterator[Edit]:
    """A line of a script in another language left out, a value left out of an f-string."""
    match node:
        case ast.Constant(value=str(value), lineno=first, end_lineno=int(last)) if "\n" in value:
            for number in range(first, last - 1):
                start, end = source.lines[number], source.lines[number + 1]
                line = source.data[start:end].strip()
                if line and not line.startswith(b"--"):
                    yield start, end, b""
        case ast.JoinedStr():
            for found in PLACEHOLDER.finditer(source.data, *source.span(node)):
                yield *found.span(), b""


def statements(node, source: Source) -> Iterator[Edit]:
    """A statement left out; None returned."""
    match node:
        case ast.Expr() | ast.Assign() | ast.AugAssign() | ast.Raise() | ast.Delete():
            yield *source.span(node), b"pass"
        case ast.Break() | ast.Continue():
            yield *source.span(node), b"pass"
        case ast.Return(value=ast.expr()):
            yield *source.span(node), b"return None"


def conditions(node, source: Source) -> Iterator[Edit]:
    """A condition that always or never holds."""
    match node:
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            tests = [test]
        case ast.comprehension(ifs=tests):
            pass
        case _:
            tests = []
    for test in tests:
        yield *source.span(test), b"True"
        yield *source.span(test), b"False"


def decorators(node, source: Source) -> Iterator[Edit]:
    """A decorator left out."""
    for decorator in getattr(node, "decorator_list", ()):
        yield source.lines[decorator.lineno - 1], source.lines[decorator.end_lineno], b""


def calls(node, source: Source) -> Iterator[Edit]:
    """A keyword argument left out, neighbours swapped, the argument itself for the call."""
    if not isinstance(node, ast.Call):
        return
    given = sorted([*node.args, *node.keywords], key=source.start)
    without = list(_without([source.span(argument) for argument in given], source.data))
    yield from (e for a, e in zip(given, without, strict=True) if isinstance(a, ast.keyword))
    ordered = getattr(node.func, "id", "") not in UNORDERED
    for left, right in pairwise(node.args) if ordered else ():
        middle = source.data[source.end(left) : source.start(right)]
        texts = [source.data[slice(*source.span(side))] for side in (right, left)]
        yield source.start(left), source.end(right), middle.join(texts)
    if node.args and not node.keywords:
        yield *source.span(node), source.data[slice(*source.span(node.args[0]))]
    elif not given and isinstance(node.func, ast.Attribute):
        yield source.end(node.func.value), source.end(node), b""


def displays(node, source: Source) -> Iterator[Edit]:
    """An entry of a dict, list, set or tuple left out."""
    match node:
        case ast.Dict(keys=keys, values=values):
            spans = [
                (source.start(key) if key else source.data.rfind(b"**", 0, start), end)
                for key, (start, end) in zip(keys, map(source.span, values), strict=True)
            ]
        case ast.List(ctx=ast.Load()) | ast.Tuple(ctx=ast.Load()) | ast.Set():
            spans = [source.span(element) for element in node.elts]
        case _:
            return
    yield from _without(spans, source.data)


def contexts(node, source: Source) -> Iterator[Edit]:
    """A context manager left out; an exception caught too widely, or not at all."""
    match node:
        case ast.With(items=items) if not any(item.optional_vars for item in items):
            yield source.start(node), source.end(items[-1].context_expr), b"if True"
        case ast.ExceptHandler(type=ast.expr() as caught):
            yield *source.span(caught), b"Exception"
            yield *source.span(caught), b"()"


FINDERS = (
    comparisons,
    logic,
    arithmetic,
    constants,
    scripts,
    statements,
    conditions,
    decorators,
    calls,
    displays,
    contexts,
)
