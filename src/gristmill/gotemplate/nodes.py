"""The parts of a parsed template, and the text that Go shows for each in its messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gristmill.gotemplate.literals import Number, quote


@dataclass(frozen=True, slots=True)
class Text:
    """Literal text between actions."""

    pos: int
    text: str


@dataclass(frozen=True, slots=True)
class Dot:
    """The dot, `.`."""

    pos: int


@dataclass(frozen=True, slots=True)
class Nil:
    """The constant `nil`."""

    pos: int


@dataclass(frozen=True, slots=True)
class Bool:
    """The constants `true` and `false`."""

    pos: int
    value: bool


@dataclass(frozen=True, slots=True)
class Num:
    """A number or character constant."""

    pos: int
    number: Number


@dataclass(frozen=True, slots=True)
class String:
    """A quoted or raw string."""

    pos: int
    source: str
    """With its quotes."""
    value: str


@dataclass(frozen=True, slots=True)
class Field:
    """Fields of the dot, `.a.b`."""

    pos: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable, perhaps with fields: `$x`, `$x.a.b`."""

    pos: int
    name: str
    """With its dollar sign."""
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Function:
    """The name of a function."""

    pos: int
    name: str


@dataclass(frozen=True, slots=True)
class Chain:
    """Fields of a pipeline in parentheses, `(pipeline).a.b`."""

    pos: int
    node: Operand
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """Operands separated by spaces; the first is a function's name or the only one."""

    pos: int
    args: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Pipe:
    """Commands separated by `|`, perhaps kept in variables."""

    pos: int
    names: tuple[Variable, ...]
    """Variables that get the value."""
    assigns: bool
    """Whether they are assigned (`=`) rather than declared (`:=`)."""
    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Action:
    """An action that prints or sets variables, `{{pipeline}}`."""

    pos: int
    pipe: Pipe


@dataclass(frozen=True, slots=True)
class Block:
    """`if`, `with` or `range`, with what stands in it."""

    pos: int
    word: str
    pipe: Pipe
    body: tuple[Node, ...]
    other: tuple[Node, ...] | None
    """The part after `else`."""
    is_chained: bool = False
    """Whether it stands behind an `else` in one action, as `{{else if ...}}`."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a template, `{{template "name" pipeline}}`."""

    pos: int
    name: str
    pipe: Pipe | None


@dataclass(frozen=True, slots=True)
class Leave:
    """One of `{{break}}` and `{{continue}}`."""

    pos: int
    word: str


Operand = Dot | Nil | Bool | Num | String | Field | Variable | Function | Chain | Pipe
Node = Text | Action | Block | Call | Leave


@dataclass(frozen=True, slots=True)
class Definition:
    """One named template."""

    name: str
    body: tuple[Node, ...]


@dataclass(slots=True)
class Tree:
    """A parsed text: the templates in it by name."""

    name: str
    text: str
    delims: tuple[str, str]
    definitions: dict[str, Definition] = field(default_factory=dict[str, Definition])


def shown(node: Operand | Command | Call, delims: tuple[str, str]) -> str:
    """The node as Go writes it in an error's `<...>`."""
    match node:
        case Call():
            pipe = f" {shown(node.pipe, delims)}" if node.pipe else ""
            text = f"{delims[0]}template {quote(node.name)}{pipe}{delims[1]}"
        case Pipe():
            names = ", ".join(shown(name, delims) for name in node.names)
            head = f"{names} {'=' if node.assigns else ':='} " if names else ""
            text = head + " | ".join(shown(command, delims) for command in node.commands)
        case Command():
            text = " ".join(_wrapped(arg, delims) for arg in node.args)
        case Chain():
            text = _wrapped(node.node, delims) + _dotted(node.names)
        case Field():
            text = _dotted(node.names)
        case Variable():
            text = node.name + _dotted(node.names)
        case _:
            text = _atom(node)
    return text


def _atom(node: Dot | Nil | Bool | Num | String | Function) -> str:
    match node:
        case Dot():
            return "."
        case Nil():
            return "nil"
        case Bool():
            return "true" if node.value else "false"
        case Num():
            return node.number.source
        case String():
            return node.source
        case Function():
            return node.name


def _wrapped(node: Operand, delims: tuple[str, str]) -> str:
    text = shown(node, delims)
    return f"({text})" if isinstance(node, Pipe) else text


def _dotted(names: Sequence[str]) -> str:
    return "".join(f".{name}" for name in names)


def is_blank(body: Sequence[Node]) -> bool:
    """Whether a template has nothing but white space in it; such a one may be defined again."""
    return all(isinstance(node, Text) and not node.text.strip(GO_SPACE) for node in body)


GO_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""White space as Go's `unicode.IsSpace` has it."""
