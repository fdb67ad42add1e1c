"""Template text -> tokens, with Go's boundaries, messages and line numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from gristmill.gotemplate.characters import code_name, is_alphanumeric
from gristmill.gotemplate.literals import quote, to_bytes

DELIMS = ("{{", "}}")
_SPACE = " \t\r\n"
_SHOWN_BYTES = 10
"""A longer token is shown by its first characters."""
_NUMBERS = {
    "x": re.compile(r"[+-]?0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?i?", re.ASCII),
    "o": re.compile(r"[+-]?0[oO][0-7_]*(?:\.[0-7_]*)?i?", re.ASCII),
    "b": re.compile(r"[+-]?0[bB][01_]*(?:\.[01_]*)?i?", re.ASCII),
    "": re.compile(r"[+-]?[0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]*)?i?", re.ASCII),
}
_PREFIX = re.compile(r"[+-]?0([xXoObB])", re.ASCII)
_QUOTED = {mark: re.compile(rf"(?:[^\\{mark}\n]|\\[^\n])*+{mark}") for mark in "\"'"}
_SPACES = re.compile(r"[ \t\r\n]+")


class Kind(Enum):
    """Kinds of tokens."""

    ERROR = auto()
    BOOL = auto()
    CHAR = auto()
    CHAR_CONSTANT = auto()
    COMPLEX = auto()
    ASSIGN = auto()
    DECLARE = auto()
    EOF = auto()
    FIELD = auto()
    IDENTIFIER = auto()
    LEFT_DELIM = auto()
    LEFT_PAREN = auto()
    NUMBER = auto()
    PIPE = auto()
    RAW_STRING = auto()
    RIGHT_DELIM = auto()
    RIGHT_PAREN = auto()
    SPACE = auto()
    STRING = auto()
    TEXT = auto()
    VARIABLE = auto()
    KEYWORD = auto()


KEYWORDS = frozenset(
    {".", "block", "break", "continue", "define", "else", "end", "if", "range", "nil", "template", "with"}
)


@dataclass(frozen=True, slots=True)
class Token:
    """One token."""

    kind: Kind
    pos: int
    """Where it starts, in characters."""
    text: str
    """Its text; of an error, the message."""
    line: int

    def is_word(self, word: str) -> bool:
        """Whether it is this keyword."""
        return self.kind is Kind.KEYWORD and self.text == word

    def __str__(self) -> str:
        """As Go shows it in messages."""
        if self.kind is Kind.EOF:
            return "EOF"
        if self.kind is Kind.ERROR:
            return self.text
        if self.kind is Kind.KEYWORD:
            return f"<{self.text}>"
        if len(to_bytes(self.text)) > _SHOWN_BYTES:
            return quote(self.text[:_SHOWN_BYTES]) + "..."
        return quote(self.text)


class Lexer:
    """Cuts a text into tokens, one at a time; after an error there is nothing more."""

    def __init__(self, text: str, delims: tuple[str, str]) -> None:
        self.text = text
        self.left, self.right = delims
        self.pos = 0
        self._inside = False
        self._parens = 0
        self._counted = 0
        self._line = 1
        self._starts: dict[str, Callable[[int], Token]] = {
            '"': self._quoted, "'": self._quoted, "`": self._raw, "$": self._variable, "=": self._single,
            "|": self._single, ":": self._declare, ".": self._field, "(": self._paren, ")": self._paren,
        }  # fmt: skip

    def line_at(self, pos: int) -> int:
        """The line of a position, counted from 1; positions come in growing order, mostly."""
        if pos < self._counted:
            return self._line - self.text.count("\n", pos, self._counted)
        self._line += self.text.count("\n", self._counted, pos)
        self._counted = pos
        return self._line

    def next(self) -> Token:
        """The next token."""
        return self._action() if self._inside else self._outside()

    # Outside of actions

    def _outside(self) -> Token:
        text, start = self.text, self.pos
        while True:
            found = text.find(self.left, start)
            if found < 0:
                self.pos = len(text)
                kind = Kind.TEXT if start < len(text) else Kind.EOF
                return self._token(kind, start, len(text)) if kind is Kind.TEXT else self._token(kind, start, start)
            inner = found + len(self.left)
            trims = text[inner : inner + 1] == "-" and text[inner + 1 : inner + 2] in _SPACE_SET
            end = found
            if trims:
                end = start + len(text[start:found].rstrip(_SPACE))
            if end > start:
                self.pos = found
                return self._token(Kind.TEXT, start, end)
            after = inner + 2 * trims
            if not text.startswith("/*", after):
                self._inside, self._parens, self.pos = True, 0, after
                return self._token(Kind.LEFT_DELIM, found, inner)
            start = self._comment(after)
            if start < 0:
                return self._failed(after, "unclosed comment" if start == _UNCLOSED else _LATE)

    def _comment(self, start: int) -> int:
        """Where the text goes on behind the comment; negative when it is not well formed."""
        end = self.text.find("*/", start + 2)
        if end < 0:
            return _UNCLOSED
        end += 2
        width = self._right_delim(end)
        if not width:
            return _LATE_END
        self.pos = self._behind(end, width)
        return self.pos

    def _right_delim(self, pos: int) -> int:
        """How long the right delimiter is that stands here, with its trim marker; 0 when there is none."""
        text = self.text
        if (
            text[pos : pos + 1] in _SPACE_SET
            and text[pos + 1 : pos + 2] == "-"
            and text.startswith(self.right, pos + 2)
        ):
            return 2 + len(self.right)
        return len(self.right) if text.startswith(self.right, pos) else 0

    def _behind(self, pos: int, width: int) -> int:
        """Where the text goes on behind a right delimiter, trimmed when it has a marker."""
        end = pos + width
        if width > len(self.right):
            spaces = _SPACES.match(self.text, end)
            end = spaces.end() if spaces else end
        return end

    # Inside of actions

    def _action(self) -> Token:  # noqa: PLR0911 - one for each kind of token
        text, start = self.text, self.pos
        width = self._right_delim(start)
        if width:
            if self._parens:
                return self._failed(start, "unclosed left paren")
            return self._close(start, width)
        if start >= len(text):
            return self._failed(start, "unclosed action")
        char = text[start]
        if char in _SPACE_SET:
            return self._space(start)
        begin = self._starts.get(char)
        if begin:
            return begin(start)
        if char in "+-" or ("0" <= char <= "9"):
            return self._number(start)
        if is_alphanumeric(char):
            return self._word(start)
        if " " < char < "\x7f":
            return self._token(Kind.CHAR, start, start + 1)
        return self._failed(start, f"unrecognized character in action: {code_name(char)}")

    def _close(self, start: int, width: int) -> Token:
        self._inside = False
        first = start + 2 * (width > len(self.right))
        self.pos = self._behind(start, width)
        return self._token(Kind.RIGHT_DELIM, first, first + len(self.right))

    def _space(self, start: int) -> Token:
        spaces = _SPACES.match(self.text, start)
        end = spaces.end() if spaces else start
        if self.text.startswith("-" + self.right, end):
            if end - start == 1:
                return self._close(start, 2 + len(self.right))
            end -= 1
        self.pos = end
        return self._token(Kind.SPACE, start, end)

    def _single(self, start: int) -> Token:
        self.pos = start + 1
        return self._token(Kind.PIPE if self.text[start] == "|" else Kind.ASSIGN, start, start + 1)

    def _declare(self, start: int) -> Token:
        if not self.text.startswith("=", start + 1):
            return self._failed(start, "expected :=")
        return self._token(Kind.DECLARE, start, start + 2)

    def _paren(self, start: int) -> Token:
        opens = self.text[start] == "("
        self._parens += 1 if opens else -1
        if self._parens < 0:
            return self._failed(start, "unexpected right paren")
        return self._token(Kind.LEFT_PAREN if opens else Kind.RIGHT_PAREN, start, start + 1)

    def _quoted(self, start: int) -> Token:
        mark = self.text[start]
        found = _QUOTED[mark].match(self.text, start + 1)
        if not found:
            what = "quoted string" if mark == '"' else "character constant"
            return self._failed(start, f"unterminated {what}")
        return self._token(Kind.STRING if mark == '"' else Kind.CHAR_CONSTANT, start, found.end())

    def _raw(self, start: int) -> Token:
        end = self.text.find("`", start + 1)
        if end < 0:
            return self._failed(start, "unterminated raw quoted string")
        return self._token(Kind.RAW_STRING, start, end + 1)

    def _variable(self, start: int) -> Token:
        return self._named(Kind.VARIABLE, start)

    def _field(self, start: int) -> Token:
        if "0" <= self.text[start + 1 : start + 2] <= "9" and start + 1 < len(self.text):
            return self._number(start)
        if start + 1 >= len(self.text):
            return self._number(start)
        if self._ends(start + 1):
            return self._token(Kind.KEYWORD, start, start + 1)
        return self._named(Kind.FIELD, start)

    def _named(self, kind: Kind, start: int) -> Token:
        end = self._name_end(start + 1)
        if not self._ends(end):
            return self._failed(start, f"bad character {code_name(self.text[end])}")
        return self._token(kind, start, end)

    def _word(self, start: int) -> Token:
        end = self._name_end(start)
        if not self._ends(end):
            return self._failed(start, f"bad character {code_name(self.text[end])}")
        word = self.text[start:end]
        return self._token(_WORDS.get(word, Kind.IDENTIFIER), start, end)

    def _name_end(self, pos: int) -> int:
        text, size = self.text, len(self.text)
        while pos < size and is_alphanumeric(text[pos]):
            pos += 1
        return pos

    def _ends(self, pos: int) -> bool:
        """Whether a name may end here."""
        return pos >= len(self.text) or self.text[pos] in " \t\r\n.,|:)(" or self.text.startswith(self.right, pos)

    def _number(self, start: int) -> Token:
        end, good = self._scan_number(start)
        if not good:
            return self._failed(start, f"bad number syntax: {quote(self.text[start:end])}")
        if self.text[end : end + 1] not in {"+", "-"}:
            return self._token(Kind.NUMBER, start, end)
        end, good = self._scan_number(end)
        if not good or self.text[end - 1] != "i":
            return self._failed(start, f"bad number syntax: {quote(self.text[start:end])}")
        return self._token(Kind.COMPLEX, start, end)

    def _scan_number(self, start: int) -> tuple[int, bool]:
        prefix = _PREFIX.match(self.text, start)
        found = _NUMBERS[prefix[1].lower() if prefix else ""].match(self.text, start)
        end = found.end() if found else start
        if end < len(self.text) and is_alphanumeric(self.text[end]):
            return end + 1, False
        return end, True

    def _token(self, kind: Kind, start: int, end: int) -> Token:
        if self._inside:
            self.pos = max(self.pos, end)
        return Token(kind, start, self.text[start:end], self.line_at(start))

    def _failed(self, start: int, message: str) -> Token:
        return Token(Kind.ERROR, start, message, self.line_at(start))


_WORDS = {"true": Kind.BOOL, "false": Kind.BOOL, **dict.fromkeys(KEYWORDS, Kind.KEYWORD)}
_SPACE_SET = frozenset(_SPACE)
_UNCLOSED, _LATE_END = -1, -2
_LATE = "comment ends before closing delimiter"
