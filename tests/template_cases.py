"""Cases of Go's text/template: read from a file, rendered, and compared with what Go printed."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from gristmill import gotemplate


def load(path: Path) -> list[dict[str, Any]]:
    """Cases of a JSON Lines file; strings may hold other line breaks, so it is split at newlines only."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def row_of(case: dict[str, Any]) -> Any:
    """The row with its numbers typed as the case says."""
    return gotemplate.as_decoded(case["data"]) if case["options"]["numbers"] == "float64" else case["data"]


def template_of(case: dict[str, Any]) -> gotemplate.Template:
    """The compiled template of a case."""
    options = case["options"]
    return gotemplate.compile(
        case["template"],
        missingkey=options["missingkey"],
        delims=tuple(options["delims"]) if "delims" in options else None,
        data_mode="csv" if options["numbers"] == "csv" else "typed",
    )


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    """What we do with a case: output, and error, in the form of `expected`."""
    try:
        return {"output": to_bytes(template_of(case).render(row_of(case))), "error": None}
    except gotemplate.TemplateError as error:
        told = {"stage": error.stage, "text": error.message, "line": error.line}
        return {"output": to_bytes(error.partial), "error": told}


def expected(case: dict[str, Any]) -> dict[str, Any]:
    """What Go did with it."""
    error = case["error"]
    if error is None:
        want = base64.b64decode(case["want_b64"]) if "want_b64" in case else case["want"].encode()
        return {"output": want, "error": None}
    told = {name: error[name] for name in ("stage", "text", "line")}
    return {"output": error.get("partial", "").encode(), "error": told}


def to_bytes(text: str) -> bytes:
    """Output as bytes; surrogate escapes are bytes that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape")
