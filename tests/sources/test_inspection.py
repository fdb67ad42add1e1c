"""A look at files by API and shell: every record accounted for, nothing kept."""

from __future__ import annotations

import base64
import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from conftest import Caller
from gristmill.doors.cli import app

FILE = "Report of March;;\n\nName;PLZ;Ort\nMüller GmbH;01067;Dresden\nonly one cell\nAnna & Co;10115;Berlin\n".encode(
    "cp1252"
)


def check(found: dict[str, Any]) -> None:
    assert found["header"] == ["Name", "PLZ", "Ort"]
    assert [column["name"] for column in found["columns"]] == ["Name", "PLZ", "Ort"]
    assert found["columns"][1]["samples"][:2] == ["01067", "10115"] or "01067" in found["columns"][1]["samples"]
    assert found["dialect"]["delimiter"] == ";"
    receipt = found["receipt"]
    parts = ("header", "preamble", "rows", "rejects", "blank")
    assert receipt["lines"] == sum(receipt[name] for name in parts)
    assert receipt["complete"]


def test_the_same_by_form_body_and_json(owner: Caller, base_url: str) -> None:
    bearer = {"Authorization": f"Bearer {owner.secret}"}
    where = f"{base_url}/api/v1/tables/inspect"
    answers = [
        httpx.post(where, headers=bearer, files={"file": ("a.csv", FILE, "text/csv")}),
        httpx.post(where, headers={**bearer, "Content-Type": "text/csv"}, content=FILE),
        httpx.post(where, headers=bearer, json={"file_base64": base64.b64encode(FILE).decode()}),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        check(answer.json())
    assert len({answer.text for answer in answers}) == 1


def test_what_is_known_overrules_what_is_found(owner: Caller, base_url: str) -> None:
    bearer = {"Authorization": f"Bearer {owner.secret}", "Content-Type": "text/csv"}
    answer = httpx.post(
        f"{base_url}/api/v1/tables/inspect", headers=bearer, params={"delimiter": ",", "header": False}, content=FILE
    )
    assert answer.json()["dialect"]["delimiter"] == ","
    assert answer.json()["header"] is None


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 422), (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00", 415), (b"[" * 100_000, 422)],
    ids=["empty", "picture", "deep"],
)
def test_what_is_no_table_is_told(owner: Caller, base_url: str, body: bytes, status: int) -> None:
    bearer = {"Authorization": f"Bearer {owner.secret}", "Content-Type": "application/octet-stream"}
    answer = httpx.post(f"{base_url}/api/v1/tables/inspect", headers=bearer, content=body, timeout=30)
    assert 400 <= answer.status_code < 500, answer.text[:300]
    assert answer.status_code == status or answer.json()["code"] in {"unreadable_file", "unsupported_type", "too_large"}
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"file_base64": "%%%"}', b"nonsense"])
def test_json_that_is_no_file_is_told(owner: Caller, base_url: str, body: bytes) -> None:
    bearer = {"Authorization": f"Bearer {owner.secret}", "Content-Type": "application/json"}
    answer = httpx.post(f"{base_url}/api/v1/tables/inspect", headers=bearer, content=body)
    assert answer.status_code in {400, 422}


def test_nobody_is_let_in(anyone: httpx.Client) -> None:
    assert anyone.post("/api/v1/tables/inspect", content=FILE).status_code == 401


def test_the_command_for_people_and_programs(tmp_path: Path) -> None:
    path = tmp_path / "leads.csv"
    path.write_bytes(FILE)
    shown = CliRunner().invoke(app, ["inspect", str(path)])
    assert shown.exit_code == 0
    assert "semicolon" in shown.stdout
    assert "Dresden" in shown.stdout
    found = CliRunner().invoke(app, ["inspect", str(path), "--json"])
    check(json.loads(found.stdout_bytes))


def test_the_command_reads_an_archive(tmp_path: Path) -> None:
    held = BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("one.csv", "a,b\n1,2\n")
    path = tmp_path / "a.zip"
    path.write_bytes(held.getvalue())
    found = json.loads(CliRunner().invoke(app, ["inspect", str(path), "--json"]).stdout_bytes)
    assert found["rows"] == [["1", "2"]]
    assert found["dialect"]["compression"] == "zip"
