"""What headers say."""

from __future__ import annotations

import pytest

from gristmill.mapping.headings import read_header, same_header


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("Company", "company"),
        ("DBA Name", "trade"),
        ("Raison sociale", "legal"),
        ("Account Owner", "crmowner"),
        ("Business Owner", "person"),
        ("OWNERID", "foreign"),
        ("Owner Type Code", "category"),
        ("BILLINGPOSTALCODE", "zip"),
        ("PLZ/Ort", "zipcity"),
        ("City, State Zip", "citystatezip"),
        ("CommuneId", "placecode"),
        ("Straße und Hausnummer", "street"),
        ("Hausnr.", "housenumber"),
        ("Adresse postale", "address"),
        ("E-Mail: Adresse", "email"),
        ("E-mailadres", "email"),
        ("ADR_MAIL", "email"),
        ("MailAddr", "address"),
        ("Bezoekadres", "address"),
        ("Main Line", "phone"),
        ("Telefon (Durchwahl)", "phone"),
        ("CP envío", "zip"),
        ("Kod poczt.", "zip"),
        ("Work #", "phone"),
        ("Area Code + Phone", "phone"),
        ("Phone Area Code", "phonecode"),
        ("ADR_LIV_CP", "zip"),
        ("cp_phone", "phone"),
        ("Company Website", "url"),
        ("Fax Phone Number", "fax"),
        ("Phone/Fax", "phone"),
        ("Téléphone portable", "phone"),
        ("Number of Employees", "measure"),
        ("Account Number", "id"),
        ("SIRET", "registration"),
        ("License No", "license"),
        ("Invoice Number", "record"),
        ("OBJECTID_1", "gisid"),
        ("cp_givenname", "first"),
        ("Company Owner Email", "email"),
        ("L3", "city"),
        ("L4_NORMALISEE", "street"),
        ("Customer Type", "category"),
        ("所在地_都道府県", "state"),
        ("法人番号", "registration"),
        ("景點中文名稱", "company"),
        ("ＦＡＸ番号", "fax"),
        ("Руководитель", "person"),
        ("xyzzy", ""),
        ("", ""),
    ],
)
def test_kinds(header: str, kind: str) -> None:
    assert read_header(header).kind == kind


@pytest.mark.parametrize(
    ("header", "classes", "ordinal"),
    [
        ("Billing Street2", {"billing"}, 2),
        ("Contact1 Home Phone", {"person", "home"}, 0),
        ("Phone 3 - Value", set(), 3),
        ("Rechnungsadresse", {"billing"}, 0),
        ("mzip", {"mailing"}, 0),
    ],
)
def test_whose_and_which(header: str, classes: set[str], ordinal: int) -> None:
    found = read_header(header)
    assert classes <= found.classes
    assert found.ordinal == ordinal


def test_same_headers() -> None:
    assert same_header("E-Mail", "e_mail")
    assert not same_header("E-Mail", "Email 2")


@pytest.mark.parametrize(
    "header", ["a" * 100_000, "\x00\x01", "=cmd|' /C calc'!A0", "  \n\t ", "🙂" * 50, "١٢٣", "a\u0300" * 500]
)
def test_hostile_headers_are_read(header: str) -> None:
    read_header(header)
