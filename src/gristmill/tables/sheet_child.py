"""A program that turns one sheet of a workbook into lines of JSON. It runs in a process of its own, with few rights.

    python -m gristmill.tables.sheet_child FILE WANTED MEMORY_BYTES CPU_SECONDS OUTPUT_BYTES

WANTED is JSON: null, a name or a number. The first line of the output is an object with `sheets` and `sheet`, or with
`error`; each further line is a list of rows `[number, cells]`. Whatever a hostile file does to the library that reads
it, it does it here: the worst is that this process ends.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

LINE_ROWS = 500
"""Rows of one line of output."""


def limit(memory_bytes: int, cpu_s: int, output_bytes: int) -> None:
    """From here on this process can have no more."""
    for kind, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, output_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))


def convert(path: str, wanted: str | int | None) -> Iterator[Any]:
    """The lines of the output."""
    import python_calamine as calamine  # noqa: PLC0415 - within the limits

    from gristmill.base.errors import Error  # noqa: PLC0415 - the same
    from gristmill.tables.cell_text import value_text  # noqa: PLC0415
    from gristmill.tables.model import Sheet  # noqa: PLC0415
    from gristmill.tables.sheets import choose_sheet  # noqa: PLC0415

    book = calamine.load_workbook(path)
    known = [
        Sheet(item.name, item.visible == calamine.SheetVisibleEnum.Visible)
        for item in book.sheets_metadata
        if item.typ == calamine.SheetTypeEnum.WorkSheet
    ]
    try:
        chosen = choose_sheet(known, wanted, lambda sheet: book.get_sheet_by_name(sheet.name).start is not None)
    except Error as error:
        yield {"error": error.message, "code": error.code}
        return
    sheet = book.get_sheet_by_name(chosen)
    yield {
        "sheets": [[item.name, item.visible] for item in known],
        "sheet": chosen,
        "merged": bool(sheet.merged_cell_ranges),
        "width": sheet.end[1] + 1 if sheet.end else 0,
    }
    # Rows come from the top of the sheet, but cells from the first column with text.
    left = sheet.start[1] if sheet.start else 0
    numbered = enumerate(sheet.iter_rows(), start=1)
    while rows := list(islice(numbered, LINE_ROWS)):
        lines: list[tuple[int, list[str]]] = []
        for number, values in rows:
            cells = [""] * left + [value_text(value) for value in values]
            while cells and not cells[-1]:
                cells.pop()
            if any(map(str.strip, cells)):
                lines.append((number, cells))
        yield lines


def main() -> None:
    """See the module."""
    path, wanted, memory_bytes, cpu_s, output_bytes = sys.argv[1:]
    limit(int(memory_bytes), int(cpu_s), int(output_bytes))
    for line in convert(path, json.loads(wanted)):
        sys.stdout.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
