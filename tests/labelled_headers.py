"""Labelled headers and tables that tests measure against."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FIELDS = ("contact_id", "company", "street", "city", "state", "zip", "number1", "number2", "dm_name")
HEADERS = Path(__file__).with_name("mapping") / "known_headers.txt"
_NAMES = "|".join(FIELDS)
_EXPECTED = re.compile(rf"(?:^|;)({_NAMES})=(.*?)(?=;(?:{_NAMES})=|$)")

Columns = tuple[int, ...]


@dataclass(frozen=True)
class Labelled:
    """Headers, and for each lead field the columns that are right; the empty tuple is none."""

    name: str
    headers: list[str]
    answers: dict[str, list[Columns]]


def known_headers() -> Iterator[Labelled]:
    lines = [line for line in HEADERS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    for name, header, expected in zip(lines[::3], lines[1::3], lines[2::3], strict=True):
        headers = header.split("|")
        answers: dict[str, list[Columns]] = {field: [()] for field in FIELDS}
        answers |= {field: list(_alternatives(text, headers)) for field, text in _EXPECTED.findall(expected)}
        yield Labelled(name.removeprefix("@ "), headers, answers)


def _alternatives(text: str, headers: list[str]) -> Iterator[Columns]:
    """Answers separated by a slash, which may also stand inside a header."""
    parts = text.split("/")
    while parts:
        for size in range(len(parts), 0, -1):
            found = _joined("/".join(parts[:size]), headers)
            if found is not None:
                yield found
                del parts[:size]
                break
        else:
            raise ValueError(f"{parts[0]} is no header")


def _joined(text: str, headers: list[str]) -> Columns | None:
    """Columns joined by plus signs; None when the text is something else."""
    if text == "!":
        return ()
    found: list[int] = []
    rest = text
    while rest:
        fitting = [name for name in headers if rest == name or rest.startswith(f"{name}+")]
        if not fitting:
            return None
        name = max(fitting, key=len)
        found.append(headers.index(name))
        rest = rest[len(name) + 1 :]
    return tuple(found)
