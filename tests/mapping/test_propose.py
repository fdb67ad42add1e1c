"""From a table to a mapping: which stage settles it, what evidence is shown, what can't be searched."""

from __future__ import annotations

import pytest

from gristmill.base.errors import Error
from gristmill.mapping import LEAD_FIELDS, Mapping, NothingToSearch, UnknownFields, propose_for_rows, propose_mapping
from gristmill.tables import read_table

PLAIN = "company,address,city,state,zip,phone\nAcme Inc,12 Main St,Reno,NV,89501,(775) 555-0123\n"
GERMAN = (
    "Kunden-Nr.;Firma;Ansprechpartner;Straße;Hausnr.;PLZ;Ort;Telefon;Mobil;E-Mail;Zweite Adresse\n"
    "K-1001;Müller GmbH;Anna Weber;Hauptstraße;5;10115;Berlin;030 1234567;0171 2345678;a@mueller.de;Am Markt 1\n"
    "K-1002;Bäckerei Schmidt;Jonas Koch;Lange Gasse;12a;80331;München;089 7654321;;info@schmidt.de;\n"
    "K-1003;Klee & Söhne OHG;Eva Klee;Am Ring;7;50667;Köln;0221 998877;0160 5554443;eva@klee.de;Hafenweg 3\n"
)
NO_HEADER = (
    "Acme Hardware Inc,12 Main St,Reno,NV,89501,(775) 555-0123\n"
    "Bluebird Cafe LLC,400 Oak Avenue,Sparks,NV,89431,(775) 555-0188\n"
    "Carson Dental Group,7 W Pine Rd,Carson City,NV,89701,(775) 555-0145\n"
)


def mapped(text: str) -> Mapping:
    return propose_mapping(read_table(text.encode()))


def columns(found: Mapping) -> dict[str, tuple[int, ...]]:
    return {name: item.columns for name, item in found.mapped().items()}


class TestStages:
    def test_plain_headers_are_obvious(self) -> None:
        found = mapped(PLAIN)
        assert columns(found) == {"company": (0,), "street": (1,), "city": (2,), "state": (3,), "zip": (4,),
                                  "number1": (5,)}  # fmt: skip
        assert {item.evidence.stage for item in found.fields.values()} == {"obvious"}
        assert list(found.fields) == [item.name for item in LEAD_FIELDS]

    @pytest.mark.parametrize(
        "text",
        [
            "company,address,city,state,zip,phone\nAcme Inc,12 Main St,Reno,NV,89501,yes\n",  # no phones
            "company,address,city,state,zip,phone,phone\nAcme Inc,12 Main St,Reno,NV,89501,7755550123,7755550124\n",
            "company,address,city,state,zip,region code\nAcme Inc,12 Main St,Reno,NV,89501,1\n",
            "first name,last name\nAna,Weber\n",  # no company
        ],
    )
    def test_anything_else_is_weighed(self, text: str) -> None:
        assert "obvious" not in {item.evidence.stage for item in mapped(text).fields.values()}

    def test_merges_of_plain_headers(self) -> None:
        found = mapped("First Name,Last Name,Company,Address 1,Address 2\nAna,Weber,Acme,12 Main St,Suite 4\n")
        assert columns(found) == {"dm_name": (0, 1), "company": (2,), "street": (3, 4)}

    def test_other_languages_are_weighed(self) -> None:
        found = mapped(GERMAN)
        assert columns(found) == {"contact_id": (0,), "company": (1,), "dm_name": (2,), "street": (3, 4), "zip": (5,),
                                  "city": (6,), "number1": (7,), "number2": (8,)}  # fmt: skip
        assert found.variants == (10,)

    def test_values_alone_are_enough(self) -> None:
        found = mapped(NO_HEADER)
        assert columns(found) == {"company": (0,), "street": (1,), "city": (2,), "state": (3,), "zip": (4,),
                                  "number1": (5,)}  # fmt: skip


class TestEvidence:
    def test_samples_pass_rate_and_reasons(self) -> None:
        item = mapped(GERMAN).fields["number1"]
        assert item.evidence.samples == ("030 1234567", "089 7654321", "0221 998877")
        assert item.evidence.pass_rate == 1.0
        assert "the header `Telefon` says phone" in item.evidence.reasons
        assert mapped(GERMAN).fields["street"].evidence.samples[0] == "Hauptstraße 5"
        assert mapped(GERMAN).fields["company"].evidence.pass_rate is None

    def test_samples_are_of_different_values(self) -> None:
        found = mapped("firm;ort\n" + "A GmbH;Berlin\n" * 5 + "B GmbH;Berlin\n")
        assert found.fields["company"].evidence.samples == ("A GmbH", "B GmbH")

    def test_the_next_best_columns(self) -> None:
        found = mapped("Client;Trading name;Registered name;Town\nx1;Acme;Acme Ltd;Leeds\nx2;Bolt;Bolt Ltd;York\n")
        company = found.fields["company"]
        assert company.columns == (1,)
        assert company.runner_up is not None
        assert company.runner_up.columns == (2,)
        assert company.runner_up.confidence < company.confidence

    def test_chat_label(self) -> None:
        label = mapped(GERMAN).chat_label
        assert (label.primary_column, label.location_columns) == (1, (6,))
        assert mapped("colour,size\nred,4\n").chat_label.primary_column is None


class TestProblem:
    @pytest.mark.parametrize(
        "header", ["company", "address,city", "Street,Zip", "Business Name,Phone", "Firma", "会社名,電話番号"]
    )
    def test_a_company_or_an_address_can_be_searched(self, header: str) -> None:
        assert not propose_for_rows(header.split(","), []).problem

    @pytest.mark.parametrize("header", ["street", "city,state,zip", "first name,last name,email", "colour,size"])
    def test_anything_less_cannot(self, header: str) -> None:
        found = propose_for_rows(header.split(","), [])
        assert found.problem
        with pytest.raises(NothingToSearch) as caught:
            found.require_lead()
        assert caught.value.status == 422
        assert all(f"`{name}`" in str(caught.value) for name in header.split(","))

    def test_a_whole_address_in_one_column_is_enough(self) -> None:
        found = mapped("where\n12 Main St, Reno, NV 89501\n4 Oak Ave, Sparks, NV 89431\n7 Pine Rd, Elko, NV 89801\n")
        assert columns(found)["street"] == (0,)
        assert not found.problem

    def test_a_wide_table_names_some_columns_only(self) -> None:
        found = propose_for_rows([f"x{i}" for i in range(500)], [])
        with pytest.raises(NothingToSearch, match="and 450 more"):
            found.require_lead()

    def test_unknown_fields(self) -> None:
        for fields in ("leads", {}, {"properties": {}}, [], [1], [{"type": "string"}], ["a", "a"]):
            with pytest.raises(UnknownFields) as caught:
                propose_for_rows(["a"], [], fields)  # pyright: ignore[reportArgumentType]
            assert isinstance(caught.value, Error)
            assert caught.value.status == 422


def test_a_departamento_is_a_part_of_the_country_beside_a_town() -> None:
    assert columns(mapped("nombre,departamento,municipio\nClínica Uno,Cauca,Popayán\n"))["state"] == (1,)
    assert "state" not in columns(mapped("nombre,departamento,correo\nAna Ruiz,Ventas,a@x.co\n"))


def test_a_number_of_something_else_is_no_phone_where_phones_are_named() -> None:
    text = "School,CODIST,Phone\nAdams Central,01-0090-000,(402)463-3285\nHastings Public,01-0018-000,(402)461-7500\n"
    assert columns(mapped(text))["number1"] == (2,)
    assert "number2" not in columns(mapped(text))


def test_other_locations_are_no_line_of_the_address() -> None:
    text = "name,address_line1,address_line2,additional_locations\nA,1 Main St,Suite 2,3 and 5 Main St\n"
    assert columns(mapped(text))["street"] == (1, 2)


def test_mojibake_is_seen_through() -> None:
    found = mapped("Firma;StraÃŸe;PLZ;Ort\nMÃ¼ller GmbH;HauptstraÃŸe 5;10115;KÃ¶ln\n")
    assert columns(found) == {"company": (0,), "street": (1,), "zip": (2,), "city": (3,)}


def test_who_pays_is_a_variant_and_nobody_to_talk_to() -> None:
    people = ("Ann Weber", "Jon Baker", "Eva Klein")
    found = propose_for_rows(
        ["Customer Name", "Service Address", "Bill To Name", "Bill To Address", "Phone"],
        [["Elm Works Inc", f"{n} Main St", name, f"{n} Oak Ave", f"(775) 555-010{n}"] for n, name in enumerate(people)],
    )
    assert found.fields["company"].columns == (0,)
    assert found.fields["dm_name"].columns == ()
    assert found.variants == (2, 3)


def test_beside_a_site_the_head_office_is_a_variant() -> None:
    names = ["company", "site_street", "site_city", "site_zip", "hq_street", "hq_city", "hq_zip"]
    found = propose_for_rows(names, [["Elm Inc", "1 Main St", "Reno", "89501", "2 Oak Ave", "Sparks", "89431"]])
    assert found.fields["street"].columns == (1,)
    assert found.variants == (4, 5, 6)


def test_visits_come_before_post() -> None:
    found = propose_for_rows(["Naam", "Postadres", "Bezoekadres"], [["Elm B.V.", "Postbus 1", "Kerklaan 5"]])
    assert found.fields["street"].columns == (2,)
    assert found.variants == (1,)


def test_lines_that_are_numbered_in_words_are_joined() -> None:
    found = propose_for_rows(["Name", "First Line Address", "Second Line Address"], [["Elm Inc", "1 Main St", "Ste 2"]])
    assert found.fields["street"].columns == (1, 2)


def test_days_without_a_header_are_no_ids() -> None:
    rows = "".join(f"2024-01-0{n},Elm Works {n} Inc,{n} Main St,Reno,NV,89501\n" for n in range(1, 7))
    assert propose_mapping(read_table(rows.encode())).fields["contact_id"].columns == ()


def test_beside_a_place_who_runs_it_is_a_variant() -> None:
    names = ["Location Name", "Location Street", "Location Phone", "Provider Name", "Provider Street", "Provider Phone"]
    row = ["Elm House", "1 Main St", "(775) 555-0101", "Elm Group Inc", "2 Oak Ave", "(775) 555-0102"]
    found = propose_for_rows(names, [row])
    assert found.fields["street"].columns == (1,)
    assert found.fields["number1"].columns == (2,)
    assert 4 in found.variants


def test_the_registered_seat_is_a_variant_of_where_work_is_done() -> None:
    names = ["Ragione sociale", "Sede legale - Indirizzo", "Sede operativa - Indirizzo"]
    found = propose_for_rows(names, [["Elm S.r.l.", "Via Roma 1", "Via Dante 2"]])
    assert found.fields["street"].columns == (2,)
    assert found.variants == (1,)


def test_the_state_of_a_job_is_told_by_its_values() -> None:
    names = ["Company", "Job Address", "Job City", "Job State", "ZIP+4"]
    rows = [["Elm Inc", f"{n} Main St", "Reno", "NV", f"8950{n}-1234"] for n in range(1, 6)]
    found = propose_for_rows(names, rows)
    assert (found.fields["state"].columns, found.fields["zip"].columns) == ((3,), (4,))
    found = propose_for_rows(names, [[*row[:3], "done", row[4]] for row in rows])
    assert found.fields["state"].columns == ()
