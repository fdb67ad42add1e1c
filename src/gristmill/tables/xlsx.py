"""XLSX workbooks: which sheets there are, how their numbers look, and the rows of one of them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from gristmill.tables.archive import Archive, Member
from gristmill.tables.cell_text import Formatter, formatter
from gristmill.tables.grid import GridRow
from gristmill.tables.model import Sheet, TooLargeToRead, Unreadable
from gristmill.tables.sheets import choose_sheet
from gristmill.tables.source import Source
from gristmill.tables.table import Log
from gristmill.tables.xlsx_rows import SheetRows, outer_column
from gristmill.tables.xlsx_texts import SharedTexts
from gristmill.tables.xml_parts import local, scan

SMALL_PART_BYTES_MAX = 64 * 1024 * 1024
"""Unpacked size of parts that are read as a whole: the list of sheets, the formats."""
SHEETS_MAX = 1_000
_TRUE = frozenset(("1", "true", "on"))


class _Relation(NamedTuple):
    """A part that another one refers to."""

    kind: str
    """`worksheet`, `sharedStrings`, `styles`, ..."""
    name: str
    """Its path in the archive."""


class XlsxGrid:
    """One sheet of an XLSX workbook."""

    def __init__(self, source: Source, wanted: str | int | None) -> None:
        """Raises Unreadable, TooLargeToRead and NoSuchSheet."""
        self._source = source
        self._shared: SharedTexts | None = None
        with source.open() as file:
            archive = Archive(file)
            book = _find_workbook(archive)
            self._parts: dict[str, Member] = {}
            self._relations = _relations(archive, book.name)
            self._from_1904 = False
            self.sheets = self._read_workbook(archive, book)
            self._styles = self._read_styles(archive)
        self.sheet = choose_sheet(self.sheets, wanted, self._has_text)

    def rows(self, log: Log) -> Iterator[list[GridRow]]:
        """See grid.Grid."""
        return self._rows_of(self.sheet, log)

    def outer_column(self) -> int:
        """See grid.Grid."""
        with self._source.open() as file:
            return outer_column(next(Archive(file).chunks(self._parts[self.sheet]), b""))

    def _rows_of(self, sheet: str, log: Log) -> Iterator[list[GridRow]]:
        with self._source.open() as file:
            archive = Archive(file)

            def shared() -> SharedTexts:
                if self._shared is None:
                    part = self._related(archive, "sharedStrings")
                    self._shared = SharedTexts(archive.chunks(part) if part else ())
                return self._shared

            yield from SheetRows(shared, self._styles).read(archive.chunks(self._parts[sheet]), log)

    def _has_text(self, sheet: Sheet) -> bool:
        return any(True for _ in islice(self._rows_of(sheet.name, Log()), 1))

    def _read_workbook(self, archive: Archive, book: Member) -> tuple[Sheet, ...]:
        sheets: list[Sheet] = []

        def on_start(name: str, given: dict[str, str]) -> None:
            if local(name) == "workbookPr":
                self._from_1904 = given.get("date1904", "") in _TRUE
            if local(name) != "sheet" or len(sheets) >= SHEETS_MAX:
                return
            relation = self._relations.get(next((given[key] for key in given if local(key) == "id"), ""))
            part = _member(archive, relation.name) if relation else None
            if relation and part and relation.kind == "worksheet":
                title = given.get("name", "")
                self._parts[title] = part
                sheets.append(Sheet(title, given.get("state", "visible") == "visible"))

        scan(_small(archive, book), on_start)
        if not sheets:
            raise Unreadable("The workbook has no sheets with cells.")
        return tuple(sheets)

    def _related(self, archive: Archive, kind: str) -> Member | None:
        """The workbook's one part of a kind."""
        names = [relation.name for relation in self._relations.values() if relation.kind == kind]
        return _member(archive, names[0]) if names else None

    def _read_styles(self, archive: Archive) -> dict[int, Formatter]:
        """Number of a cell's style -> how its number is written, for styles that matter."""
        part = self._related(archive, "styles")
        if part is None:
            return {}
        codes: dict[int, str] = {}
        formats: list[int] = []
        inside: list[str] = []

        def on_start(name: str, given: dict[str, str]) -> None:
            inside.append(local(name))
            if inside[-1] == "numFmt" and given.get("numFmtId", "").isdigit():
                codes.setdefault(int(given["numFmtId"]), given.get("formatCode", ""))
            elif inside[-2:] == ["cellXfs", "xf"]:
                number = given.get("numFmtId", "0")
                formats.append(int(number) if number.isdigit() else 0)

        def on_end(_: str) -> None:
            inside.pop()

        scan(_small(archive, part), on_start, on_end)
        known = {number: formatter(codes.get(number, ""), number, from_1904=self._from_1904) for number in set(formats)}
        return {style: write for style, number in enumerate(formats) if (write := known[number])}


def _small(archive: Archive, part: Member) -> Iterator[bytes]:
    size = 0
    for chunk in archive.chunks(part):
        size += len(chunk)
        if size > SMALL_PART_BYTES_MAX:
            raise TooLargeToRead(f"`{part.name[:100]}` in the workbook is too large.", limit=SMALL_PART_BYTES_MAX)
        yield chunk


def _find_workbook(archive: Archive) -> Member:
    kinds = _relations(archive, "").values()
    names = [relation.name for relation in kinds if relation.kind == "officeDocument"]
    book = _member(archive, names[0] if names else "xl/workbook.xml")
    if book is None:
        raise Unreadable("The file is an office document but no workbook.")
    return book


def _relations(archive: Archive, owner: str) -> dict[str, _Relation]:
    """Id -> part, for all that the part `owner` (or the archive itself) refers to inside of the archive."""
    folder, name = posixpath.split(owner)
    part = _member(archive, posixpath.join(folder, "_rels", f"{name}.rels"))
    found: dict[str, _Relation] = {}

    def on_start(name: str, given: dict[str, str]) -> None:
        if local(name) == "Relationship" and given.get("TargetMode") != "External":
            target = given.get("Target", "").replace("\\", "/")
            path = target.lstrip("/") if target.startswith("/") else posixpath.join(folder, target)
            kind = given.get("Type", "").rpartition("/")[2]
            found[given.get("Id", "")] = _Relation(kind, posixpath.normpath(path))

    if part is not None:
        scan(_small(archive, part), on_start)
    return found


def _member(archive: Archive, name: str) -> Member | None:
    """A part by its path, whose case programs do not always keep."""
    found = archive.members.get(name)
    if found is None:
        wanted = name.casefold()
        found = next((part for path, part in archive.members.items() if path.casefold() == wanted), None)
    return found
