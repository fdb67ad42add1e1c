"""Workbooks made by hand, for tests: XLSX and ODS archives with exactly the XML that a case needs."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_KINDS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def sheet_xml(rows: str, *, dimension: str = "", rest: str = "") -> str:
    """A worksheet around `<row>` elements."""
    ref = f'<dimension ref="{dimension}"/>' if dimension else ""
    return f"<worksheet {MAIN}>{ref}<sheetData>{rows}</sheetData>{rest}</worksheet>"


def rows_xml(*rows: list[str | int | float | None]) -> str:
    """Rows of inline texts and numbers."""
    lines: list[str] = []
    for number, row in enumerate(rows, start=1):
        cells = "".join(
            ""
            if value is None
            else f'<c r="{chr(65 + i)}{number}" t="inlineStr"><is><t>{value}</t></is></c>'
            if isinstance(value, str)
            else f'<c r="{chr(65 + i)}{number}"><v>{value}</v></c>'
            for i, value in enumerate(row)
        )
        lines.append(f'<row r="{number}">{cells}</row>')
    return "".join(lines)


def xlsx(
    sheets: Mapping[str, str],
    *,
    states: Mapping[str, str] | None = None,
    styles: str = "",
    texts: str = "",
    properties: str = "",
    more: Mapping[str, str | bytes] | None = None,
) -> bytes:
    """A workbook of worksheet XML by name of sheet."""
    entries, links = "", ""
    files: dict[str, str | bytes] = {"[Content_Types].xml": "<Types/>"}
    for number, (name, xml) in enumerate(sheets.items(), start=1):
        state = (states or {}).get(name, "visible")
        entries += f'<sheet name="{name}" sheetId="{number}" state="{state}" r:id="rId{number}"/>'
        links += f'<Relationship Id="rId{number}" Type="{_KINDS}/worksheet" Target="worksheets/sheet{number}.xml"/>'
        files[f"xl/worksheets/sheet{number}.xml"] = xml
    if styles:
        links += f'<Relationship Id="s" Type="{_KINDS}/styles" Target="styles.xml"/>'
        files["xl/styles.xml"] = f"<styleSheet {MAIN}>{styles}</styleSheet>"
    if texts:
        links += f'<Relationship Id="t" Type="{_KINDS}/sharedStrings" Target="/xl/sharedStrings.xml"/>'
        files["xl/sharedStrings.xml"] = f"<sst {MAIN}>{texts}</sst>"
    files["xl/workbook.xml"] = (
        f'<workbook {MAIN} xmlns:r="{_KINDS}"><workbookPr {properties}/><sheets>{entries}</sheets></workbook>'
    )
    files["xl/_rels/workbook.xml.rels"] = f'<Relationships xmlns="{_RELATIONS}">{links}</Relationships>'
    files["_rels/.rels"] = (
        f'<Relationships xmlns="{_RELATIONS}">'
        f'<Relationship Id="w" Type="{_KINDS}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
    )
    return zipped(files | dict(more or {}))


def ods(tables: str) -> bytes:
    """An OpenDocument spreadsheet around `<table:table>` elements."""
    names = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr(
            "content.xml",
            f"<office:document-content {names}><office:body><office:spreadsheet>{tables}"
            "</office:spreadsheet></office:body></office:document-content>",
        )
        archive.writestr("META-INF/manifest.xml", "<manifest/>")
    return out.getvalue()
