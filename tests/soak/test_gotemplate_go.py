"""Random templates and rows, rendered by Go's own text/template and by ours: output and error texts must be equal.

Go comes with `uv sync --group bench`; without it these tests are skipped.
"""

from __future__ import annotations

import base64
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gristmill import gotemplate
from soak.template_grammar import Grammar
from template_cases import expected, load, to_bytes

GO = Path(sys.executable).with_name("go")
ORACLE = Path(__file__).with_name("gotemplate_go")
CORNERS = Path(__file__).parents[1] / "gotemplate" / "corners.jsonl"
CASES = int(os.environ.get("TEMPLATE_CASES", "2000"))
"""Random cases for each seed."""
LIMITS = re.compile(
    r"exceeded maximum template depth|more than [\d.]+ |makes? too much text|longer than \d+ characters"
)
"""Go has no such limits, or greater ones: its answer could take for ever."""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not GO.exists(), reason="Go is not there: uv sync --group bench")]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program, compiled."""
    folder = tmp_path_factory.mktemp("go")
    env = {**os.environ, "GOCACHE": str(folder / "cache"), "GOPATH": str(folder / "path"), "GOFLAGS": "-mod=mod"}
    subprocess.run([GO, "build", "-o", folder / "oracle", "."], cwd=ORACLE, env=env, check=True)
    return folder / "oracle"


def ours(case: dict[str, Any]) -> tuple[bytes, str]:
    """Output and error text."""
    try:
        template = gotemplate.compile(
            case["template"],
            missingkey=case["missingkey"],
            data_mode="csv" if case["csv"] else "typed",
            delims=tuple(case["delims"]) if case["delims"] else None,
        )
        return to_bytes(template.render(case["data"])), ""
    except gotemplate.TemplateError as error:
        return to_bytes(error.partial), error.message


def theirs(oracle: Path, cases: list[dict[str, Any]]) -> list[tuple[bytes, str]]:
    """The same by Go."""
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    done = subprocess.run([oracle], input=lines.encode(), capture_output=True, check=True)
    found = [json.loads(line) for line in done.stdout.decode().split("\n") if line]
    return [(base64.b64decode(item["output"] or ""), item.get("error", "")) for item in found]


def plain(text: str) -> str:
    """An error text with bytes that are not UTF-8 alike on both sides."""
    return re.sub("\ufffd+", "\ufffd", text)


def has_address(case: dict[str, Any]) -> bool:
    """Whether `%p` may print an address, which differs from run to run."""
    return bool(re.search(r"%[^a-zA-Z%]*p", case["template"]))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(5))
def test_random_templates_agree_with_go(oracle: Path, seed: int) -> None:
    grammar = Grammar(random.Random(seed))  # noqa: S311 - not for secrets
    cases = [case for case in (grammar.case() for _ in range(CASES)) if not has_address(case)]
    mine = [ours(case) for case in cases]
    asked = [number for number, (_, error) in enumerate(mine) if not LIMITS.search(error)]
    assert len(asked) > 0.9 * CASES
    wrong: list[Any] = []
    for number, (output, error) in zip(asked, theirs(oracle, [cases[number] for number in asked]), strict=True):
        if mine[number][0] != output or plain(mine[number][1]) != plain(error):
            wrong.append((cases[number], (output, error), mine[number]))
    assert wrong == []


def test_the_corners_that_are_kept_are_what_go_says(oracle: Path) -> None:
    cases = load(CORNERS)
    asked = [
        {"template": case["template"], "data": case["data"], "missingkey": "default", "csv": False} for case in cases
    ]
    found = theirs(oracle, asked)
    wanted = [(want["output"], want["error"]["text"] if want["error"] else "") for want in map(expected, cases)]
    assert found == wanted
