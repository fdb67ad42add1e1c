"""Functions beside those that Go defines: Python functions with Go's rules for their operands."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gristmill.gotemplate.made import MadeDict, MadeList, values_in
from gristmill.gotemplate.model import LONG_CHARS, Failure, Meter
from gristmill.gotemplate.runtime import counted, tick
from gristmill.gotemplate.values import MISSING, type_name

_TYPES = {"str": "string", "int": "int", "float": "float64", "bool": "bool", "list": "[]interface {}"}
_ACCEPTED: dict[str, type] = {"string": str, "int": int, "float64": float, "bool": bool, "[]interface {}": list}


@dataclass(frozen=True, slots=True)
class HelperFunction:
    """A Python function as templates call it."""

    name: str
    function: Callable[..., Any]
    types: tuple[str, ...]
    """Go's type of each parameter, `interface {}` for any; the last one stands for all the rest when `variadic`."""
    variadic: bool

    @property
    def arity(self) -> tuple[int, int | None]:
        """Fewest and most operands."""
        fixed = len(self.types) - self.variadic
        return fixed, None if self.variadic else fixed

    def type_at(self, position: int) -> str:
        """Go's type of the parameter at a position."""
        return self.types[min(position, len(self.types) - 1)]


def describe(name: str, function: Callable[..., Any]) -> HelperFunction:
    """Read the types of a function's parameters from its annotations: str, int, float, bool, list; others are any."""
    types: list[str] = []
    variadic = False
    for parameter in inspect.signature(function).parameters.values():
        annotation = parameter.annotation
        word = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
        types.append(_TYPES.get(word.partition("[")[0], "interface {}"))
        variadic = variadic or parameter.kind is inspect.Parameter.VAR_POSITIONAL
    return HelperFunction(name, function, tuple(types), variadic)


def checked(site: int, value: Any, wanted: str, is_boxed: bool) -> Any:
    """An operand that must be of a Go type."""
    kind = _ACCEPTED.get(wanted)
    if kind is None or (isinstance(value, kind) and (kind is not int or not isinstance(value, bool))):
        return value
    if value is None or value is MISSING:
        if wanted.startswith("["):
            return []
        if value is None and is_boxed:
            raise Failure(site, f"wrong type for value; expected {wanted}; got interface {{}}")
        raise Failure(site, f"invalid value; expected {wanted}")
    raise Failure(site, f"wrong type for value; expected {wanted}; got {type_name(value)}")


def _is_long(value: Any) -> bool:
    """Whether work on the value may take a while."""
    return isinstance(value, (list, dict)) or (isinstance(value, str) and len(value) > LONG_CHARS)


def invoke(site: int, helper: HelperFunction, meter: Meter, *operands: Any) -> Any:
    """Call a helper; whatever it raises becomes a failure of the row."""
    if any(map(_is_long, operands)):
        tick(site, meter)
    try:
        answer = helper.function(*operands)
    except Exception as error:
        raise Failure(site, f"error calling {helper.name}: {error}") from error
    if isinstance(answer, str):
        return counted(site, meter, answer)
    if isinstance(answer, (MadeList, MadeDict)):
        meter.made += values_in(answer)
    return answer
