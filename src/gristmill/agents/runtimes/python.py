"""The `python` runtime: a function `fn(row, context) -> dict`, sync or async, in the worker's own process.

Naming a function by `module:function` runs code of the operator's machine, so the API only accepts what the setting
`GRISTMILL_PYTHON_AGENTS` or an installed entry point allows. `gristmill run` allows its own user everything.
"""

from __future__ import annotations

import fnmatch
import importlib
import inspect
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from gristmill.agents.runtimes import RowCall, RowFunction, RowResult, RuntimeContext
from gristmill.base.errors import FieldError, Invalid, PluginError

GROUP = "gristmill.agents"
BUILTIN = "gristmill.agents.builtin."
FAULTS = (Exception, SystemExit)
"""What a function's defect may raise: one that calls `exit()` ends its row, not the worker."""


class Config(BaseModel):
    """Settings of a Python agent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    entry_point: str = Field(
        min_length=1,
        max_length=300,
        description="An installed entry point's name, or `module:function`.",
        examples=["gristmill.agents.builtin.contacts:clean_contact"],
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Handed to the function as `context.options`.")
    path: str | None = Field(
        None, max_length=1000, description="Folder that modules are looked for in; only `gristmill run` may set it."
    )


@dataclass(frozen=True, slots=True)
class Context:
    """The second argument of an agent function."""

    row_id: UUID
    row_number: int
    attempt: int
    agent_name: str
    timeout_s: float
    options: dict[str, Any]


class PythonRuntime:
    """Call a Python function with each row."""

    kind: ClassVar[str] = "python"
    title: ClassVar[str] = "A Python function"
    Config: ClassVar[type[BaseModel]] = Config

    def check(self, config: Config, context: RuntimeContext) -> None:
        """Refuse functions that the operator has not allowed."""
        name = config.entry_point
        if context.local:
            return
        if config.path is not None:
            raise Invalid("Only `gristmill run` may set `path`.", errors=(FieldError("config.path", "must be absent"),))
        patterns = [part.strip() for part in context.settings.python_agents.split(",") if part.strip()]
        module = name.split(":", 1)[0]
        if name.startswith(BUILTIN) or name in {point.name for point in entry_points(group=GROUP)}:
            return
        if not any(fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(module, pattern) for pattern in patterns):
            raise Invalid(
                f"`{name}` is not allowed here. An operator can allow it by GRISTMILL_PYTHON_AGENTS.",
                errors=(FieldError("config.entry_point", "is not allowed by GRISTMILL_PYTHON_AGENTS"),),
            )

    def provider_key(self, config: Config) -> str:
        """Each function paces itself."""
        return f"python:{config.entry_point}"

    @asynccontextmanager
    async def open(self, config: Config, context: RuntimeContext) -> AsyncGenerator[RowFunction]:
        """Load the function once."""
        self.check(config, context)
        function = load_function(config)
        name, options = context.agent_name, config.options

        def context_of(call: RowCall) -> Context:
            return Context(call.row_id, call.row_number, call.attempt, name, call.timeout_s, options)

        if inspect.iscoroutinefunction(function):

            async def run_async(call: RowCall) -> RowResult:
                try:
                    return _result(await function(call.input, context_of(call)))
                except PluginError:
                    raise
                except FAULTS as error:
                    raise _failure(error) from error

            yield run_async
        else:

            def run(call: RowCall) -> RowResult:
                try:
                    return _result(function(call.input, context_of(call)))
                except PluginError:
                    raise
                except FAULTS as error:
                    raise _failure(error) from error

            yield run


def load_function(config: Config) -> Callable[..., Any]:
    """The function that a config names. Raises `Invalid` with what was looked for and where."""
    for point in entry_points(group=GROUP):
        if point.name == config.entry_point:
            return point.load()
    module_name, _, function_name = config.entry_point.partition(":")
    if not function_name:
        raise Invalid(f"`{config.entry_point}` is neither an installed entry point nor `module:function`.")
    if config.path and config.path not in sys.path:
        sys.path.insert(0, config.path)
    try:
        module = importlib.import_module(module_name)
    except FAULTS as error:
        where = f" from {Path(config.path)}" if config.path else ""
        raise Invalid(
            f"The module `{module_name}` can't be imported{where}: {type(error).__name__}: {error}"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise Invalid(f"The module `{module_name}` has no function `{function_name}`.")
    return function


def _result(value: Any) -> RowResult:
    if isinstance(value, RowResult):
        return value
    if value is None or isinstance(value, dict):
        return RowResult(value)
    raise PluginError(
        f"An agent function returns a dict or None, not {type(value).__name__}.", permanent=True, code="bad_answer"
    )


def _failure(error: BaseException) -> PluginError:
    """An exception of the user's function: timeouts and broken connections may pass, everything else won't."""
    permanent = not isinstance(error, TimeoutError | ConnectionError)
    return PluginError(f"{type(error).__name__}: {error}"[:1000], permanent=permanent)


PLUGIN = PythonRuntime()
