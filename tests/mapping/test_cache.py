"""What was mapped before: the same headers and kinds of values get the same again, and a person's choice always."""

from __future__ import annotations

from dataclasses import replace

from gristmill.mapping import Mapping, Memory, edited, propose_mapping
from gristmill.mapping.cache import Remembered, alike, signature
from gristmill.mapping.sheet import read_sheet
from gristmill.tables import read_table

HEADER = "Kunde;Code;Anschluss\n"
PHONES = HEADER + "Acme GmbH;K-1;030 1234567\nBolt AG;K-2;+49 40 7654321\n"
OTHER_PHONES = HEADER + "Zeta KG;K-9;089 554433\nYard UG;K-8;0221 998877\nXeno SE;;\n"
DATES = HEADER + "Acme GmbH;K-1;2024-01-05\nBolt AG;K-2;2024-02-05\n"


def table(text: str = PHONES):  # noqa: ANN201 - what the tables room calls it is not of interest here
    return read_table(text.encode())


def memory(found: Mapping, *, by_person: bool = False) -> Memory:
    return Memory({(found.fingerprint, found.fieldset): Remembered(found, by_person)})


def swapped(found: Mapping) -> Mapping:
    """Something that no stage would propose."""
    return edited(found, {"company": [1], "city": [0]}, [])


def test_the_same_kinds_of_values_get_the_same_mapping() -> None:
    before = swapped(propose_mapping(table()))
    again = propose_mapping(table(OTHER_PHONES), cache=memory(before))
    assert again.fields["company"].columns == (1,)
    assert again.fields["company"].evidence.stage == "cache"
    assert again.fields["company"].evidence.samples == ("K-9", "K-8"), "the samples are those of this table"


def test_other_kinds_of_values_ask_again() -> None:
    before = swapped(propose_mapping(table()))
    again = propose_mapping(table(DATES), cache=memory(before))
    assert again.fields["company"].columns == (0,)
    assert again.fields["company"].evidence.stage == "evidence"


def test_a_person_is_always_right() -> None:
    before = swapped(propose_mapping(table()))
    again = propose_mapping(table(DATES), cache=memory(before, by_person=True))
    assert again.fields["company"].columns == (1,)
    assert {item.evidence.stage for item in again.fields.values()} == {"person"}
    assert again.fields["company"].confidence == 1.0


def test_a_person_is_right_about_plain_headers_too() -> None:
    plain = b"company,city\nReno,Acme Inc\n"
    before = edited(propose_mapping(read_table(plain)), {"company": [1], "city": [0]}, None)
    again = propose_mapping(read_table(plain), cache=memory(before, by_person=True))
    assert again.fields["company"].columns == (1,)


def test_headers_are_the_same_whatever_their_case_and_spaces() -> None:
    before = swapped(propose_mapping(table()))
    shouted = read_table(PHONES.replace(HEADER, " KUNDE ;code;Anschluß\n").replace("ß", "ss").encode())
    assert propose_mapping(shouted, cache=memory(before)).fields["company"].columns == (1,)


def test_other_fields_are_other_mappings() -> None:
    before = swapped(propose_mapping(table()))
    again = propose_mapping(table(), ["company"], cache=memory(before, by_person=True))
    assert again.fields["company"].columns == (0,)


def test_a_mapping_of_another_width_is_not_used() -> None:
    before = swapped(propose_mapping(table()))
    broken = replace(before, columns=("a",))
    assert propose_mapping(table(), cache=memory(broken, by_person=True)).fields["company"].columns == (0,)


def test_signatures() -> None:
    rows = [["a@x.io", "https://x.io", "2024-01-02", "030 1234567", "12", "word", ""]]
    assert signature(read_sheet(None, rows, 7).columns) == "eudpnt-"
    assert alike("en-", "e-t")
    assert not alike("en", "et")
    assert not alike("e", "ee")
