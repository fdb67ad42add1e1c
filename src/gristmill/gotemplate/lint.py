"""What looks wrong in a template when the columns of its rows are known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

from gristmill.gotemplate.literals import quote, to_bytes
from gristmill.gotemplate.nodes import (
    Action,
    Block,
    Bool,
    Call,
    Chain,
    Command,
    Dot,
    Field,
    Function,
    Leave,
    Nil,
    Node,
    Num,
    Operand,
    Pipe,
    String,
    Text,
    Tree,
    Variable,
    shown,
)
from gristmill.gotemplate.template import Template, compile  # noqa: A004 - the name of the contract

Kind = Literal["unknown_field", "unused_column", "always_empty", "always_fails"]
_NEAR_ENOUGH = 0.6
"""How alike a field and a column must be, from 0 to 1, for the one to be offered for the other."""
_CONTAINERS = "a cell is text"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that looks wrong."""

    kind: Kind
    name: str
    """The field, the column or the part of the template that it is about."""
    message: str
    """One sentence for a person."""
    line: int | None = None
    """1-based; None for a column, which has no place in the template."""
    column: int | None = None
    """Bytes before the place in its line."""
    suggestion: str | None = None
    """What could stand there instead."""


def lint(template: Template | str, columns: Sequence[str]) -> list[Finding]:
    """Fields that no column has, columns that nothing shows, parts that are always empty or always fail.

    `columns` are the top-level names of the rows. A text is compiled as `compile(template)` does and may raise
    `TemplateError`. Findings come in the order of the text, unused columns last.
    """
    compiled = compile(template) if isinstance(template, str) else template
    return _Linter(compiled, columns).findings()


@dataclass(slots=True)
class _Scope:
    """What is known at a place: whether dot and which variables are the row."""

    dot_is_row: bool
    rows: frozenset[str] = frozenset({"$"})
    """Variables that hold the row."""


@dataclass(slots=True)
class _Linter:
    template: Template
    columns: Sequence[str]
    used: set[str] = field(default_factory=set[str])
    found: list[tuple[int, Finding]] = field(default_factory=list[tuple[int, Finding]])
    visited: set[tuple[str, bool]] = field(default_factory=set[tuple[str, bool]])

    @property
    def tree(self) -> Tree:
        return self.template.tree

    def findings(self) -> list[Finding]:
        self._definition(self.tree.name, is_row=True)
        told: dict[tuple[int, str, str], Finding] = {}
        for pos, finding in sorted(self.found, key=lambda item: item[0]):
            told.setdefault((pos, finding.kind, finding.name), finding)
        unused = [
            Finding("unused_column", name, f"Nothing of the column {quote(name)} is in the text.")
            for name in dict.fromkeys(self.columns)
            if name not in self.used
        ]
        return [*told.values(), *unused]

    def _tell(self, kind: Kind, pos: int, name: str, message: str, suggestion: str | None = None) -> None:
        text = self.tree.text
        start = text.rfind("\n", 0, pos) + 1
        line, column = text.count("\n", 0, pos) + 1, len(to_bytes(text[start:pos]))
        self.found.append((pos, Finding(kind, name, message, line, column, suggestion)))

    # Nodes

    def _definition(self, name: str, *, is_row: bool) -> None:
        """A template with a row, or with something else, as its dot."""
        definition = self.tree.definitions.get(name)
        if definition is None or (name, is_row) in self.visited:
            return
        self.visited.add((name, is_row))
        self._list(definition.body, _Scope(is_row, frozenset({"$"} if is_row else ())))

    def _list(self, nodes: Iterable[Node], scope: _Scope) -> None:
        for node in nodes:
            match node:
                case Action():
                    self._pipe(node.pipe, scope)
                case Block():
                    self._block(node, scope)
                case Call():
                    self._call(node, scope)
                case Text() | Leave():
                    pass

    def _call(self, node: Call, scope: _Scope) -> None:
        if node.name not in self.tree.definitions:
            self._tell("always_fails", node.pos, node.name, f"There is no template {quote(node.name)}.")
        passes_row = node.pipe is not None and self._is_row(node.pipe, scope)
        if node.pipe is not None and not passes_row:
            self._pipe(node.pipe, scope)
        self._definition(node.name, is_row=passes_row)

    def _block(self, node: Block, scope: _Scope) -> None:
        """A block, and those chained to it by `else if`."""
        inner = _Scope(scope.dot_is_row, scope.rows)
        chain: Block | None = node
        while chain is not None:
            passes_row = chain.word == "with" and self._is_row(chain.pipe, scope)
            if not passes_row:
                self._pipe(chain.pipe, inner)
            self._check_empty(chain, scope)
            dot_is_row = passes_row or (chain.word == "if" and scope.dot_is_row)
            self._list(chain.body, _Scope(dot_is_row, inner.rows))
            other = chain.other or ()
            first = other[0] if len(other) == 1 else None
            chain = first if isinstance(first, Block) and first.is_chained else None
            if chain is None:
                self._list(other, _Scope(scope.dot_is_row, inner.rows))

    def _check_empty(self, node: Block, scope: _Scope) -> None:
        """Whether the part of a block can never be shown, or shows nothing."""
        if not node.body and not node.other:
            self._tell("always_empty", node.pos, node.word, f"There is nothing inside of this `{node.word}`.")
            return
        missing = self._missing(node.pipe, scope)
        constant = _constant(node.pipe)
        if missing is not None:
            self._tell(
                "always_empty", node.pos, node.word,
                f"This `{node.word}` is never entered: no row has {quote(missing)}.", self._near(missing, node.pipe),
            )  # fmt: skip
        elif constant is False:
            self._tell("always_empty", node.pos, node.word, f"This `{node.word}` is never entered.")
        elif constant is True and node.other:
            self._tell("always_empty", node.pos, node.word, f"The `else` of this `{node.word}` is never entered.")
        elif node.word == "range" and self.template.is_csv and self._cell(node.pipe, scope):
            self._tell("always_fails", node.pos, node.word, f"`range` can't go through a column: {_CONTAINERS}.")

    # Expressions

    def _pipe(self, pipe: Pipe, scope: _Scope) -> None:
        for command in pipe.commands:
            self._command(command, scope)
        is_row = self._is_row(pipe, scope)
        for variable in pipe.names:
            scope.rows = scope.rows | {variable.name} if is_row else scope.rows - {variable.name}

    def _command(self, command: Command, scope: _Scope) -> None:
        first, rest = command.args[0], command.args[1:]
        if isinstance(first, Function):
            column = self._index_of_row(command, scope)
            if column is not None:
                self._column(column.value, column.pos, scope, by_index=True)
                return
            self._compared(command, scope)
        for arg in (first, *rest):
            self._operand(arg, scope)

    def _operand(self, node: Operand, scope: _Scope) -> None:
        match node:
            case Dot() if scope.dot_is_row:
                self.used.update(self.columns)
            case Field() if scope.dot_is_row:
                self._fields(node.names, node, scope)
            case Variable() if node.name in scope.rows:
                if node.names:
                    self._fields(node.names, node, scope)
                else:
                    self.used.update(self.columns)
            case Pipe():
                self._pipe(node, scope)
            case Chain():
                if isinstance(node.node, Pipe) and self._is_row(node.node, scope):
                    self._fields(node.names, node, scope)
                else:
                    self._operand(node.node, scope)
            case _:
                pass

    def _fields(self, names: Sequence[str], node: Operand, scope: _Scope) -> None:
        self._column(names[0], node.pos, scope)
        if len(names) > 1 and self.template.is_csv and names[0] in self.columns:
            what = f"{shown(node, self.tree.delims)} fails for every row: {_CONTAINERS}, it has no fields."
            self._tell("always_fails", node.pos, ".".join(names), what)

    def _column(self, name: str, pos: int, scope: _Scope, *, by_index: bool = False) -> None:
        del scope
        if name in self.columns:
            self.used.add(name)
            return
        suggestion = self._suggestion(name, by_index=by_index)
        hint = f" Did you mean `{suggestion}`?" if suggestion else ""
        self._tell("unknown_field", pos, name, f"No row has {quote(name)}.{hint}", suggestion)

    def _compared(self, command: Command, scope: _Scope) -> None:
        """Comparing a text cell with a number fails for every row."""
        first, operands = command.args[0], command.args[1:]
        if not isinstance(first, Function) or first.name not in _COMPARISONS or not self.template.is_csv:
            return
        cells = [item for item in operands if self._cell_operand(item, scope)]
        numbers = [item for item in operands if isinstance(item, Num)]
        if cells and numbers:
            number, cell = (shown(item, self.tree.delims) for item in (numbers[0], cells[0]))
            message = f"`{first.name}` can't compare {cell} with {number}: {_CONTAINERS}."
            instead = f'{first.name} {cell} "{number}"' if first.name in {"eq", "ne"} else None
            self._tell("always_fails", command.pos, first.name, message, instead)

    # What things are

    def _is_row(self, pipe: Pipe, scope: _Scope) -> bool:
        """Whether the value of a pipeline is the row itself."""
        if len(pipe.commands) != 1 or len(pipe.commands[0].args) != 1:
            return False
        node = pipe.commands[0].args[0]
        if isinstance(node, Pipe):
            return self._is_row(node, scope)
        if isinstance(node, Variable):
            return node.name in scope.rows and not node.names
        return isinstance(node, Dot) and scope.dot_is_row

    def _index_of_row(self, command: Command, scope: _Scope) -> String | None:
        """The column of an `index . "Company Name"`."""
        args = command.args
        if len(args) < 3 or not isinstance(args[0], Function) or args[0].name != "index":  # noqa: PLR2004 - index, row, key
            return None
        on, key = args[1], args[2]
        is_row = (isinstance(on, Dot) and scope.dot_is_row) or (
            isinstance(on, Variable) and on.name in scope.rows and not on.names
        )
        return key if is_row and isinstance(key, String) else None

    def _row_field(self, node: Operand, scope: _Scope) -> str | None:
        """The column that an operand is, if it is one."""
        if isinstance(node, Field) and scope.dot_is_row and len(node.names) == 1:
            return node.names[0]
        if isinstance(node, Variable) and node.name in scope.rows and len(node.names) == 1:
            return node.names[0]
        if isinstance(node, Pipe) and len(node.commands) == 1:
            return self._command_field(node.commands[0], scope)
        return None

    def _command_field(self, command: Command, scope: _Scope) -> str | None:
        column = self._index_of_row(command, scope)
        if column is not None:
            return column.value
        return self._row_field(command.args[0], scope) if len(command.args) == 1 else None

    def _cell_operand(self, node: Operand, scope: _Scope) -> bool:
        return self._row_field(node, scope) in self.columns

    def _cell(self, pipe: Pipe, scope: _Scope) -> bool:
        return self._row_field(pipe, scope) in self.columns

    def _missing(self, pipe: Pipe, scope: _Scope) -> str | None:
        """The field that decides a block, if no row has it."""
        name = self._row_field(pipe, scope)
        return name if name is not None and name not in self.columns else None

    # Suggestions

    def _near(self, name: str, pipe: Pipe) -> str | None:
        return self._suggestion(name, by_index=isinstance(pipe.commands[0].args[0], Function))

    def _suggestion(self, name: str, *, by_index: bool) -> str | None:
        """The column that was probably meant, as it is written at such a place."""
        column = nearest(name, self.columns)
        if column is None:
            return None
        if by_index:
            return quote(column)
        return f".{column}" if re.fullmatch(r"[^\W\d]\w*", column) else f"index . {quote(column)}"


_COMPARISONS = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})


def nearest(name: str, columns: Iterable[str]) -> str | None:
    """The column whose name is most like `name`; None when none is like it."""
    by_key: dict[str, str] = {}
    for column in columns:
        by_key.setdefault(_key(column), column)
    key = _key(name)
    if key in by_key:
        return by_key[key]
    found = get_close_matches(key, list(by_key), n=1, cutoff=_NEAR_ENOUGH)
    return by_key[found[0]] if found else None


def _key(name: str) -> str:
    """Letters and digits alone: `Company Name`, `company_name` and `CompanyName` are alike."""
    return re.sub(r"[\W_]+", "", name).casefold()


def _constant(pipe: Pipe) -> bool | None:
    """Whether a pipeline that is a literal is true; None for all others."""
    if len(pipe.commands) != 1 or len(pipe.commands[0].args) != 1 or pipe.names:
        return None
    match pipe.commands[0].args[0]:
        case Bool(value=value):
            return value
        case String(value=value):
            return bool(value)
        case Num(number=number):
            values = (number.complex_value, number.float_value, number.int_value)
            return any(values)
        case Pipe() as inner:
            return _constant(inner)
        case Nil() | _:
            return None
