"""Reading many files of one place: quick where they look alike, right where one does not."""

from __future__ import annotations

import io

import pytest

from gristmill import inventory
from gristmill.inventory import reading
from gristmill.tables import Unreadable

FIRST = b"id,name,note\n1,Ana,x\n2,Bo,y\n3,Cy,z\n"


@pytest.fixture
def reader() -> inventory.Reader:
    made = inventory.Reader()
    assert made.examine(FIRST).receipt.rows == 3
    return made


def count_guesses(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows by one entry for each reading: whether the dialect was guessed."""
    guesses: list[bool] = []
    real = reading.read_table

    def spy(data: object, *, dialect: object = None) -> object:
        guesses.append(dialect is None)
        return real(data, dialect=dialect)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "read_table", spy)
    return guesses


def test_a_file_with_the_same_first_line_is_not_guessed_again(
    reader: inventory.Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    guesses = count_guesses(monkeypatch)
    assert reader.examine(io.BytesIO(b"id,name,note\n9,Di,\n")).receipt.rows == 1
    assert guesses == [False]


@pytest.mark.parametrize(
    "data",
    [
        b"id,name,note\n1,Ren\xe9,x\n2,Zo\xeb,y\n",
        b'id,name,note\n1,"a ""b"" c",x\n2,a,b,c\n',
        b"id,name,note\n1;Ana;x\n2;Bo;y\n",
        b"other\n1\n2\n",
        b'{"id": 1}\n{"id": 2}\n',
    ],
)
def test_a_file_that_is_different_is_read_as_if_it_were_alone(reader: inventory.Reader, data: bytes) -> None:
    assert reader.examine(io.BytesIO(data)) == inventory.Reader().examine(data)


def test_an_open_file_is_read_from_where_it_stands(reader: inventory.Reader) -> None:
    file = io.BytesIO(b"junk" + FIRST)
    file.seek(4)
    assert reader.examine(file).receipt.rows == 3


def test_a_file_that_is_none_is_refused() -> None:
    with pytest.raises(Unreadable):
        inventory.Reader().examine(b"")
    with pytest.raises(Unreadable):
        inventory.Reader("PARQUET").examine(FIRST)
