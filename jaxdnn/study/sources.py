"""The two modules of a lesson, cut into definitions, aligned and coloured.

`blocks` cuts one module; `rows` aligns those of both sides; `highlight` colours code, and links
each name that the lesson defines to its definition.
"""

import ast
import difflib
import inspect
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from markupsafe import Markup, escape
from pygments.lexers.python import PythonLexer
from pygments.token import (
    Comment,
    Keyword,
    Name,
    Number,
    Operator,
    String,
)

__all__ = ["Block", "Module", "Row", "blocks", "counterpart", "highlight", "module", "rows"]

Kind = Literal["imports", "names", "settings", "definition"]


def counterpart(name: str) -> str:
    """What a definition of a JAX lesson is called in torch, if that has none of the same name.

    Example:
      >>> counterpart("layer_loss")
      'layer_criterion'
    """
    if name == "layer_permutations":  # the samples of all epochs; torch has a loader of one's
        return "layer_batches"
    # A loss of parameters, and a criterion, which sees outputs only.
    return name.replace("loss", "criterion")


class Block(NamedTuple):
    """Neighbouring lines of a module that belong together.

    Attributes:
      name: what they define; the first name, if there are several.
      kind: imports, type aliases and constants before the first definition, the settings of a run,
        or one definition.
      doc: its docstring, cleaned.
      lines: the code by line number, without that docstring.
    """

    name: str
    kind: Kind
    doc: str
    lines: Mapping[int, str]

    @property
    def code(self) -> str:
        """The code, without the docstring."""
        return "\n".join(self.lines.values())

    @property
    def extent(self) -> tuple[int, int]:
        """The first and the last line."""
        return min(self.lines), max(self.lines)


class Module(NamedTuple):
    """A module in blocks.

    Attributes:
      doc: its docstring.
      blocks: everything else, in order.
    """

    doc: str
    blocks: tuple[Block, ...]

    @property
    def names(self) -> frozenset[str]:
        """The names of the definitions and settings."""
        return frozenset(b.name for b in self.blocks if b.kind in ("definition", "settings"))


class Row(NamedTuple):
    """Blocks that stand side by side.

    Attributes:
      name: of the JAX block, or else of torch's.
      torch: usually one block; none where JAX alone needs it, or several.
      jax: likewise.
      twins: whether the two are each other's counterparts.
    """

    name: str
    torch: tuple[Block, ...]
    jax: tuple[Block, ...]
    twins: bool

    @property
    def kind(self) -> Kind:
        """Of its first block."""
        return (*self.jax, *self.torch)[0].kind


def module(source: str) -> Module:
    r"""Cut the source of a module into its docstring and blocks.

    Args:
      source: the text of the file.

    Example:
      >>> [b.name for b in module('"One."\nimport os\n\n\ndef f():\n    pass\n').blocks]
      ['imports', 'f']
    """
    return Module(inspect.cleandoc(ast.get_docstring(ast.parse(source)) or ""), blocks(source))


def blocks(source: str) -> tuple[Block, ...]:
    """Cut the source of a module into blocks, in order; its own docstring is left out."""
    lines = source.splitlines()
    nodes = list(ast.parse(source).body)
    if nodes and _text(nodes[0]) is not None:
        nodes = nodes[1:]
    found: list[Block] = []
    for i, node in enumerate(nodes):
        if _text(node) is not None:
            continue  # the docstring of the assignment above it
        doc = _text(nodes[i + 1]) if i + 1 < len(nodes) and _is_assignment(node) else None
        block = _block(node, doc, lines, started=any(b.kind == "definition" for b in found))
        if found and found[-1].kind == block.kind and block.kind in ("imports", "names"):
            before = found.pop()
            doc_of_both = " ".join(filter(None, (before.doc, block.doc)))
            gap = {block.extent[0] - 1: ""} if block.extent[0] - 1 not in before.lines else {}
            both = {**before.lines, **gap, **block.lines}
            block = before._replace(doc=doc_of_both, lines=both)
        found.append(block)
    return tuple(found)


def _text(node: ast.stmt) -> str | None:
    """The string that a statement consists of."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        value = node.value.value
        return inspect.cleandoc(value) if isinstance(value, str) else None
    return None


def _is_assignment(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign | ast.AnnAssign)


def _block(node: ast.stmt, doc: str | None, lines: Sequence[str], *, started: bool) -> Block:
    first, last = node.lineno, node.end_lineno or node.lineno
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        first = min([first, *(decorator.lineno for decorator in node.decorator_list)])
    while first > 1 and lines[first - 2].startswith("#"):  # the comment above it
        first -= 1
    own = {number: lines[number - 1] for number in range(first, last + 1)}
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        if (doc := _text(node.body[0])) is not None:
            string = node.body[0]
            end = string.end_lineno or string.lineno
            if len(node.body) > 1:
                end = max(end, _first_line(node.body[1], lines) - 1)  # the empty line after it
            own = {n: line for n, line in own.items() if not string.lineno <= n <= end}
        kind: Kind = "settings" if node.name == "Config" else "definition"
        return Block(node.name, kind, doc or "", own)
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        name = node.targets[0].id
        if name == "__all__":
            return Block("imports", "imports", "", own)
        if started or name.islower():
            return Block(name, "definition", doc or "", own)
        return Block("names", "names", doc or "", own)
    return Block("imports", "imports", doc or "", own)


def _first_line(node: ast.stmt, lines: Sequence[str]) -> int:
    first = node.lineno
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        first = min([first, *(decorator.lineno for decorator in node.decorator_list)])
    while lines[first - 2].lstrip().startswith("#"):
        first -= 1
    return first


def rows(torch: Module, jax: Module) -> list[Row]:
    """Align the blocks of both sides.

    Blocks of one name are twins, as are a loss and a criterion (`counterpart`). Both sides have
    them in the same order, so that what one side has besides stands between them.
    """
    theirs = [block.name for block in torch.blocks]
    ours = [
        name if name in theirs else counterpart(name)
        for name in (block.name for block in jax.blocks)
    ]
    found = []
    matcher = difflib.SequenceMatcher(None, theirs, ours, autojunk=False)
    for tag, i, i_end, j, j_end in matcher.get_opcodes():
        if tag == "equal":
            pairs = zip(torch.blocks[i:i_end], jax.blocks[j:j_end], strict=True)
            found += [Row(b.name, (a,), (b,), b.kind != "imports") for a, b in pairs]
        else:
            left, right = torch.blocks[i:i_end], jax.blocks[j:j_end]
            found.append(Row((*right, *left)[0].name, left, right, twins=False))
    return found


# Token types and the class of their colour; the first that contains a token decides.
_COLOURS = (
    (Comment, "c"),
    (String.Doc, "s"),
    (String, "s"),
    (Number, "n"),
    (Keyword.Constant, "n"),
    (Keyword, "k"),
    (Operator.Word, "k"),
    (Name.Decorator, "d"),
    (Name.Function, "f"),
    (Name.Class, "f"),
    (Name.Builtin, "b"),
    (Name.Exception, "b"),
)


def highlight(
    code: str, *, names: Collection[str] = (), side: str = "", twins: Mapping[str, str] = {}
) -> Markup:
    """Code as coloured HTML.

    Args:
      code: Python.
      names: of definitions on the same page, to which their uses are linked.
      side: ``"torch"`` or ``"jax"``, the prefix of the links.
      twins: the name on the row's anchor, where it differs from the definition's.

    Returns:
      Spans without an element around them.

    Example:
      >>> highlight("x = 1")
      Markup('x = <span class="n">1</span>')
    """
    linked = _uses(code, names)
    parts: list[Markup] = []
    line, column = 1, 0
    for _, token, text in PythonLexer(stripnl=False, ensurenl=False).get_tokens_unprocessed(code):
        colour = next((name for kind, name in _COLOURS if token in kind), "")
        piece = escape(text)
        if (line, column) in linked:
            name = twins.get(text, text)
            piece = Markup('<a href="#{}-{}" data-twin="{}">{}</a>').format(side, name, name, piece)
        elif colour:
            piece = Markup('<span class="{}">{}</span>').format(colour, piece)
        parts.append(piece)
        line += text.count("\n")
        column = len(text) - text.rfind("\n") - 1 if "\n" in text else column + len(text)
    return Markup("").join(parts)


def _uses(code: str, names: Collection[str]) -> set[tuple[int, int]]:
    """Lines and columns at which a global of the lesson is used."""
    if not names:
        return set()
    positions: set[tuple[int, int]] = set()
    encoded = [line.encode() for line in code.splitlines()]

    def visit(node: ast.AST, local: frozenset[str]) -> None:
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            local |= _bound(node)
        match node:
            case ast.Name(id=name, ctx=ast.Load()) if name in names and name not in local:
                column = len(encoded[node.lineno - 1][: node.col_offset].decode())
                positions.add((node.lineno, column))
        for child in ast.iter_child_nodes(node):
            visit(child, local)

    visit(ast.parse(code), frozenset())
    return positions


def _bound(function: ast.FunctionDef | ast.Lambda) -> frozenset[str]:
    """Parameters and variables of a function."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    named += [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
    stored = _stores(function.body if isinstance(function, ast.FunctionDef) else [])
    return frozenset(argument.arg for argument in named) | stored


def _stores(statements: Iterable[ast.AST]) -> frozenset[str]:
    found: set[str] = set()
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif isinstance(node, ast.FunctionDef):
                found.add(node.name)
    return frozenset(found)
