"""Base64 from anywhere."""

from __future__ import annotations

import base64
import binascii

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.base.encoded import decode


@given(data=st.binary(max_size=300), kind=st.sampled_from(["", "text/csv", "text/csv;charset=utf-8", "a/b"]))
def test_every_way_to_write_it_is_read(data: bytes, kind: str) -> None:
    plain = base64.b64encode(data).decode()
    ways = [plain, base64.encodebytes(data).decode(), plain + "\r\n", "\t".join(plain), f"data:{kind};base64,{plain}"]
    assert {decode(way) for way in ways} == {data}


@pytest.mark.parametrize(
    "text",
    ["%%", "a", "YQ", "YQ=", "YQ==YQ==", "Y-_=", "data:text/csv,a", "data:;base64,%%", "ÿQ==", "YQ==\xa0", "\ud800"],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(binascii.Error):
        decode(text)
