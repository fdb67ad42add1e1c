"""Rows as leads: ids that stay, titles, refusals; and a mapping that a person edits."""

from __future__ import annotations

import io

import pytest

from gristmill import mapping
from gristmill.base.errors import Invalid
from gristmill.enrich import columns as leads
from gristmill.tables import read_table

FILE = (
    b"Business name,Address 1,Address 2,Town,ST,Post,Tel,DBA\n"
    b"Haney Furniture,100 Main St,Suite 4,Tampa,FL,33602,(813) 555-0101,Haney's Sofas\n"
    b"Blue Harbor,4 Quay Rd,,Ocala,FL,34470,352-555-0102,\n"
    b",77 High St,,Ocala,FL,34470,,\n"
    b",,,,FL,,352-555-0103,\n"
)


def propose(data: bytes = FILE) -> mapping.Mapping:
    return mapping.propose_mapping(read_table(io.BytesIO(data)))


def rows(columns: mapping.Mapping, data: bytes = FILE) -> list[dict[str, object]]:
    return list(leads.lead_rows(columns, read_table(io.BytesIO(data)).records()))


def test_each_row_has_an_id_of_its_own_that_stays() -> None:
    first = rows(propose())
    ids = [row["contact_id"] for row in first]
    assert len(set(ids)) == 4
    assert ids == [row["contact_id"] for row in rows(propose())]
    moved = FILE.splitlines(keepends=True)
    again = rows(propose(), b"".join([moved[0], *reversed(moved[1:])]))
    assert [row["contact_id"] for row in again] == ids[::-1], "it does not hang on the place in the file"


def test_the_file_s_own_ids_are_kept() -> None:
    lines = ["id,company,street,zip", "7001,Haney Furniture,100 Main St,33602", "7002,Blue Harbor,4 Quay Rd,34470", ""]
    data = "\n".join(lines).encode()
    assert [row["contact_id"] for row in rows(propose(data), data)] == ["7001", "7002"]


def test_titles_name_a_row_and_where_it_is() -> None:
    found = [row["chat_title"] for row in rows(propose())]
    assert found[0] == "Haney Furniture \N{MIDDLE DOT} Tampa, FL"
    assert str(found[2]).startswith("77 High St")
    assert found[3]


def test_what_is_too_thin_is_refused() -> None:
    assert [bool(leads.refuse(row)) for row in rows(propose())] == [False, False, False, True]


def test_edits_take_what_they_name_and_refuse_what_is_not_there() -> None:
    columns = propose()
    changed = leads.edited(columns, {"street": ["Address 1", "Address 2"]}, ["DBA"], ("Town", ["ST"]))
    row = rows(changed)[0]
    assert "100 Main St" in str(row["street"])
    assert "Suite 4" in str(row["street"])
    assert row["search_variants"] == {"DBA": "Haney's Sofas"}
    assert row["chat_title"] == "Tampa \N{MIDDLE DOT} FL"
    unmapped = leads.edited(columns, {"number1": []}, None, None)
    assert rows(unmapped)[0]["number1"] == ""
    with pytest.raises(Invalid, match="is no column") as refused:
        leads.edited(columns, {"street": ["Adress"]}, ["dba"], ("Towns", []))
    assert [item.field for item in refused.value.errors] == ["fields.street", "variants", "chat_label.primary_column"]
    with pytest.raises(Invalid):
        leads.edited(columns, {"strasse": ["Town"]}, None, None)


def test_a_mapping_is_stored_and_read_back() -> None:
    columns = propose()
    assert leads.from_json(leads.to_json(columns)) == columns
    shown = leads.view(columns)
    assert shown.fields["company"].columns == ["Business name"]
    assert shown.fields["company"].reasons
    assert shown.columns == ["Business name", "Address 1", "Address 2", "Town", "ST", "Post", "Tel", "DBA"]


def test_columns_that_would_be_found_again_are_named() -> None:
    assert leads.unheard(propose()) == []
    data = FILE.replace(b",DBA\n", b",DBA,Contact E-mail,Web site\n").replace(
        b"Sofas\n", b"Sofas,a@haney.example,haney.example\n"
    )
    columns = propose(data)
    [warning] = leads.unheard(columns)
    assert "`Contact E-mail`, `Web site`" in warning
    heard = leads.edited(columns, {}, ["Contact E-mail", "Web site"], None)
    assert leads.unheard(heard) == []
