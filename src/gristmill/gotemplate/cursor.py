"""The tokens of a text, one after the other, and errors at the place that was reached."""

from __future__ import annotations

from typing import NoReturn

from gristmill.gotemplate.lexer import Kind, Lexer, Token
from gristmill.gotemplate.literals import to_bytes
from gristmill.gotemplate.model import NODES_MAX, TemplateError


class Cursor:
    """Goes through the tokens of one text."""

    def __init__(self, text: str, name: str, delims: tuple[str, str]) -> None:
        self.text = text
        self.name = name
        self.pending: list[Token] = []
        """Tokens that were put back, the next one last."""
        self.last = Token(Kind.EOF, 0, "", 1)
        """The token that was cut from the text last, where errors are told."""
        self.action_line = 0
        """The line of the action's left delimiter; 0 outside of actions."""
        self._lexer = Lexer(text, delims)
        self._nodes = 0

    def next(self) -> Token:
        """The next token."""
        if self.pending:
            return self.pending.pop()
        self.last = self._lexer.next()
        return self.last

    def back(self, token: Token) -> None:
        """Put a token back: the next one again."""
        self.pending.append(token)

    def peek(self) -> Token:
        """The next token, which stays."""
        if not self.pending:
            self.last = self._lexer.next()
            self.pending.append(self.last)
        return self.pending[-1]

    def next_solid(self) -> Token:
        """The next token that is no space."""
        token = self.next()
        while token.kind is Kind.SPACE:
            token = self.next()
        return token

    def peek_solid(self) -> Token:
        """The same, which stays; spaces before it are gone."""
        token = self.next_solid()
        self.back(token)
        return token

    def expect(self, kind: Kind, context: str) -> Token:
        """The next token that is no space, which must be of this kind."""
        token = self.next_solid()
        if token.kind is not kind:
            self.unexpected(token, context)
        return token

    def fail(self, message: str) -> NoReturn:
        """Raise a `TemplateError` at the last token that was read."""
        place = self.last
        start = self.text.rfind("\n", 0, place.pos) + 1
        column = len(to_bytes(self.text[start : place.pos]))
        text = f"template: {self.name}:{place.line}: {message}"
        raise TemplateError(text, stage="parse", line=place.line, column=column)

    def unexpected(self, token: Token, context: str) -> NoReturn:
        """Fail because of a token that may not stand here."""
        if token.kind is not Kind.ERROR:
            self.fail(f"unexpected {token} in {context}")
        started = ""
        if self.action_line not in {0, token.line}:
            started = f" in action started at {self.name}:{self.action_line}"
            if token.text.endswith(" action"):
                started = started.removeprefix(" in action")
        self.fail(f"{token}{started}")

    def count(self) -> None:
        """Count a part of the template; fail when there are too many."""
        self._nodes += 1
        if self._nodes > NODES_MAX:
            self.fail(f"the template has more than {NODES_MAX} parts")
