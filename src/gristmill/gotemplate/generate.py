"""A parsed template -> the source of a Python program that renders rows.

The program is made in one of two ways. The quick one joins texts late, loops over rows inside, and takes every row for
a dict; where anything is out of the ordinary it raises, and the row is rendered again by the exact one, which writes
out each piece at once and so knows what was written before an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gristmill.gotemplate import survey
from gristmill.gotemplate.calls import Site, printf_pieces
from gristmill.gotemplate.emitter import NOT_CONSTANT, Aside, Emitter, Place, Value, joined
from gristmill.gotemplate.expressions import NIL, Expressions
from gristmill.gotemplate.literals import quote
from gristmill.gotemplate.model import CALLS_MAX, OUTPUT_CHARS_MAX, STEPS_BETWEEN_CHECKS
from gristmill.gotemplate.nodes import (
    Action,
    Block,
    Call,
    Definition,
    Function,
    Leave,
    Node,
    Pipe,
    Text,
    Tree,
)
from gristmill.gotemplate.options import Options
from gristmill.gotemplate.scope import Scope, Slot, assigned_names
from gristmill.gotemplate.verbs import show

PRINTS_FREE = 4
"""A template that prints more values than this counts what it writes of lists and maps."""
LOOK_EVERY = 200
"""Nodes of a template after which its program looks at the limits."""
LONG_LOOP = 64
"""A loop that goes on longer counts its steps on the way."""


@dataclass(frozen=True, slots=True)
class Program:
    """Source of a program, with what it needs to run and to tell where an error is."""

    source: str
    constants: dict[str, Any]
    sites: tuple[tuple[Place, str], ...]
    """Places in the tree with the name of the template they are in, by site number."""


def generate(tree: Tree, options: Options, *, exact: bool) -> Program:
    """Write the program of a template: `rows(rows, add, again)` or, exact, `row(d, m)`."""
    return _Generator(tree, options, exact=exact).program()


class _Generator:
    def __init__(self, tree: Tree, options: Options, *, exact: bool) -> None:
        self.tree = tree
        self.out = Emitter(exact)
        self.to = Expressions(self.out, options, tree.delims)
        self.to.has_bytes = survey.has_bytes(tree)
        self.numbers = {name: number for number, name in enumerate(tree.definitions)}
        self.graph = survey.call_graph(tree)
        self.endless = survey.endless(self.graph)
        self.is_long = survey.prints(tree) > PRINTS_FREE
        self.to.needs_meter = self.is_long
        self.in_function = False
        self.written = 0
        """Nodes so far."""
        self.skip = ""
        """In the `else` of a `range` that is left early: the flag that says to go on with the loop around."""

    def program(self) -> Program:
        main = self.tree.definitions[self.tree.name]
        called = {name for calls in self.graph.values() for name in calls}
        self.in_function = True
        for name, definition in self.tree.definitions.items():
            if name in called:
                self._function(definition, self.numbers[name])
        self.in_function = False
        if self.out.exact:
            self._exact_main(main)
        else:
            self._quick_main(main)
        return Program("\n".join(self.out.lines), self.out.globals, tuple(self.out.sites))

    # Functions

    def _quick_main(self, main: Definition) -> None:
        out = self.out
        with out.aside() as part:
            body = part.lines
            out.depth, out.started = 3, False
            out.line("if type(d) is not dict:")
            out.line(" add(again(d))")
            out.line(" continue")
            start = len(body)
            self._body(main, Value("d", is_row=True))
            out.begin()
            out.line(f"if len(s) > {OUTPUT_CHARS_MAX}:")
            out.line(" add(again(d))")
            out.line(" continue")
            out.line("add(whole(s))" if self.to.has_bytes else "add(s)")
            out.depth = 0
        if self.to.needs_meter:
            body.insert(start, f"   m.steps = m.made = m.until = 0; m.check = {STEPS_BETWEEN_CHECKS}")
        head = ["def rows(rows, add, again):", " m = Meter()", " for d in rows:", "  try:"]
        out.lines += [*head, *body, "  except Exception:", "   add(again(d))"]

    def _exact_main(self, main: Definition) -> None:
        out = self.out
        out.line("def row(d, m):")
        self._wrapped(main)
        out.line(" return whole(s)" if self.to.has_bytes else " return s")

    def _function(self, definition: Definition, number: int) -> None:
        """A template that others call."""
        out = self.out
        self.to.needs_meter = True
        out.line(f"def f{number}(d, m, depth):")
        if out.exact:
            self._wrapped(definition)
        else:
            out.depth = 1
            out.started = False
            self._body(definition, Value("d"))
            out.begin()
            out.depth = 0
        out.line(" return s")

    def _wrapped(self, definition: Definition) -> None:
        """A body whose output up to an error goes with the error."""
        out = self.out
        out.lines += [" s = ''", " try:"]
        out.depth, out.started = 2, True
        self._body(definition, Value("d"))
        out.line("overflow(0, s)")
        out.depth = 0
        out.lines += [" except Failure as failure:", "  failure.partial = s + failure.partial", "  raise"]

    def _body(self, definition: Definition, dot: Value) -> None:
        self.out.template = definition.name
        self.to.scope = Scope(assigned_names(definition.body))
        root = dot
        if "$" in self.to.scope.assigned:
            self.out.line(f"v0, b0 = {self.to.whole(dot).code}, False")
            root = Value("v0", boxed="b0")
        self.to.scope.slots.append(Slot("$", root, mutable=root is not dot))
        self.to.dot = dot
        self._list(definition.body)

    # Nodes

    def _list(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            self.written += 1
            match node:
                case Text():
                    self.out.text(node.text)
                case Action():
                    self.out.place_of_output = self.out.site(node.pipe)
                    self._action(node.pipe)
                    self._look_at_limits(node.pipe)
                case Block():
                    self._block(node)
                case Call():
                    self._call(node)
                case Leave():
                    self._leave(node)

    def _look_at_limits(self, pipe: Pipe) -> None:
        """Now and then, for long templates without loops."""
        if self.written % LOOK_EVERY == 0:
            self.to.needs_meter = True
            self.out.line(f"tick({self.out.site(pipe)}, m)")

    def _action(self, pipe: Pipe) -> None:
        pieces = self._printf(pipe)
        if pieces is not None:
            for piece in pieces:
                self.out.piece(piece)
            return
        value = self.to.pipeline(pipe)
        if not pipe.names:
            self._print(value)

    def _printf(self, pipe: Pipe) -> list[str] | None:
        """What a `{{printf "..." ...}}` writes, when it can be put together with the text around."""
        args = pipe.commands[0].args
        if pipe.names or len(pipe.commands) != 1 or not isinstance(args[0], Function) or args[0].name != "printf":
            return None
        site = Site("printf", self.out.site(args[0]), self.out.site(pipe.commands[0]), args[1:], None)
        return printf_pieces(self.to, site)

    def _print(self, value: Value) -> None:
        if value.constant is not NOT_CONSTANT:
            self.out.text(show(value.constant))
        elif value.kind in {"str", "int"}:
            self.out.shown(value.code)
        else:
            code = self.to.whole(value).code
            text = f"show_at({value.at}, m, {code})" if self.is_long or self.out.exact else f"show({code})"
            quick = value.kind == "any" and not self.out.exact
            self.out.shown(f"{code} if type({code}) is str or type({code}) is int else {text}" if quick else text)

    def _block(self, node: Block) -> None:
        with self.to.scope.block():
            if node.word == "range":
                self._range(node)
            else:
                self._if(node)

    # If and with

    def _if(self, node: Block) -> None:
        """A block and all that are chained to it by `else if` or `else with`."""
        value = self.to.pipeline(node.pipe)
        body, (inner, other) = self._part(node, value), _chained(node)
        if inner is None:
            rest = self._aside(other or ())
            if not body.lines and not rest.lines and not self.out.exact:
                self._inline(value, body, rest)
                return
            self._open(value, body)
            if other:
                self.out.line("else:")
                self.out.place(rest)
            return
        self._open(value, body)
        depth = self.out.depth
        with self.to.scope.branch():
            while inner is not None:
                self._else_if(inner)
                inner, other = _chained(inner)
            if other is not None:
                self.out.line("else:")
                self.out.place(self._aside(other))
        self.out.depth = depth

    def _else_if(self, node: Block) -> None:
        self.out.depth += 1
        with self.out.aside() as head:
            value = self.to.pipeline(node.pipe)
        body = self._part(node, value)
        self.out.depth -= 1
        test = head.folded(value.code)
        if test is None:
            self.out.line("else:")
            self.out.depth += 1
            self.out.lines += head.lines
            self._open(value, body)
            return
        self.out.line(f"elif {test}:")
        self.out.place(body.raised())

    def _open(self, value: Value, body: Aside) -> None:
        self.out.begin()
        self.out.line(f"if {value.code}:")
        self.out.place(body)

    def _inline(self, value: Value, body: Aside, rest: Aside) -> None:
        """Texts without statements: one expression that chooses."""
        if body.pieces or rest.pieces:
            code = f"{joined(body.pieces)} if {value.code} else {joined(rest.pieces)}"
            self.out.shown(self.out.set(code))

    def _part(self, node: Block, value: Value) -> Aside:
        """The body of an `if` or `with`."""
        dot = self.to.dot
        if node.word == "with":
            self.to.dot = value
        body = self._aside(node.body)
        self.to.dot = dot
        return body

    def _aside(self, nodes: Sequence[Node]) -> Aside:
        """Nodes one level deeper, kept apart."""
        out = self.out
        out.depth += 1
        with out.aside() as part, self.to.scope.branch(), self.to.scope.block():
            out.started = True
            self._list(nodes)
            part.pieces = list(out.pieces)
        out.depth -= 1
        return part

    # Range

    def _range(self, node: Block) -> None:
        out, scope = self.out, self.to.scope
        names = node.pipe.names
        first = len(scope.slots)
        value = self.to.whole(self.to.pipeline(node.pipe))
        slots = scope.slots[first:] if not node.pipe.assigns else []
        paired = len(names) > 1
        on = value.code
        goes_through = "pairs" if paired else "elements"
        items = out.set(f"{on} if type({on}) is list else {goes_through}({value.at}, {on})")
        out.begin()
        if node.other is not None:
            out.line(f"if {items}:")
            out.depth += 1
        loop = self._counted(items, survey.size(node.body), value.at, paired=paired)
        item, key = out.name("e"), out.name("i")
        out.line(f"for {key}, {item} in {loop}:" if paired else f"for {item} in {loop}:")
        with out.indented(), scope.branch():
            element = Value(item, boxed=f"boxed({on})", at=value.at)
            self._loop_body(node, element, Value(key, at=value.at), slots)
        if node.other is not None:
            out.depth -= 1
            scope.slots[first:] = slots
            out.line("else:")
            self._range_else(node.other)

    def _range_else(self, nodes: Sequence[Node]) -> None:
        """What runs instead of a loop. A `break` in it ends just it, a `continue` goes on with the loop around."""
        out = self.out
        if not survey.leaves(nodes):
            out.place(self._aside(nodes))
            return
        outer, self.skip = self.skip, out.name("c")
        out.depth += 1
        out.line(f"{self.skip} = False")
        out.line("while True:")
        part = self._aside(nodes)
        out.place(part)
        out.depth += 1
        out.line("break")
        out.depth -= 1
        skip, self.skip = self.skip, outer
        out.line(f"if {skip}:")
        out.depth += 1
        self._leave_by("continue")
        out.depth -= 2

    def _leave(self, node: Leave) -> None:
        self.out.flush()
        self._leave_by(node.word)

    def _leave_by(self, word: str) -> None:
        if word == "continue" and self.skip:
            self.out.line(f"{self.skip} = True")
            word = "break"
        self.out.line(word)

    def _counted(self, items: str, weight: int, site: str, *, paired: bool) -> str:
        """What the loop goes through, its steps counted."""
        out, loop = self.out, self.out.name("q")
        self.to.needs_meter = True
        source = f"enumerate({items}) if type({items}) is list else {items}" if paired else items
        out.line(f"if len({items}) < {LONG_LOOP}:")
        out.line(f" {loop} = {source}")
        out.line(f" m.steps += len({items}) * {weight}")
        out.line(f" if m.steps > m.check: tick({site}, m)")
        out.line("else:")
        out.line(f" {loop} = ticked({site}, m, {weight}, {source})")
        return loop

    def _loop_body(self, node: Block, element: Value, key: Value, slots: Sequence[Slot]) -> None:
        out, scope = self.out, self.to.scope
        out.line(f"if len(s) > {OUTPUT_CHARS_MAX}: overflow({element.at}, s)")
        values = (key, element)[-len(node.pipe.names) :] if node.pipe.names else ()
        if node.pipe.assigns:
            for variable, value in zip(node.pipe.names, values, strict=True):
                self.to.assign(variable.name, value)
        kept = len(scope.slots) - len(slots)
        for position, (slot, value) in enumerate(zip(slots, values, strict=False)):
            scope.slots[kept + position] = self._loop_slot(slot, value)
        dot, self.to.dot = self.to.dot, element
        skip, self.skip = self.skip, ""
        with scope.block():
            self._list(node.body)
        self.to.dot, self.skip = dot, skip
        out.flush()

    def _loop_slot(self, slot: Slot, value: Value) -> Slot:
        if not slot.mutable:
            return Slot(slot.name, value, mutable=False)
        self.out.line(f"{slot.value.code} = {value.code}")
        self.out.line(f"{slot.value.boxed} = {value.boxed or 'False'}")
        return slot

    # Template

    def _call(self, node: Call) -> None:
        out = self.out
        site = out.site(node)
        definition = self.tree.definitions.get(node.name)
        if definition is None:
            self.to.fail(site, f"template {quote(node.name)} not defined")
            return
        if node.name in self.endless and self.in_function:
            out.line(f"if depth >= {CALLS_MAX}: fail({site}, {f'exceeded maximum template depth ({CALLS_MAX})'!r})")
        value = self.to.whole(self.to.pipeline(node.pipe)) if node.pipe else NIL
        self.to.needs_meter = True
        out.line(f"m.steps += {survey.size(definition.body)}")
        out.line(f"if m.steps > m.check: tick({site}, m)")
        depth = "depth + 1" if self.in_function else "1"
        out.shown(out.set(f"f{self.numbers[node.name]}({value.code}, m, {depth})"))


def _chained(node: Block) -> tuple[Block | None, Sequence[Node] | None]:
    """The block behind `else if`, or else the nodes behind `else`."""
    other = node.other
    if other is not None and len(other) == 1 and isinstance(other[0], Block) and other[0].is_chained:
        return other[0], None
    return None, other
