"""Routes that are worked out when they are first needed.

FastAPI reads a route's signature when it is declared, and builds validators of its parameters, its body and its answer.
For two hundred routes that is half of what a server does until it is ready, and most are never asked for in its life.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from fastapi.routing import APIRoute
from starlette.routing import compile_path, get_name

_working = threading.RLock()


class LateRoute(APIRoute):
    """Knows at first only by what it is found: path, methods and name. All else is there when it is asked for.

    What is wrong with an endpoint is told then, too, by the OpenAPI document at the latest.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self._late: tuple[str, Callable[..., Any], dict[str, Any]] | None = (path, endpoint, options)
        self.path = path
        self.endpoint = endpoint
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)
        self.name = options.get("name") or get_name(endpoint)
        self.methods = {method.upper() for method in options.get("methods") or ("GET",)}
        self.include_in_schema = options.get("include_in_schema", True)

    def __getattr__(self, name: str) -> Any:
        """Asked only for what is not there. Raises `AttributeError`, and what FastAPI has to say of the endpoint."""
        if name in {"_late", "__dict__"}:
            raise AttributeError(name)
        with _working:
            if self._late is not None:
                before = dict(self.__dict__)
                path, endpoint, options = self._late
                self._late = None
                try:
                    super().__init__(path, endpoint, **options)
                except BaseException:
                    self.__dict__.clear()
                    self.__dict__.update(before)
                    raise
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(name) from None
