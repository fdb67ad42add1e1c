"""Random templates and rows: mostly well formed, of every construct of the language, and some that are broken."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from soak.template_words import DAMAGE, FLOATS, FUNCTIONS, INTS, KEYS, MISSING, NUMBERS, STRINGS, TEXTS, VERBS, WORDS


@dataclass
class Grammar:
    """One source of random cases."""

    rand: random.Random
    names: list[str] = field(default_factory=list[str])
    """Variables in scope."""
    loops: int = 0
    defined: list[str] = field(default_factory=list[str])
    size: int = 0
    broken: float = 0.1
    """Share of templates that are damaged."""
    odd: float = 0.3
    """Share of cases in which operands are as likely wrong as right; the others mostly suit."""
    wild: bool = False

    def case(self) -> dict[str, Any]:
        """A template with a row and options."""
        rand = self.rand
        self.names, self.loops, self.size = [], 0, 0
        self.defined = rand.sample(["x", "a b", "", "Ünï", "t2"], rand.choice([0, 0, 0, 1, 2]))
        csv = rand.random() < 0.2
        self.wild = rand.random() < self.odd
        text = self.nodes(rand.randint(1, 3))
        for name in self.defined:
            self.names = []
            text += f"{{{{define {self.quoted(name)}}}}}{self.nodes(rand.randint(0, 2))}{{{{end}}}}"
        delims = None
        if rand.random() < 0.03:
            delims = rand.choice([["<<", ">>"], ["[[", "]]"], ["$$", "@@"], ["{{", "}}}"], ["(", ")"], ["<%", "%>"]])
            text = text.replace("{{", delims[0]).replace("}}", delims[1])
        if rand.random() < self.broken:
            text = self.damaged(text)
        return {
            "template": text,
            "data": self.csv_row() if csv else self.row(),
            "missingkey": rand.choice(["default", "default", "zero", "error"]),
            "csv": csv,
            "delims": delims,
        }

    # Rows

    def row(self) -> Any:
        """A typed row; now and then no map at all."""
        rand = self.rand
        if rand.random() < 0.03:
            return rand.choice([None, 1, "text", [1, "a", None], 1.5, True, [], {}, "日本"])
        row = {
            "name": rand.choice(WORDS),
            "city": rand.choice(WORDS),
            "n": rand.choice(INTS),
            "m": rand.choice(INTS),
            "f": rand.choice(FLOATS),
            "g": rand.uniform(-1e6, 1e6),
            "ok": True,
            "no": False,
            "nul": None,
            "list": [rand.choice(INTS) for _ in range(rand.randint(0, 5))],
            "words": [rand.choice(WORDS) for _ in range(rand.randint(0, 4))],
            "objs": [
                {"name": rand.choice(WORDS), "n": self.scalar(), "sub": self.scalar()}
                for _ in range(rand.randint(0, 3))
            ],
            "map": {
                rand.choice(["b", "a", "é", "Z", "10", "9", "", "key"]): self.scalar()
                for _ in range(rand.randint(0, 4))
            },
            "deep": {"a": {"b": {"c": self.scalar()}, "n": None}, "l": [[1, 2], [], ["x", {"k": 1}]]},
            "é": rand.choice(WORDS),
            "a_b": self.scalar(),
            "X1": self.scalar(),
            "a b": self.scalar(),
            "key": self.scalar(),
            "empty": "",
            "none": [],
            "mixed": [self.scalar() for _ in range(rand.randint(0, 5))],
            "zero": 0,
            "grid": [[1], [2, 3.5]],
        }
        for key in rand.sample(list(row), rand.randint(0, 5) if self.wild else 0):
            row[key] = rand.choice([self.scalar(), self.scalar(), {}, {"name": 1}, [None], None])
        return row

    def scalar(self) -> Any:
        """A value without parts."""
        rand = self.rand
        return rand.choice([rand.choice(WORDS), rand.choice(INTS), rand.choice(FLOATS), rand.random() < 0.5, None])

    def csv_row(self) -> dict[str, str]:
        """A row of text cells."""
        rand = self.rand
        return {
            key: rand.choice([*WORDS, str(rand.choice(INTS)), str(rand.choice(FLOATS))])
            for key in [*KEYS, "a b", "key"]
        }

    # Actions

    def nodes(self, count: int) -> str:
        """Texts and actions."""
        return "".join(self.text() + self.node() for _ in range(count)) + self.text()

    def text(self) -> str:
        """Literal text."""
        return self.rand.choice(TEXTS) if self.rand.random() < 0.7 else ""

    def action(self, inner: str) -> str:
        """An action around its inside."""
        rand = self.rand
        space = rand.choice(["", "", "", " ", "  ", "\n", "\t"])
        left = "{{- " if rand.random() < 0.1 else "{{" + space
        right = " -}}" if rand.random() < 0.1 else space + "}}"
        return left + inner + right

    def node(self) -> str:
        """One action, with what stands in it."""
        self.size += 1
        kinds = ["print"] * 10 + ["printf"] * 3 + ["declare", "declare", "assign", "comment"]
        if self.size < 25:
            kinds += ["if"] * 3 + ["with"] * 2 + ["range"] * 4 + ["template", "block"]
        if self.loops:
            kinds += ["leave"] * 2
        return getattr(self, f"_{self.rand.choice(kinds)}")()

    def _print(self) -> str:
        return self.action(self.pipeline())

    def _printf(self) -> str:
        args = "".join(f" {self.operand(1)}" for _ in range(self.rand.randint(0, 3)))
        return self.action(f"printf {self.quoted(self.format())}{args}")

    def _comment(self) -> str:
        good = ["{{/* c */}}", "{{- /* c */ -}}", "{{/**/}}", "{{/* a\nb */}}", "{{- /* c */}}"]
        bad = ["{{ /* c */}}", "{{/* c */ }}", "{{/* c", "{{/*/}}"]
        return self.rand.choice(good if self.rand.random() < 0.9 else bad)

    def _declare(self) -> str:
        name = "$" + self.rand.choice(["x", "y", "z", "é1", "", "name"])
        action = self.action(f"{name} := {self.pipeline()}")
        self.names.append(name)
        return action

    def _assign(self) -> str:
        if not self.names and self.rand.random() < 0.9:
            return self._declare()
        name = self.rand.choice(self.names or ["$x"])
        return self.action(f"{name} = {self.pipeline()}")

    def _leave(self) -> str:
        word = self.rand.choice(["break", "continue"])
        return (
            self.action(word)
            if self.rand.random() < 0.5
            else self.action(f"if {self.pipeline()}") + self.action(word) + "{{end}}"
        )

    def _body(self, count: int) -> str:
        known = len(self.names)
        text = self.nodes(count)
        del self.names[known:]
        return text

    def _head(self, word: str) -> str:
        if self.rand.random() < 0.15:
            name = "$" + self.rand.choice(["x", "w"])
            head = f"{word} {name} {self.rand.choice([':=', ':=', ':=', '='])} {self.pipeline()}"
            self.names.append(name)
            return head
        return f"{word} {self.pipeline()}"

    def _if(self, word: str = "if") -> str:
        known = len(self.names)
        text = self.action(self._head(word)) + self._body(self.rand.randint(0, 2))
        while self.rand.random() < 0.25:
            text += self.action(self._head(f"else {word}")) + self._body(1)
        if self.rand.random() < 0.5:
            text += self.action("else") + self._body(1)
        del self.names[known:]
        return text + self.action("end")

    def _with(self) -> str:
        return self._if("with")

    def _range(self) -> str:
        rand, known = self.rand, len(self.names)
        source = (
            self.pipeline()
            if rand.random() < 0.3
            else rand.choice(
                [
                    ".list",
                    ".words",
                    ".objs",
                    ".map",
                    ".mixed",
                    "$",
                    ".",
                    "3",
                    "0",
                    ".n",
                    ".none",
                    ".deep.l",
                    ".grid",
                    "2",
                    ".missing",
                    ".zero",
                ]
            )
        )
        names = rand.choice([[], [], ["$x"], ["$i", "$e"], ["$x", "$x"], ["$e"]])
        if ".n" in source and source[-1] == "n":
            source = "(len .words)"
        if not self.wild:
            source = rand.choice(
                [
                    "$.list",
                    "$.words",
                    "$.objs",
                    "$.map",
                    "$.mixed",
                    "$",
                    "3",
                    "$.none",
                    "$.deep.l",
                    "$.grid",
                    "$.missing",
                ]
            )
            if len(names) == 2 and source == "3":
                source = "$.list"
        sign = " = " if rand.random() < 0.1 else " := "
        self.names += names
        text = self.action(f"range {', '.join(names)}{sign if names else ''}{source}")
        self.loops += 1
        text += self._body(rand.randint(0, 3))
        self.loops -= 1
        if rand.random() < 0.3:
            text += self.action("else") + self._body(1)
        del self.names[known:]
        return text + self.action("end")

    def _template(self) -> str:
        name = (
            self.rand.choice(self.defined)
            if self.defined and self.rand.random() < 0.95
            else self.rand.choice(["missing", "t"])
        )
        argument = f" {self.pipeline()}" if self.rand.random() < 0.8 else ""
        if name == "t" and self.rand.random() < 0.9:
            return self.text()
        return self.action(f"template {self.quoted(name)}{argument}")

    def _block(self) -> str:
        names, self.names, loops, self.loops = self.names, [], self.loops, 0
        body = self.nodes(1)
        self.names, self.loops = names, loops
        return (
            self.action(f"block {self.quoted(self.rand.choice(['bl', 'b2', 'x']))} {self.pipeline()}")
            + body
            + "{{end}}"
        )

    # Expressions

    def pipeline(self, depth: int = 2) -> str:
        """Commands separated by bars."""
        commands = [self.command(depth)]
        while self.rand.random() < 0.2:
            commands.append(self.call(depth - 1, piped=True))
        return self.rand.choice([" | ", "|", " |", "| "]).join(commands)

    def command(self, depth: int) -> str:
        """A call, or a value, now and then with operands it can't have."""
        if self.rand.random() < 0.45:
            return self.call(depth)
        extra = f" {self.operand(0)}" if self.rand.random() < 0.02 else ""
        return self.operand(depth) + extra

    def call(self, depth: int, *, piped: bool = False) -> str:
        """A function with operands that often suit it."""
        rand = self.rand
        name = rand.choice(FUNCTIONS)
        if not self.wild:
            return self._suited(depth, piped=piped)
        if rand.random() < 0.02:
            return rand.choice(["foo 1", ".name", "$", "(1)", "nil", "1", '"s"', "true", "len.x", "print.x"])
        args = self._arguments(name, depth - 1)
        if piped and args and rand.random() < 0.8:
            args.pop()
        return " ".join([name, *args])

    def _suited(self, depth: int, *, piped: bool) -> str:
        """A call that works for most rows."""
        rand, operand = self.rand, self.operand
        if piped:
            return rand.choice(
                [
                    "print",
                    "println",
                    "html",
                    "js",
                    "urlquery",
                    'printf "%v"',
                    'printf "%q|"',
                    'printf "%-8v"',
                    "not",
                    "or nil",
                    "and 1",
                    'printf "%5.2s"',
                    'print "<"',
                    "eq nil",
                    "html 1 2",
                    'printf "%T"',
                ]
            )
        pick = rand.choice
        one, two = operand(depth), operand(depth)
        calls = [
            f"print {one} {two}",
            f"println {one}",
            f"html {one}",
            f"js {one}",
            f"urlquery {one}",
            f"not {one}",
            f"or {one} {two}",
            f"and {one} {two} {operand(depth)}",
            "len " + pick([".name", ".list", ".map", ".city", ".words", "$.objs", ".deep", "$.grid"]),
            "index $ " + pick(['"a b"', '"key"', '"name"', '"nope"']),
            "index $.map " + pick(['"a"', '"b"', '"Z"', '"é"']),
            "slice $." + pick(["name 0 0", "city 0 1", "name 0", "list 0 0", "list 0 1", "words 0", "list 0"]),
            pick(["lt", "le", "gt", "ge", "eq", "ne"])
            + pick(
                [" $.n 3", " $.f 1.5", " $.name $.city", " $.m $.n", " 3 $.n", " $.g $.f", ' $.name "K"', ' "a" $.city']
            ),
            'eq $.name "a" "K" "Anna"',
            f"printf {self.quoted(self.format())} {one} {two}",
        ]
        return pick(calls)

    def _arguments(self, name: str, depth: int) -> list[str]:
        rand, operand = self.rand, self.operand
        if name in {"index", "slice"} and rand.random() < 0.7:
            return self._part(name, depth)
        match name:
            case "printf":
                form = self.quoted(self.format()) if rand.random() < 0.9 else operand(depth)
                return [form, *[operand(depth) for _ in range(rand.randint(0, 3))]]
            case "not" | "len":
                return [operand(depth) for _ in range(rand.choice([0, 1, 1, 1, 1, 1, 1, 2]))]
            case "eq" | "ne" | "lt" | "le" | "gt" | "ge":
                return self._compared(depth)
            case _:
                return [operand(depth) for _ in range(rand.choice([0, 1, 1, 1, 2, 2, 3]))]

    def _compared(self, depth: int) -> list[str]:
        rand = self.rand
        pairs = [
            [".n", rand.choice(["1", "42", "0", ".m"])],
            [".f", rand.choice(["1.5", "0.0", "1e3", ".g"])],
            [".name", rand.choice(['"a"', '"Anna"', ".city", '"Zoë"'])],
            ["(index .name 0)", rand.choice(["97", "'a'", "(index .city 0)"])],
            [".nul", "nil"],
            [".list", ".words"],
            [".map", ".list"],
            [".ok", "true"],
            ["1i", "1i"],
            [".name", '"a"', '"b"', '"Anna"'],
        ]
        if rand.random() < 0.6:
            return rand.choice(pairs)
        return [self.operand(depth) for _ in range(rand.choice([1, 2, 2, 2, 2, 3]))]

    def _part(self, name: str, depth: int) -> list[str]:
        rand = self.rand
        item = rand.choice(
            [
                ".list",
                ".words",
                ".name",
                ".map",
                ".mixed",
                ".deep.l",
                ".",
                "$",
                ".objs",
                '"日本x"',
                "(slice .list 0 2)",
                ".grid",
            ]
        )
        if name == "slice":
            return [item, *[rand.choice(["0", "1", "2", "3", "4", "5"]) for _ in range(rand.randint(0, 4))]]
        keys = [
            "0",
            "1",
            "2",
            "-1",
            '"a"',
            '"name"',
            '"key"',
            '"a b"',
            "nil",
            ".n",
            "1.5",
            '"b"',
            ".missing",
            self.operand(depth - 1),
        ]
        return [item, *[rand.choice(keys) for _ in range(rand.choice([0, 1, 1, 1, 2]))]]

    def operand(self, depth: int) -> str:  # noqa: PLR0911 - one for each kind
        """A value."""
        rand = self.rand
        kind = rand.random()
        if kind < 0.42:
            return self.path()
        if kind < 0.52:
            return rand.choice([".", "$", "."])
        if kind < 0.62 and self.names:
            name = rand.choice(self.names)
            return name + (self.path().lstrip("$") if rand.random() < (0.2 if self.wild else 0.02) else "")
        if kind < 0.72 and depth > 0:
            chain = self.path().lstrip("$") if rand.random() < (0.2 if self.wild else 0.02) else ""
            head = "$p := " if rand.random() < 0.03 else ""
            return f"({head}{self.pipeline(depth - 1)}){chain}"
        if kind < 0.82:
            return rand.choice(NUMBERS[:32] if not self.wild or rand.random() < 0.9 else NUMBERS)
        if kind < 0.93:
            return rand.choice(STRINGS[:16] if not self.wild or rand.random() < 0.9 else STRINGS)
        return rand.choice(
            ["true", "false"] if not self.wild and depth < 2 else ["true", "false", "true", "false", "nil"]
        )

    def path(self) -> str:
        """`.a.b`"""
        rand = self.rand
        first = rand.choice(KEYS) if rand.random() < 0.9 else rand.choice(MISSING)
        if not self.wild:
            if rand.random() < 0.15:
                return rand.choice(
                    ["$.deep.a", "$.deep.a.b", "$.deep.a.b.c", "$.deep.l", "$.map.a", "$.map.nope.x", "$.nope.x.y"]
                )
            return rand.choice(["$.", "$.", "."]) + first if self.loops else "." + first
        rest = ["name", "n", "a", "b", "key", "sub", "nope"]
        more = [rand.choice(rest) for _ in range(rand.choice([0, 0, 0, 0, 1, 2]))]
        if first == "deep" and rand.random() < 0.5:
            more = rand.choice([["a"], ["a", "b"], ["a", "b", "c"], ["a", "n"], ["a", "n", "x"], ["l"]])
        return "." + ".".join([first, *more])

    def quoted(self, text: str) -> str:
        """A string literal."""
        if "`" not in text and "\r" not in text and self.rand.random() < 0.2:
            return f"`{text}`"
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'

    def format(self) -> str:
        """A format of `printf`."""
        rand = self.rand
        out = ""
        for _ in range(rand.choice([0, 1, 1, 1, 2, 2, 3])):
            out += rand.choice(["", "", "|", " ", "x=", "é", "{", "}"])
            if rand.random() < 0.05:
                continue
            out += "%" + "".join(rand.choice("#0+- ") for _ in range(rand.choice([0, 0, 0, 0, 1, 1, 2, 3])))
            out += (
                rand.choice(["", "", "", "", "", "[1]", "[2]", "[3]", "[0]", "[x]", "["])
                if rand.random() < 0.15
                else ""
            )
            out += rand.choice(["", "", "", "1", "5", "10", "20", "*", "100"]) if rand.random() < 0.98 else "100000000"
            out += rand.choice(["", "", "", ".", ".0", ".1", ".3", ".10", ".*", ".[1]*", ".20"])
            out += rand.choice(VERBS) if rand.random() < 0.3 else rand.choice("vdsqxfg")
        return out + rand.choice(["", "", "|", "\n", "%", "%."] if rand.random() < 0.1 else [""])

    def damaged(self, text: str) -> str:
        """The text with something cut out, doubled or put in."""
        rand = self.rand
        for _ in range(rand.choice([1, 1, 1, 2, 3])):
            at = rand.randint(0, len(text))
            end = min(len(text), at + rand.randint(1, 6))
            match rand.randint(0, 3):
                case 0:
                    text = text[:at] + text[end:]
                case 1:
                    text = text[:at] + rand.choice(DAMAGE) + text[at:]
                case 2:
                    text = text[:at] + text[at:end] * 2 + text[end:]
                case _:
                    text = text[:at]
        return text
