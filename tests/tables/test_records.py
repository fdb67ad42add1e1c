from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gristmill.tables import records
from gristmill.tables.records import GIVEN_UP_MAX, Block, Grammar, split_records

pieces = st.sampled_from(['"', '""', '"x', 'x"', ",", '",', ',"', '" ,', "x", " ", "\r", '"\r'])
lines = st.lists(pieces, max_size=7).map("".join)


def never(*_: Any) -> bool:
    return False


def blocks_of(text: str, grammar: Grammar, given_up: int) -> list[Block]:
    found: list[Block] = []
    while text:
        found.append(split_records(text, grammar, is_last=True, given_up=given_up))
        text = found[-1].rest
    return found


@given(
    st.lists(lines, min_size=1, max_size=12),
    st.sampled_from([Grammar(",", '"', "", False, width) for width in (0, 2, 3)] + [Grammar(",", '"', "\\", True, 3)]),
    st.sampled_from([0, GIVEN_UP_MAX]),
)
@example(['x,"y'] * 4, Grammar(",", '"', "", skip_initial_space=False), GIVEN_UP_MAX)
@example(['x,"y', 'z",1', 'x,"y', 'z" ,1', 'x,"y', 'z"'], Grammar(",", '"', "", skip_initial_space=False), GIVEN_UP_MAX)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_shortcuts_change_no_record(items: list[str], grammar: Grammar, given_up: int) -> None:
    text = "".join(f"{line}\n" for line in items)
    quick = blocks_of(text, grammar, given_up)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "stays_open", never)
        patch.setattr(records, "_WINDOW_LINES", 512)
        assert blocks_of(text, grammar, given_up) == quick


def test_a_quote_thatstays_open_line_after_line_is_seen_at_once() -> None:
    grammar = Grammar(",", '"', "", skip_initial_space=False)
    assert records.stays_open(['1,"5 in,x\n', '2,"6 in,x\n'], 0, grammar)
    for following in ('2,x"\n', '2,x" ,y\n', "2,x\n", '2,"x"\n'):
        assert not records.stays_open(['1,"5 in,x\n', following], 0, grammar)
