"""Tokens -> tree, with Go's checks, messages and line numbers."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

from gristmill.gotemplate.cursor import Cursor
from gristmill.gotemplate.lexer import Kind, Token
from gristmill.gotemplate.literals import BadLiteral, complex_number, number, quote, unquote
from gristmill.gotemplate.model import (
    NESTING_MAX,
    PARENS_MAX,
    RANGES_MAX,
    TEMPLATE_CHARS_MAX,
)
from gristmill.gotemplate.nodes import (
    Action,
    Block,
    Bool,
    Call,
    Chain,
    Command,
    Definition,
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
    is_blank,
    shown,
)

_OPERANDS = frozenset(
    {
        Kind.BOOL, Kind.CHAR_CONSTANT, Kind.COMPLEX, Kind.FIELD, Kind.IDENTIFIER, Kind.NUMBER, Kind.RAW_STRING,
        Kind.STRING, Kind.VARIABLE, Kind.LEFT_PAREN,
    }
)  # fmt: skip
_NUMBERS = frozenset({Kind.NUMBER, Kind.CHAR_CONSTANT, Kind.COMPLEX})
_STRINGS = frozenset({Kind.STRING, Kind.RAW_STRING})
_VALUES = (Bool, Dot, Nil, Num, String)
"""What can't stand behind a `|`."""


@dataclass(frozen=True, slots=True)
class _End:
    """`{{end}}` or `{{else ...}}`: where a list of nodes stops."""

    word: str
    shown: str
    then: str = ""
    """`if` or `with` when it is an `{{else if}}` or `{{else with}}`."""


@dataclass(slots=True)
class _Scope:
    """What is known while one template is read: its variables and the blocks around."""

    names: list[str] = field(default_factory=lambda: ["$"])
    ranges: int = 0
    parens: int = 0


def parse(text: str, name: str, delims: tuple[str, str], functions: Container[str]) -> Tree:
    """Read a template's text. Raises `TemplateError` of the stage `parse`."""
    parser = _Parser(text, name, delims, functions)
    try:
        return parser.parse()
    except RecursionError:
        parser.fail("nested too deeply")


class _Parser(Cursor):
    """Reads one text. Its methods are Go's productions."""

    def __init__(self, text: str, name: str, delims: tuple[str, str], functions: Container[str]) -> None:
        super().__init__(text, name, delims)
        self._functions = functions
        self._tree = Tree(name, text, delims)
        self._scope = _Scope()
        self._blocks = 0

    def parse(self) -> Tree:
        """The whole text: nodes and definitions up to its end."""
        if len(self.text) > TEMPLATE_CHARS_MAX:
            self.fail(f"the template is longer than {TEMPLATE_CHARS_MAX} characters")
        body: list[Node] = []
        while self.peek().kind is not Kind.EOF:
            if self.peek().kind is Kind.LEFT_DELIM:
                delim = self.next()
                word = self.next_solid()
                if word.is_word("define"):
                    self._definition()
                    continue
                self.pending += [word, delim]
            node = self._text_or_action()
            if isinstance(node, _End):
                self.fail(f"unexpected {node.shown}")
            body.append(node)
        self._define(self.name, body)
        return self._tree

    # Templates

    def _define(self, name: str, body: list[Node]) -> None:
        known = self._tree.definitions.get(name)
        if known is None or is_blank(known.body):
            self._tree.definitions[name] = Definition(name, tuple(body))
        elif not is_blank(body):
            self.fail(f"template: multiple definition of template {quote(name)}")

    def _definition(self) -> None:
        context = "define clause"
        name = self._template_name(self.next_solid(), context)
        self.expect(Kind.RIGHT_DELIM, context)
        self._body_of(name, context)

    def _body_of(self, name: str, context: str, place: Token | None = None) -> None:
        """The body of a definition; that it ends in an `else` is told at `place`, or else at its end."""
        outer, self._scope = self._scope, _Scope()
        action_line, self.action_line = self.action_line, 0
        body, end = self._list()
        if end.word != "end":
            self.last = place or self.last
            self.fail(f"unexpected {end.shown} in {context}")
        self._define(name, body)
        self._scope, self.action_line = outer, action_line

    def _template_name(self, token: Token, context: str) -> str:
        if token.kind not in _STRINGS:
            self.unexpected(token, context)
        return self._unquoted(token)

    def _unquoted(self, token: Token) -> str:
        try:
            return unquote(token.text)
        except BadLiteral as error:
            self.fail(str(error))

    # Nodes

    def _list(self) -> tuple[list[Node], _End]:  # noqa: RET503 - `fail` never returns
        """Nodes up to an `end` or `else`, and which of them it was."""
        nodes: list[Node] = []
        while self.peek_solid().kind is not Kind.EOF:
            node = self._text_or_action()
            if isinstance(node, _End):
                return nodes, node
            nodes.append(node)
        self.fail("unexpected EOF")

    def _text_or_action(self) -> Node | _End:
        self.count()
        token = self.next_solid()
        if token.kind is Kind.TEXT:
            return Text(token.pos, token.text)
        if token.kind is not Kind.LEFT_DELIM:
            self.unexpected(token, "input")
        self.action_line = token.line
        node = self._action()
        self.action_line = 0
        return node

    def _action(self) -> Node | _End:  # noqa: PLR0911 - one for each keyword
        token = self.next_solid()
        if token.kind is Kind.KEYWORD:
            match token.text:
                case "if" | "with" | "range":
                    return self._block(token.text)
                case "end":
                    self.expect(Kind.RIGHT_DELIM, "end")
                    return _End("end", self._delimited("end"))
                case "else":
                    return self._else()
                case "break" | "continue":
                    return self._leave(token)
                case "template":
                    return self._template()
                case "block":
                    return self._named_block()
                case _:
                    pass
        self.back(token)
        return Action(token.pos, self._pipeline("command", Kind.RIGHT_DELIM))

    def _delimited(self, word: str) -> str:
        return f"{self._tree.delims[0]}{word}{self._tree.delims[1]}"

    def _leave(self, token: Token) -> Leave:
        shown_word = f"{{{{{token.text}}}}}"
        after = self.next_solid()
        if after.kind is not Kind.RIGHT_DELIM:
            self.unexpected(after, shown_word)
        if not self._scope.ranges:
            self.fail(f"{shown_word} outside {{{{range}}}}")
        return Leave(token.pos, token.text)

    def _else(self) -> _End:
        peek = self.peek_solid()
        if peek.is_word("if") or peek.is_word("with"):
            return _End("else", self._delimited("else"), peek.text)
        self.expect(Kind.RIGHT_DELIM, "else")
        return _End("else", self._delimited("else"))

    def _template(self) -> Call:
        context = "template clause"
        token = self.next_solid()
        name = self._template_name(token, context)
        after = self.next_solid()
        pipe = None
        if after.kind is not Kind.RIGHT_DELIM:
            self.back(after)
            pipe = self._pipeline(context, Kind.RIGHT_DELIM)
        return Call(token.pos, name, pipe)

    def _named_block(self) -> Call:
        context = "block clause"
        token = self.next_solid()
        name = self._template_name(token, context)
        pipe = self._pipeline(context, Kind.RIGHT_DELIM)
        self._deeper()
        self._body_of(name, context, self.last)
        self._blocks -= 1
        return Call(token.pos, name, pipe)

    def _deeper(self) -> None:
        self._blocks += 1
        if self._blocks > NESTING_MAX:
            self.fail(f"more than {NESTING_MAX} blocks within one another")

    def _block(self, word: str) -> Block:
        """A block. A chain of `else if` is read in a loop: its parts are nested blocks in the tree."""
        known = len(self._scope.names)
        self._deeper()
        parts: list[tuple[Pipe, list[Node]]] = []
        other: list[Node] | None = None
        while True:
            pipe = self._pipeline(word, Kind.RIGHT_DELIM)
            if word == "range":
                self._scope.ranges += 1
                if self._scope.ranges > RANGES_MAX:
                    self.fail(f"more than {RANGES_MAX} ranges within one another")
            body, end = self._list()
            if word == "range":
                self._scope.ranges -= 1
            parts.append((pipe, body))
            if end.word == "end":
                break
            if word == "range" or end.then != word:
                other, end = self._list()
                if end.word != "end":
                    self.fail(f"expected end; found {end.shown}")
                break
            self.next_solid()
            self.count()
        self._blocks -= 1
        del self._scope.names[known:]
        return self._nested(word, parts, other)

    @staticmethod
    def _nested(word: str, parts: list[tuple[Pipe, list[Node]]], other: list[Node] | None) -> Block:
        rest = None if other is None else tuple(other)
        for pipe, body in reversed(parts[1:]):
            rest = (Block(pipe.pos, word, pipe, tuple(body), rest, is_chained=True),)
        pipe, body = parts[0]
        return Block(pipe.pos, word, pipe, tuple(body), rest)

    # Pipelines

    def _pipeline(self, context: str, end: Kind) -> Pipe:
        pos = self.peek_solid().pos
        names, assigns = self._declarations(context)
        commands: list[Command] = []
        while True:
            token = self.next_solid()
            if token.kind is end:
                break
            if token.kind not in _OPERANDS and not (token.is_word(".") or token.is_word("nil")):
                self.unexpected(token, context)
            self.back(token)
            commands.append(self._command())
        if not commands:
            self.fail(f"missing value for {context}")
        for stage, command in enumerate(commands[1:], 2):
            if isinstance(command.args[0], _VALUES):
                self.fail(f"non executable command in pipeline stage {stage}")
        return Pipe(pos, tuple(names), assigns, tuple(commands))

    def _declarations(self, context: str) -> tuple[list[Variable], bool]:
        """The variables before `:=` or `=`, and whether it was `=`."""
        names: list[Variable] = []
        while True:
            token = self.peek_solid()
            if token.kind is not Kind.VARIABLE:
                return names, False
            self.next_solid()
            adjacent = self.peek()
            after = self.peek_solid()
            if after.kind in {Kind.ASSIGN, Kind.DECLARE}:
                self.next_solid()
                names.append(Variable(token.pos, token.text))
                self._scope.names.append(token.text)
                return names, after.kind is Kind.ASSIGN
            if after.kind is not Kind.CHAR or after.text != ",":
                if adjacent.kind is Kind.SPACE:
                    self.back(adjacent)
                self.back(token)
                return names, False
            self.next_solid()
            names.append(Variable(token.pos, token.text))
            self._scope.names.append(token.text)
            if context != "range" or len(names) > 1:
                self.fail(f"too many declarations in {context}")
            follows = self.peek_solid().kind
            if follows not in {Kind.VARIABLE, Kind.RIGHT_DELIM, Kind.RIGHT_PAREN}:
                self.fail("range can only initialize variables")

    def _command(self) -> Command:
        pos = self.peek_solid().pos
        args: list[Operand] = []
        while True:
            self.peek_solid()
            operand = self._operand()
            if operand is not None:
                args.append(operand)
            token = self.next()
            if token.kind is Kind.SPACE:
                continue
            if token.kind in {Kind.RIGHT_DELIM, Kind.RIGHT_PAREN}:
                self.back(token)
            elif token.kind is not Kind.PIPE:
                self.unexpected(token, "operand")
            break
        if not args:
            self.fail("empty command")
        return Command(pos, tuple(args))

    def _operand(self) -> Operand | None:  # noqa: RET503 - `fail` never returns
        node = self._term()
        if node is None or self.peek().kind is not Kind.FIELD:
            return node
        pos = self.peek().pos
        names: list[str] = []
        while self.peek().kind is Kind.FIELD:
            self.count()
            names.append(self.next().text[1:])
        match node:
            case Field():
                return Field(pos, (*node.names, *names))
            case Variable():
                return Variable(pos, node.name, tuple(names))
            case Bool() | String() | Num() | Nil() | Dot():
                self.fail(f"unexpected . after term {quote(shown(node, self._tree.delims))}")
            case _:
                return Chain(pos, node, tuple(names))

    def _term(self) -> Operand | None:
        self.count()
        token = self.next_solid()
        if token.kind is Kind.FIELD:
            return Field(token.pos, (token.text[1:],))
        if token.kind is Kind.IDENTIFIER:
            if token.text not in self._functions:
                self.fail(f"function {quote(token.text)} not defined")
            return Function(token.pos, token.text)
        if token.kind is Kind.VARIABLE:
            if token.text not in self._scope.names:
                self.fail(f"undefined variable {quote(token.text)}")
            return Variable(token.pos, token.text)
        if token.kind is Kind.LEFT_PAREN:
            return self._parenthesized()
        return self._literal(token)

    def _literal(self, token: Token) -> Operand | None:
        if token.is_word("."):
            return Dot(token.pos)
        if token.is_word("nil"):
            return Nil(token.pos)
        if token.kind is Kind.BOOL:
            return Bool(token.pos, token.text == "true")
        if token.kind in _STRINGS:
            return String(token.pos, token.text, self._unquoted(token))
        if token.kind in _NUMBERS:
            try:
                read = complex_number if token.kind is Kind.COMPLEX else number
                return Num(token.pos, read(token.text))
            except BadLiteral as error:
                self.fail(str(error))
        self.back(token)
        return None

    def _parenthesized(self) -> Pipe:
        if self._scope.parens >= PARENS_MAX:
            self.fail("max expression depth exceeded")
        self._scope.parens += 1
        pipe = self._pipeline("parenthesized pipeline", Kind.RIGHT_PAREN)
        self._scope.parens -= 1
        return pipe
