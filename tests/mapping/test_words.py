"""Headers cut into known words."""

from __future__ import annotations

import pytest

from gristmill.mapping.words import fold, lexicon


def meanings(header: str) -> list[set[str]]:
    return [set(word.meanings) for word in lexicon().words(header)]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("CONTACTLASTNAME", [{"person"}, {"last"}]),
        ("Geschäftsname", [{"entity"}, {"name"}]),
        ("Store_Stre", [{"entity"}, {"street"}]),
        ("faxcimilie", [{"fax"}]),
        ("longtitude", [{"geo"}]),
        ("Tipo de Logradouro", [{"streettype"}]),
        ("zipCode", [{"zip"}]),
        ("lstreet", [{"physical"}, {"street"}]),
        ("fhrsid", [{"id"}]),
    ],
)
def test_words_are_found(header: str, expected: list[set[str]]) -> None:
    assert meanings(header) == expected


@pytest.mark.parametrize("word", ["report", "paid", "replacement", "administratif", "estate", "capacity"])
def test_words_that_only_look_like_others(word: str) -> None:
    found = set().union(*meanings(word))
    assert found.isdisjoint({"city", "state", "id", "chief", "physical", "zip"})


def test_folding() -> None:
    assert fold("Straße ÅRHUS Łódź ガ") == "strasse arhus lodz ガ"
