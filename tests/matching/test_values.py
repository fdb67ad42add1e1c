from __future__ import annotations

import math

import pytest

from gristmill.matching.table import counts_rows, distinct, find_key, side_of
from gristmill.matching.text import codes_in, numbers_in, plain
from gristmill.matching.values import code, day, kind_of, number, phone, points_of


@pytest.mark.parametrize(
    ("some", "other"),
    [
        ("12 Mill Street", "12, Mill St."),
        ("Haney Furniture Company", "HANEY FURNITURE CO."),
        ("Müller & Söhne GmbH", "Muller und Sohne"),
        ("Kiesbergstraße 4", "KIESBERGSTRASSE 4"),
        ("J.P. Morgan", "JP Morgan"),
        ("Wendy's", "Wendys"),
        ("Caf&eacute; Rouge", "Café  Rouge"),
        ("The Blue Boar", "Blue Boar"),
    ],
)
def test_spellings_of_the_same_are_the_same(some: str, other: str) -> None:
    assert plain(some) == plain(other) != ""


@pytest.mark.parametrize(
    ("text", "expected"), [("", ""), (" -- ", ""), ("the", "the"), ("Inc", "inc"), ("东京", "东京")]
)
def test_plain_texts_lose_no_letters(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_codes_are_found_across_words() -> None:
    assert "mdrex32lpblk" in codes_in(plain("Earbuds MDR-EX32LP/BLK"))
    assert codes_in("no digits here") == []
    assert numbers_in(plain("DP-29F, 07 Mill St 7")) == ["29", "7"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("$1,299.00", 1299.0), ("1.299,00 EUR", 1299.0), ("5.4 %", 5.4), ("1,5", 1.5), ("12,000", 12000.0), ("-3", -3.0)],
)
def test_numbers_with_what_stands_around_them(text: str, expected: float) -> None:
    assert number(text) == expected


@pytest.mark.parametrize("text", ["", "abc", "12 Mill Street", "1-2-3", "404/221-6362"])
def test_what_is_no_number(text: str) -> None:
    assert math.isnan(number(text))


def test_codes_phones_and_days_have_one_form() -> None:
    assert code("IG11 7NB") == code("ig117nb")
    assert code("07688") == code("7688")
    assert phone("+1 (724) 654-7732 ext. 9").endswith(phone("724.654.7732"))
    assert day("1980-03-31") == day("31 March 1980") == day("19800331")


@pytest.mark.parametrize(
    ("cells", "name", "kind"),
    [
        (["IG11 7NB", "RM109QS", "E1 4TP"], "postcode", "code"),
        (["(724) 654-7732", "01305 250 001 2", "+44 20 7946 0000"], "tel", "phone"),
        (["1999", "2004", "1987"], "year", "code"),
        (["12.50", "3", "1,200"], "price", "number"),
        (["2020-01-31", "2021-12-01"], "born", "date"),
        (["19700131", "19991231"], "dob", "date"),
        (["12 Mill Street", "4 Quay Road, Kilmore"], "address", "text"),
        (["", " "], "empty", "text"),
    ],
)
def test_kinds_of_columns(cells: list[str], name: str, kind: str) -> None:
    assert kind_of(cells, name) == kind


def test_places_in_two_columns_and_in_one() -> None:
    two = points_of(["lat", "lng"], {"lat": ["40.4111", ""], "lng": ["-79.9558", ""]})
    one = points_of(["pos"], {"pos": ["40.4111; -79.9558", "POINT (-79.9558 40.4111)"]})
    assert two is not None
    assert one is not None
    assert two[0] == ("lat", "lng")
    assert two[1][0] == pytest.approx(one[1][0]) == one[1][1]
    assert math.isnan(two[1][1][0])
    assert points_of(["flat", "x"], {"flat": ["3", "4"], "x": ["1.5", "2.5"]}) is None


def test_row_numbers_are_told_from_facts() -> None:
    assert counts_rows([f"L{number:05d}" for number in range(5, 50)])
    assert not counts_rows(["4021", "9917", "123456", "77"])
    assert not counts_rows(["a1", "b2", "c3"])
    side = side_of([{"name": "A", "id": "x9"}, {"name": "B", "id": "k2"}])
    assert find_key(side, None) == "id"
    assert find_key(side_of([{"name": "A"}, {"name": "B"}]), None) is None


def test_repeated_rows_are_one() -> None:
    side = side_of([{"id": "1", "a": "x"}, {"id": "2", "a": "y"}, {"id": "3", "a": "x"}])
    side.key = "id"
    found = distinct(side)
    assert (found.first, found.place, found.counts.tolist()) == ([0, 1], [0, 1, 0], [2, 1])
