"""Check rows against a JSON schema and say what is wrong with each."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator, SchemaError

from gristmill.agents.runtimes.python import Context
from gristmill.base.errors import PluginError

PROBLEMS_MAX = 20


def check_row(row: dict[str, Any], context: Context) -> dict[str, Any]:
    """Validate the row against `options.schema`: `{valid, problems: [{field, message}]}`, at most 20 problems."""
    schema: Any = context.options.get("schema")
    if not isinstance(schema, dict):
        raise PluginError("Set options.schema to a JSON schema of a row.", permanent=True)
    problems = [
        {"field": ".".join(str(part) for part in error.absolute_path), "message": error.message[:300]}
        for error, _ in zip(_validator(orjson.dumps(schema)).iter_errors(row), range(PROBLEMS_MAX), strict=False)
    ]
    return {"valid": not problems, "problems": problems}


@lru_cache(maxsize=64)
def _validator(schema: bytes) -> Draft202012Validator:
    parsed = orjson.loads(schema)
    try:
        Draft202012Validator.check_schema(parsed)
    except SchemaError as error:
        raise PluginError(f"options.schema is not a JSON schema: {error.message[:300]}", permanent=True) from error
    return Draft202012Validator(parsed)
