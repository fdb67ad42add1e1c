"""Operands, commands and pipelines as Python code."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from gristmill.gotemplate import calls
from gristmill.gotemplate.emitter import Emitter, Value
from gristmill.gotemplate.literals import quote
from gristmill.gotemplate.nodes import (
    Bool,
    Chain,
    Command,
    Dot,
    Field,
    Function,
    Nil,
    Num,
    Operand,
    Pipe,
    String,
    Variable,
    shown,
)
from gristmill.gotemplate.options import Options
from gristmill.gotemplate.scope import Scope, Slot

NIL = Value("None", "nil")
_FLOAT_MARKS = frozenset(".eEpP")


class Expressions:
    """Writes expressions of one template into an emitter."""

    def __init__(self, out: Emitter, options: Options, delims: tuple[str, str]) -> None:
        self.out = out
        self.options = options
        self.delims = delims
        self.scope = Scope(frozenset())
        self.dot = NIL
        self.conditional: list[str] | None = None
        """Inside of `and` or `or`: variables that are declared there, perhaps."""
        self.needs_meter = False
        self.has_bytes = False
        """Whether the template can cut characters in pieces, so that texts must be put together with care."""

    def fail(self, site: str, reason: str) -> Value:
        """Code that raises; what it answers is never used."""
        self.out.line(f"fail({site}, {reason!r})")
        return Value("None", "nil", at=site)

    # Pipelines

    def pipeline(self, pipe: Pipe) -> Value:
        """The value of a pipeline, its variables set. It is never boxed and never MISSING."""
        value: Value | None = None
        at = self.out.site(pipe)
        for command in pipe.commands:
            value = self.command(command, value, at)
            at = value.at
            value = self._unboxed(value)
        result = value or NIL
        for variable in pipe.names:
            if pipe.assigns:
                self.assign(variable.name, result)
            else:
                self.declare(variable.name, result)
        return result

    def _unboxed(self, value: Value) -> Value:
        if value.three:
            return Value(self.out.set(f"None if {value.code} is MISSING else {value.code}"), at=value.at)
        return replace(value, boxed="") if value.boxed else value

    def command(self, command: Command, final: Value | None, at: str) -> Value:  # noqa: PLR0911 - one for each kind
        """One command; `final` is what the one before it answered."""
        first, args = command.args[0], command.args
        has_args = len(args) > 1 or final is not None
        match first:
            case Field():
                return self.fields(self.dot, first.names, self.out.site(first), has_args=has_args)
            case Chain():
                inner = self.argument(first.node)
                return self.fields(inner, first.names, inner.at, has_args=has_args)
            case Function():
                return self.call(first, self.out.site(command), args[1:], final)
            case Pipe():
                return self._no_arguments(first, at, has_args) or self.pipeline(first)
            case Variable():
                site = self.out.site(first)
                value = self.variable(first.name, site)
                if first.names:
                    return self.fields(value, first.names, site, has_args=has_args)
                return self._no_arguments(first, site, has_args) or replace(self.whole(value), at=site)
            case _:
                site = self.out.site(first)
                failed = self._no_arguments(first, site, has_args)
                if failed or isinstance(first, Nil):
                    return failed or self.fail(site, "nil is not a command")
                return self.argument(first)

    def _no_arguments(self, first: Operand, site: str, has_args: bool) -> Value | None:
        if has_args:
            return self.fail(site, f"can't give argument to non-function {shown(first, self.delims)}")
        return None

    def argument(self, node: Operand, *, three: bool = False) -> Value:  # noqa: C901, PLR0911 - one for each kind
        """An operand; with `three` a missing key is told apart from a null."""
        site = self.out.site(node)
        match node:
            case Dot():
                return replace(self.whole(self.dot), at=site)
            case Field():
                return self.fields(self.dot, node.names, site, three=three)
            case Variable():
                value = self.variable(node.name, site)
                if node.names:
                    return self.fields(value, node.names, site, three=three)
                return replace(self.whole(value), at=site)
            case Chain():
                inner = self.argument(node.node)
                return self.fields(inner, node.names, inner.at, three=three)
            case Pipe():
                return self.pipeline(node)
            case Function():
                return self.call(node, site, (), None)
            case Nil():
                return replace(NIL, at=site)
            case Bool():
                return self.literal(node.value, site)
            case String():
                return self.literal(node.value, site)
            case Num():
                return self._number(node, site)

    def literal(self, value: Any, site: str) -> Value:
        """A constant."""
        kind = type(value).__name__
        code = self.out.constant(value) if kind == "complex" else repr(value)
        return Value(code, kind, constant=value, at=site)

    def _number(self, node: Num, site: str) -> Value:
        """A number whose type only its syntax tells."""
        number, source = node.number, node.number.source
        if number.complex_value is not None:
            return self.literal(number.complex_value, site)
        is_hex = source[:2] in {"0x", "0X"} and not set(source) & {"p", "P"}
        if number.float_value is not None and not is_hex and source[0] != "'" and set(source) & _FLOAT_MARKS:
            return self.literal(number.float_value, site)
        if number.int_value is not None:
            return self.literal(number.int_value, site)
        return self.fail(site, f"{source} overflows int")

    def whole(self, value: Value) -> Value:
        """The value where it is used as a whole: a row of text cells gets its own type."""
        if not (value.is_row and self.options.csv):
            return value
        known = self.scope.known(value.code, "", False)
        if known is None:
            known = Value(self.out.set(f"StringMap({value.code})"))
            self.scope.learn(value.code, "", False, known)
        return known

    def row_of(self, node: Operand) -> Value | None:
        """The row, if that is what the operand means."""
        value = None
        if isinstance(node, Dot):
            value = self.dot
        elif isinstance(node, Variable) and not node.names:
            slots = self.scope.find(node.name)
            value = slots[0].value if slots and not slots[0].mutable else None
        return value if value and value.is_row else None

    # Fields

    def fields(
        self, value: Value, names: Sequence[str], site: str, *, has_args: bool = False, three: bool = False
    ) -> Value:
        """`value.a.b.c`."""
        last = len(names) - 1
        for position, name in enumerate(names):
            if position == last and has_args:
                value = self._slow_field(self.whole(value), name, site, has_args=True, three=three)
            else:
                value = self._field(value, name, site, three=three or position < last)
        return replace(value, at=site)

    def _field(self, value: Value, name: str, site: str, *, three: bool) -> Value:
        known = self.scope.known(value.code, name, three)
        if known is None:
            known = self._read_row(value, name, site, three=three) if value.is_row else None
            known = known or self._slow_field(value, name, site, has_args=False, three=three)
            self.scope.learn(value.code, name, three, known)
        return known

    def _read_row(self, row: Value, name: str, site: str, *, three: bool) -> Value:
        """A field of the row, which is known to be a dict."""
        code, mode = f"{row.code}.get({name!r}", self.options.missing_key
        boxed = "" if self.options.csv else "True"
        if mode == "error":
            found = self.out.set(f"{code}, MISSING)")
            with self._if(f"{found} is MISSING"):
                self.fail(site, f"map has no entry for key {quote(name)}")
            return Value(found, boxed=boxed)
        if mode == "zero":
            return Value(self.out.set(f"{code}, '')" if self.options.csv else f"{code})"), boxed=boxed)
        return Value(self.out.set(f"{code}, MISSING)" if three else f"{code})"), boxed=boxed, three=three)

    def _slow_field(self, value: Value, name: str, site: str, *, has_args: bool, three: bool) -> Value:
        """A field of anything."""
        csv, mode = self.options.csv, self.options.missing_key
        on = value.code
        operands = f"{site}, {on}, {name!r}, {value.boxed or 'False'}, {has_args}, {mode!r}"
        slow = f"field({operands})" if three else f"field_or_none({operands})"
        fast = f"{on}.get({name!r}{', MISSING' if three else ''})"
        kind = "StringMap" if csv else "dict"
        boxed = f"boxed({on})" if csv else "True"
        if has_args or value.kind != "any":
            return Value(self.out.set(slow), boxed=boxed, three=three)
        test = f"type({on}) is {kind}"
        if mode != "default":
            test, fast = f"{test} and {name!r} in {on}", f"{on}[{name!r}]"
        return Value(self.out.set(f"{fast} if {test} else {slow}"), boxed=boxed, three=three)

    # Variables

    def variable(self, name: str, site: str) -> Value:
        """The value of a variable."""
        slots = self.scope.find(name)
        if slots and not slots[0].maybe:
            slot = slots[0]
            if not slot.mutable:
                return slot.value
            boxed = self.out.set(slot.value.boxed) if slot.value.boxed else ""
            return replace(slot.value, code=self.out.set(slot.value.code), boxed=boxed)
        sure = slots[-1:] if slots and not slots[-1].maybe else []
        code = sure[0].value.code if sure else f"undefined({site}, {name!r})"
        boxed = (sure[0].value.boxed or "False") if sure else "False"
        for slot in reversed(slots[: len(slots) - len(sure)]):
            code = f"{slot.value.code} if {slot.value.code} is not UNSET else {code}"
            boxed = f"{slot.value.boxed or 'False'} if {slot.value.code} is not UNSET else {boxed}"
        flag = self.out.set(boxed)
        return Value(self.out.set(code), boxed=flag)

    def declare(self, name: str, value: Value) -> None:
        """`name := value`."""
        value = self.whole(value)
        if name in self.scope.assigned or self.conditional is not None:
            own, flag = self.out.name("v"), self.out.name("b")
            self.out.line(f"{own} = {value.code}")
            self.out.line(f"{flag} = {value.boxed or 'False'}")
            maybe = self.conditional is not None
            if self.conditional is not None:
                self.conditional.append(own)
            self.scope.slots.append(Slot(name, Value(own, boxed=flag), mutable=True, maybe=maybe))
            return
        self.scope.slots.append(Slot(name, value, mutable=False))

    def assign(self, name: str, value: Value) -> None:
        """`name = value`."""
        value = self.whole(value)
        slots = self.scope.find(name)
        depth = 0
        for slot in slots:
            if slot.maybe:
                self.out.line(f"if {slot.value.code} is not UNSET:")
                with self.out.indented():
                    self._store(slot, value)
                self.out.line("else:")
                self.out.depth += 1
                depth += 1
            else:
                self._store(slot, value)
        if not slots or slots[-1].maybe:
            self.fail(value.at, f"undefined variable: {name}")
        self.out.depth -= depth

    def _store(self, slot: Slot, value: Value) -> None:
        self.out.line(f"{slot.value.code} = {value.code}")
        self.out.line(f"{slot.value.boxed} = {value.boxed or 'False'}")

    # Functions

    def call(self, function: Function, site: str, args: Sequence[Operand], final: Value | None) -> Value:
        """A function with its operands; `site` is where Go reports that it failed."""
        return calls.write(self, calls.Site(function.name, self.out.site(function), site, args, final))

    @contextmanager
    def _if(self, test: str) -> Generator[None]:
        self.out.line(f"if {test}:")
        with self.out.indented():
            yield
