"""Words of any script, stems by the database, and highlights that stand where the words are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.base.db import Database
from gristmill.datasets.build_store import find_stems
from gristmill.datasets.words import STOP_WORDS, fold, highlight, places, question_words, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The SKU-1234, it's new", ["the", "sku", "1234", "it", "s", "new"]),
        ("Zürich Straße Ærø", ["zurich", "strasse", "ærø"]),
        ("東京都 de", ["東京", "京都", "de"]),
        ("한국어", ["한국", "국어"]),
        ("日", ["日"]),
        ("ab東京cd", ["ab", "東京", "cd"]),
        ("", []),
        ("x" * 100, ["x" * 64]),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_stop_words_are_left_out_of_questions_that_have_others() -> None:
    assert question_words("What is the price of it") == ["price"]
    assert question_words("to be or not to be") == ["to", "be", "or", "not", "to", "be"]
    assert {"the", "of"} <= STOP_WORDS


class Everything:
    """Has whatever is looked for in it."""

    def __contains__(self, item: object) -> bool:
        return True


@given(st.text(max_size=60))
def test_places_are_where_the_words_stand(text: str) -> None:
    found = places(text, Everything())
    assert all(fold(text[word.start : word.end]).startswith(word.text) for word in found)
    assert sorted(found, key=lambda word: (word.start, word.end)) == found


def test_stems_come_from_the_database(database: Database, organization: int) -> None:
    with database.tx(organization) as tx:
        stems = find_stems(tx, ["running", "bakeries", "the", "zurich", "run"])
    assert stems == {"running": "run", "bakeries": "bakeri"}


def test_highlights_mark_the_words_in_their_pieces() -> None:
    text = "Bakeries are nice. " * 3 + "x " * 300 + "The best bakery of Rome."
    pieces = highlight(text, {"bakeries", "bakery", "rome"})
    assert len(pieces) == 2
    for piece in pieces:
        assert piece.text in text
        assert len(piece.text) <= 200
        assert {piece.text[start:end].lower() for start, end in piece.marks} <= {"bakeries", "bakery", "rome"}
    assert [pieces[1].text[start:end] for start, end in pieces[1].marks] == ["bakery", "Rome"]
    assert highlight(text, {"nothing"}) == []


@pytest.mark.parametrize(
    ("text", "wanted", "marked"),
    [
        ("Zürich, zürich", {"zurich"}, ["Zürich", "zürich"]),
        ("東京都 de", {"東京", "de"}, ["東京", "de"]),
        ("plain text", {"text"}, ["text"]),
    ],
)
def test_only_wanted_words_are_marked(text: str, wanted: set[str], marked: list[str]) -> None:
    (piece,) = highlight(text, wanted)
    assert [piece.text[start:end] for start, end in piece.marks] == marked
