"""Calls of functions as Python code: the common types in line, the rest by the functions of `functions.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gristmill.gotemplate.emitter import NOT_CONSTANT, Aside, Value, braced, joined
from gristmill.gotemplate.functions import ARITY
from gristmill.gotemplate.model import LONG_CHARS
from gristmill.gotemplate.nodes import Bool, Nil, Num, Operand, String, shown
from gristmill.gotemplate.printf import Verb, read_format
from gristmill.gotemplate.verbs import Spec, format_value

if TYPE_CHECKING:
    from gristmill.gotemplate.expressions import Expressions

_PIECES_MAX = 40
"""Formats of more pieces are applied by a function, so that a program can't be much longer than its template."""
_WIDTH_MAX = 200
"""Formats with a greater width are applied where their texts are counted."""


@dataclass(frozen=True, slots=True)
class Site:
    """One call in a template."""

    name: str
    name_site: str
    """Where Go reports a wrong number of operands: the name."""
    site: str
    """Where Go reports that the function failed: the command."""
    args: Sequence[Operand]
    final: Value | None
    """The operand that comes through the pipe."""


def write(to: Expressions, call: Site) -> Value:
    """Code of a call."""
    helper = None if call.name in ARITY else to.options.functions[call.name]
    least, most = helper.arity if helper else ARITY[call.name]
    count = len(call.args) + (call.final is not None)
    if most is None and count < least:
        reason = f"wrong number of args for {call.name}: want at least {least} got {len(call.args)}"
        return to.fail(call.name_site, reason)
    if most is not None and count != most:
        return to.fail(call.name_site, f"wrong number of args for {call.name}: want {most} got {count}")
    if helper:
        return _helper(to, call)
    return _WRITERS.get(call.name, _text)(to, call)


def _operands(to: Expressions, call: Site) -> tuple[list[Value], str]:
    """The operands, and the site that was evaluated last."""
    values = [to.argument(arg) for arg in call.args]
    at = values[-1].at if values else call.name_site
    return values + ([call.final] if call.final else []), at


def _answer(to: Expressions, code: str, at: str, kind: str = "any") -> Value:
    return Value(to.out.set(code), kind, at=at)


def _codes(values: Sequence[Value]) -> str:
    return "".join(f", {value.code}" for value in values)


# Logic


def _logic(to: Expressions, call: Site) -> Value:
    """`and`, `or`: operands are evaluated one after the other until one decides."""
    out, result = to.out, to.out.name()
    at = out.name("a") if out.exact and len(call.args) > 1 else ""
    outer, to.conditional = to.conditional, []
    last_at = call.name_site
    parts: list[tuple[Aside, str]] = []
    for position, arg in enumerate(call.args):
        out.depth += position > 0
        with out.aside() as part, to.scope.branch() if position else nullcontext():
            value = to.argument(arg)
            last_at = value.at
            if at:
                out.line(f"{at} = {value.at}")
        out.depth -= position > 0
        parts.append((part, value.code))
    if call.final:
        parts.append((Aside(out.depth + 1, [], []), call.final.code))
    for name in to.conditional:
        out.line(f"{name} = UNSET")
    if outer is not None:
        outer += to.conditional
    to.conditional = outer
    folded = [part.folded(code) for part, code in parts]
    if None in folded:
        _decide(to, call.name, result, parts)
    else:
        out.line(f"{result} = {f' {call.name} '.join(f'({code})' for code in folded)}")
    return Value(result, at=at or last_at)


def _decide(to: Expressions, name: str, result: str, parts: Sequence[tuple[Aside, str]]) -> None:
    """`and`, `or` as statements."""
    for position, (part, code) in enumerate(parts):
        if position:
            to.out.line(f"if {result}:" if name == "and" else f"if not {result}:")
        to.out.lines += part.lines
        to.out.depth += position > 0
        to.out.line(f"{result} = {code}")
        to.out.depth -= position > 0


def _not(to: Expressions, call: Site) -> Value:
    (value,), at = _operands(to, call)
    return _answer(to, f"not {value.code}", at, "bool")


# Comparisons

_SIGNS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": "not <=", "ge": "not <"}
_KINDS = {"eq": {"str", "int", "float", "bool"}, "ne": {"str", "int", "float", "bool"}}
_ORDERED = {"str", "int", "float"}


def _compare(to: Expressions, call: Site) -> Value:
    values, at = _operands(to, call)
    slow = f"{call.name}({call.site}{_codes(values)})"
    test, fast = "", ""
    if len(values) == 2:  # noqa: PLR2004 - most comparisons
        test, fast = _fast_compare(call.name, values[0], values[1])
        if "str" in test and call.name not in {"eq", "ne"} and to.has_bytes:
            test = ""
    elif len(values) > 1 and values[0].kind == "any" and all(isinstance(value.constant, str) for value in values[1:]):
        choices = tuple(value.constant for value in values[1:])
        test, fast = f"type({values[0].code}) is str", f"{values[0].code} in {choices!r}"
    return _answer(to, f"{fast} if {test} else {slow}" if test else slow, at, "bool")


def _fast_compare(name: str, first: Value, second: Value) -> tuple[str, str]:
    """(when the operands are of one simple type, how Python compares them then)."""
    kinds = _KINDS.get(name, _ORDERED)
    first_known, second_known = first.kind in kinds, second.kind in kinds
    sign = _SIGNS[name]
    negated = sign.startswith("not ")
    code = f"{first.code} {sign.removeprefix('not ')} {second.code}"
    code = f"(not {code})" if negated else code
    if first_known != second_known:
        known, other = (first, second) if first_known else (second, first)
        if other.kind == "any":
            return f"type({other.code}) is {known.kind}", code
    if first.kind == second.kind == "any" and name in _KINDS:
        return f"type({first.code}) is str and type({second.code}) is str", code
    return "", ""


# Parts


def _length(to: Expressions, call: Site) -> Value:
    value = call.final or to.argument(call.args[0], three=True)
    at = call.name_site if call.final else value.at
    on = value.code
    slow = f"length({call.site}, {on}, {value.boxed or 'False'})"
    if value.kind != "any":
        return _answer(to, slow, at, "int")
    test = f"type({on}) is list or type({on}) is dict or type({on}) is str and {on}.isascii()"
    return _answer(to, f"len({on}) if {test} else {slow}", at, "int")


def _index(to: Expressions, call: Site) -> Value:
    fast = _index_row(to, call)
    if fast:
        return fast
    values, at = _operands(to, call)
    slow = f"index({call.site}{_codes(values)})"
    if len(values) != 2 or values[0].kind != "any":  # noqa: PLR2004 - one key
        return _answer(to, slow, at)
    on, key = values[0].code, values[1]
    if isinstance(key.constant, str):
        return _answer(to, f"{on}.get({key.code}) if type({on}) is dict else {slow}", at)
    if type(key.constant) is int and key.constant >= 0:
        return _answer(to, f"{on}[{key.code}] if type({on}) is list and len({on}) > {key.code} else {slow}", at)
    return _answer(to, slow, at)


def _index_row(to: Expressions, call: Site) -> Value | None:
    """`index . "Company Name"`: the form that columns with spaces are read by."""
    if call.final or len(call.args) != 2 or not isinstance(call.args[1], String):  # noqa: PLR2004 - one key
        return None
    row = to.row_of(call.args[0])
    if row is None:
        return None
    at = to.out.site(call.args[1])
    zero = ", ''" if to.options.csv else ""
    return _answer(to, f"{row.code}.get({call.args[1].value!r}{zero})", at)


def _slice(to: Expressions, call: Site) -> Value:
    """`slice` takes an int only where its static type is int: what comes straight out of a row is refused."""
    values: list[Value] = []
    at = call.name_site
    for position, arg in enumerate(call.args):
        value = to.argument(arg, three=position > 0)
        at = value.at
        if position and value.boxed:
            code = f"BOXED if {value.boxed} and {value.code} is not MISSING else {value.code}"
            value = Value(to.out.set(code), at=at)
        values.append(value)
    values += [call.final] if call.final else []
    return _answer(to, f"slice_({call.site}{_codes(values)})", at)


def _call(to: Expressions, call: Site) -> Value:
    values, at = _operands(to, call)
    name = repr(shown(call.args[0], to.delims)) if call.args else f"reflected({values[0].code})"
    return _answer(to, f"call({call.site}, {name}{_codes(values)})", at)


# Texts

_ESCAPES = {"html": "html_text", "js": "js_text", "urlquery": "urlquery_text"}


def _text(to: Expressions, call: Site) -> Value:
    """`print`, `println`, `html`, `js`, `urlquery`."""
    values, at = _operands(to, call)
    to.needs_meter = True
    name = {"print": "print_"}.get(call.name, call.name)
    slow = f"{name}({call.site}, m{_codes(values)})"
    if len(values) != 1 or values[0].kind != "any" or call.name == "println":
        return _answer(to, slow, at, "str")
    on = values[0].code
    if call.name == "print":
        return _answer(to, f"{on} if type({on}) is str else {slow}", at, "str")
    quick = f"type({on}) is str and len({on}) < {LONG_CHARS}"
    return _answer(to, f"{_ESCAPES[call.name]}({on}) if {quick} else {slow}", at, "str")


def _printf(to: Expressions, call: Site) -> Value:
    pieces = printf_pieces(to, call)
    if pieces is not None:
        return Value(to.out.set(joined(pieces)), "str", at=_last_site(to, call))
    form, values, at = _format(to, call)
    to.needs_meter = True
    return _answer(to, f"printf({call.site}, m, {form}{_codes(values)})", at, "str")


def printf_pieces(to: Expressions, call: Site) -> list[str] | None:
    """What a `printf` writes as pieces of an f-string; None where that is not possible."""
    if to.has_bytes or to.out.exact or not call.args or not isinstance(call.args[0], String):
        return None
    count = len(call.args) - 1 + (call.final is not None)
    form = read_format(call.args[0].value, count)
    if (
        form.extra is not None
        or len(form.pieces) > _PIECES_MAX
        or any(isinstance(piece, Verb) and not _is_simple(piece) for piece in form.pieces)
    ):
        return None
    values, _ = _operands(to, call)
    return [
        braced(piece) if isinstance(piece, str) else _formatted(to, piece.spec, values[1 + piece.operand])
        for piece in form.pieces
    ]


def _is_simple(verb: Verb) -> bool:
    """Whether nothing of the verb depends on the row, and its text can't be long."""
    stars = verb.width_from is not None or verb.precision_from is not None
    return not stars and (verb.spec.width or 0) <= _WIDTH_MAX and (verb.spec.precision or 0) <= _WIDTH_MAX


def _last_site(to: Expressions, call: Site) -> str:
    """The site of the last operand; only an exact program asks for more, and it never comes here."""
    return to.out.site(call.args[-1])


def _format(to: Expressions, call: Site) -> tuple[str, list[Value], str]:
    """The format, the operands behind it, and the site that was evaluated last."""
    if not call.args and call.final:
        return to.out.set(f"checked_format({call.name_site}, {call.final.code}, False)"), [], call.name_site
    first = call.args[0]
    site = to.out.site(first)
    if isinstance(first, Nil):
        value = to.fail(site, "cannot assign nil to string")
    elif isinstance(first, (Bool, Num)):
        value = to.fail(site, f"expected string; found {shown(first, to.delims)}")
    else:
        value = to.argument(first, three=True)
    form = value.code
    if value.kind != "str":
        form = to.out.set(f"checked_format({value.at}, {value.code}, {value.boxed or 'False'})")
    values = [to.argument(arg) for arg in call.args[1:]]
    at = values[-1].at if values else value.at
    return form, values + ([call.final] if call.final else []), at


_PYTHON = {"d": "int", "s": "str", "v": "str", "f": "float", "e": "float", "x": "int"}


def _formatted(to: Expressions, spec: Spec, value: Value) -> str:
    """One value under one verb, as a piece of an f-string."""
    if value.constant is not NOT_CONSTANT:
        return braced(format_value(spec, value.constant))
    on = value.code
    slow = f"format_value({to.out.constant(spec)}, {on})"
    kind = _PYTHON.get(spec.verb)
    plain = _python_spec(spec) if kind else None
    if kind is None or plain is None or value.kind not in {kind, "any"}:
        return f"{{{to.out.set(slow)}}}"
    fast = f"f'{{{on}:{plain}}}'" if plain else on if kind == "str" else f"f'{{{on}}}'"
    test = f"type({on}) is {kind}" + (f" and {on} * 0.0 == 0.0" if kind == "float" else "")
    return f"{{{to.out.set(f'{fast} if {test} else {slow}')}}}"


def _python_spec(spec: Spec) -> str | None:
    """Python's format of the same meaning; None when there is none."""
    if spec.sharp or spec.sharp_v or spec.plus_v or spec.space or (spec.minus and spec.zero):
        return None
    verb, width = spec.verb, str(spec.width or "")
    if verb in "sv":
        align = ("<" if spec.minus else ">") if width else ""
        cut = "" if spec.precision is None else f".{spec.precision}"
        return None if spec.plus or spec.zero else align + width + cut
    if verb in "dx" and spec.precision is not None:
        return None
    align = "<" if spec.minus and width else ""
    digits = ""
    if verb in "fe":
        digits = f".{6 if spec.precision is None else spec.precision}"
    mark = "" if verb == "d" and not width and not spec.plus else verb
    return f"{align}{'+' if spec.plus else ''}{'0' if spec.zero and width else ''}{width}{digits}{mark}"


# Helpers


def _helper(to: Expressions, call: Site) -> Value:
    helper = to.options.functions[call.name]
    values: list[str] = []
    at = call.name_site
    for position, arg in enumerate(call.args):
        wanted = helper.type_at(position)
        value = _typed(to, arg, wanted)
        at = value.at
        values.append(_checked(to, value, wanted))
    if call.final:
        values.append(_checked(to, replace(call.final, at=at), helper.type_at(len(call.args))))
    to.needs_meter = True
    operands = "".join(f", {code}" for code in values)
    return _answer(to, f"invoke({call.site}, {to.out.constant(helper)}, m{operands})", at)


_LITERALS: dict[str, Callable[[Operand], Any]] = {
    "string": lambda node: node.value if isinstance(node, String) else NOT_CONSTANT,
    "bool": lambda node: node.value if isinstance(node, Bool) else NOT_CONSTANT,
    "int": lambda node: _or_none(node.number.int_value) if isinstance(node, Num) else NOT_CONSTANT,
    "float64": lambda node: _or_none(node.number.float_value) if isinstance(node, Num) else NOT_CONSTANT,
}
_EXPECTED = {"string": "string", "bool": "bool", "int": "integer", "float64": "float"}


def _or_none(value: Any) -> Any:
    return NOT_CONSTANT if value is None else value


def _typed(to: Expressions, arg: Operand, wanted: str) -> Value:
    """An operand for a parameter of a Go type; a literal must be of that type."""
    site = to.out.site(arg)
    if wanted in _LITERALS and isinstance(arg, (Bool, Num, String)):
        constant = _LITERALS[wanted](arg)
        if constant is NOT_CONSTANT:
            return to.fail(site, f"expected {_EXPECTED[wanted]}; found {shown(arg, to.delims)}")
        return to.literal(constant, site)
    if wanted in _LITERALS and isinstance(arg, Nil):
        return to.fail(site, f"cannot assign nil to {wanted}")
    return to.argument(arg, three=wanted in _LITERALS)


def _checked(to: Expressions, value: Value, wanted: str) -> str:
    if wanted == "interface {}":
        return value.code
    return to.out.set(f"checked({value.at}, {value.code}, {wanted!r}, {value.boxed or 'False'})")


_WRITERS: dict[str, Callable[[Expressions, Site], Value]] = {
    "and": _logic, "or": _logic, "not": _not, "len": _length, "index": _index, "slice": _slice, "call": _call,
    "printf": _printf, "eq": _compare, "ne": _compare, "lt": _compare, "le": _compare, "gt": _compare, "ge": _compare,
}  # fmt: skip
