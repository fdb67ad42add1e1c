"""Compiled templates: made once, kept, and run over any number of rows."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, lru_cache
from typing import Any, NoReturn

from gristmill.gotemplate import functions as go
from gristmill.gotemplate import runtime
from gristmill.gotemplate.emitter import TooDeep
from gristmill.gotemplate.functions import ARITY
from gristmill.gotemplate.generate import Program, generate
from gristmill.gotemplate.invoke import HelperFunction, checked, describe, invoke
from gristmill.gotemplate.lexer import DELIMS
from gristmill.gotemplate.literals import quote, to_bytes
from gristmill.gotemplate.model import DataMode, Failure, Meter, MissingKey, TemplateError
from gristmill.gotemplate.nodes import Tree, shown
from gristmill.gotemplate.options import Options
from gristmill.gotemplate.parser import parse
from gristmill.gotemplate.values import BOXED, MISSING, StringMap, boxed
from gristmill.gotemplate.verbs import format_value, show

TEMPLATES_KEPT = 256
"""Compiled templates that are kept for the next call."""
NAME = "t"
"""The name of a template in messages, unless another is given."""
UNSET: Any = object()
_RUNTIME: dict[str, Any] = {
    "__builtins__": {},
    **{kind.__name__: kind for kind in (type, dict, list, str, int, float, bool, enumerate, Exception)},
    **{kind.__name__: kind for kind in (Failure, Meter, StringMap)},
    "len": len, "BOXED": BOXED, "MISSING": MISSING, "UNSET": UNSET,
    **{function.__name__: function for function in (boxed, checked, format_value, invoke, show)},
    **{name: getattr(go, name) for name in (
        "call", "eq", "ge", "gt", "html", "html_text", "index", "js", "js_text", "le", "length", "lt", "ne", "print_",
        "printf", "println", "reflected", "slice_", "urlquery", "urlquery_text", "whole",
    )},
    **{name: getattr(runtime, name) for name in (
        "checked_format", "elements", "fail", "field", "field_or_none", "overflow", "pairs", "show_at", "tick",
        "ticked", "undefined",
    )},
}  # fmt: skip
"""All names that a program can reach."""


class Template:
    """A compiled template. It holds no state of a row, so threads may share it."""

    def __init__(self, tree: Tree, options: Options) -> None:
        self._tree = tree
        self._options = options
        self._rows: Callable[..., None] = self._load(generate_or_refuse(tree, options, exact=False))["rows"]

    @property
    def text(self) -> str:
        """The template's text."""
        return self._tree.text

    @property
    def tree(self) -> Tree:
        """The parsed text."""
        return self._tree

    @property
    def is_csv(self) -> bool:
        """Whether rows are dicts of text."""
        return self._options.csv

    def render(self, data: Any) -> str:
        """One row's text. Bytes that are not UTF-8 come as surrogate escapes. Raises `TemplateError`."""
        out: list[str] = []
        self._rows((data,), out.append, self._again)
        return out[0]

    def render_many(self, rows: Iterable[Any]) -> list[str]:
        """The texts of rows. Raises the `TemplateError` of the first row that has one."""
        out: list[str] = []
        self._rows(rows, out.append, self._again)
        return out

    def render_each(self, rows: Iterable[Any]) -> list[str | TemplateError]:
        """The texts of rows; the error in the place of the text for rows that have one."""
        out: list[str | TemplateError] = []
        self._rows(rows, out.append, self._outcome)
        return out

    def _outcome(self, data: Any) -> str | TemplateError:
        try:
            return self._again(data)
        except TemplateError as error:
            return error

    def _again(self, data: Any) -> str:
        """The row by the exact program: for rows that are no dict, and to find out what is wrong with a row."""
        program, row = self._exact
        if isinstance(data, dict) and (self._options.csv or type(data) is not dict):
            data = StringMap(data) if self._options.csv else dict(data)
        try:
            return row(data, Meter())
        except Failure as failure:
            self._fail(program, failure)
        except RecursionError:
            self._refuse("nested too deeply")
        except Exception as error:  # noqa: BLE001 - whatever is in a row, the caller gets a TemplateError
            self._refuse(f"{type(error).__name__}: {error}")

    @cached_property
    def _exact(self) -> tuple[Program, Callable[..., str]]:
        program = generate_or_refuse(self._tree, self._options, exact=True)
        return program, self._load(program)["row"]

    def _load(self, program: Program) -> dict[str, Any]:
        """Python functions of a program."""
        names = {**_RUNTIME, **program.constants}
        try:
            code = builtins.compile(program.source, f"<template {self._tree.name}>", "exec", dont_inherit=True)
        except (RecursionError, MemoryError):
            too_deep(self._tree)
        exec(code, names)  # noqa: S102 - source of our own; texts are in it as literals only
        return names

    def _fail(self, program: Program, failure: Failure) -> NoReturn:
        """Raise the error of a row, worded and placed as Go does."""
        node, name = program.sites[failure.site]
        text = self._tree.text
        start = text.rfind("\n", 0, node.pos) + 1
        line, column = text.count("\n", 0, node.pos) + 1, len(to_bytes(text[start : node.pos]))
        place = f"{self._tree.name}:{line}:{column}"
        message = f"template: {place}: executing {quote(name)} at <{shown(node, self._tree.delims)}>: {failure.reason}"
        raise TemplateError(message, stage="exec", line=line, column=column, partial=failure.partial) from None

    def _refuse(self, reason: str) -> NoReturn:
        raise TemplateError(f"template: {self._tree.name}: {reason}", stage="exec", line=1, column=0) from None


def generate_or_refuse(tree: Tree, options: Options, *, exact: bool) -> Program:
    """Generate a program; raises `TemplateError` for what Python could not read."""
    try:
        return generate(tree, options, exact=exact)
    except (TooDeep, RecursionError):
        too_deep(tree)


def too_deep(tree: Tree) -> NoReturn:
    """Raise the error of a template that is nested too deeply."""
    raise TemplateError(f"template: {tree.name}:1: nested too deeply", stage="parse", line=1, column=0) from None


def compile(  # noqa: A001 - the name of the contract; used as gotemplate.compile
    text: str,
    *,
    missingkey: MissingKey = "default",
    delims: tuple[str, str] | None = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    data_mode: DataMode = "typed",
    name: str = NAME,
) -> Template:
    """Compile a template. Raises `TemplateError` of the stage `parse`.

    `missingkey` is Go's option. `functions` are Python functions by name beside Go's own, for example `HELPERS`; a
    name that Go defines can't be given. `data_mode`: `typed` rows are JSON values, of which an int is a Go int and a
    float a float64; `csv` rows are dicts of text, Go's map[string]string. `name` is the template's name in messages.
    """
    extra = tuple((functions or {}).items())
    left, right = delims or DELIMS
    return _compiled(text, missingkey, (left or DELIMS[0], right or DELIMS[1]), extra, data_mode, name)


@lru_cache(TEMPLATES_KEPT)
def _compiled(
    text: str,
    missingkey: MissingKey,
    delims: tuple[str, str],
    extra: tuple[tuple[str, Callable[..., Any]], ...],
    data_mode: DataMode,
    name: str,
) -> Template:
    helpers = _helpers(extra)
    if missingkey not in {"default", "zero", "error"}:
        raise ValueError(f"missingkey is default, zero or error, not {missingkey!r}")
    if data_mode not in {"typed", "csv"}:
        raise ValueError(f"data_mode is typed or csv, not {data_mode!r}")
    tree = parse(text, name, delims, ARITY.keys() | helpers.keys())
    return Template(tree, Options(missingkey, data_mode == "csv", helpers))


def _helpers(extra: tuple[tuple[str, Callable[..., Any]], ...]) -> dict[str, HelperFunction]:
    taken = [name for name, _ in extra if name in ARITY]
    if taken:
        raise ValueError(f"Go defines {', '.join(taken)}")
    return {name: describe(name, function) for name, function in extra}
