"""The helpers beside Go's functions: what the reference does not show."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill import gotemplate
from gristmill.gotemplate import HELPERS, TemplateError
from gristmill.gotemplate.functions import ARITY


def render(text: str, data: Any = None) -> str:
    return gotemplate.compile(text, functions=HELPERS).render({} if data is None else data)


def reason(text: str, data: Any = None) -> str:
    with pytest.raises(TemplateError) as caught:
        render(text, data)
    return caught.value.message.split(">: ", 1)[1]


def test_names_that_go_defines_are_no_helpers() -> None:
    assert HELPERS.keys() & ARITY.keys() == set()
    assert render('{{slice "abc" 0 2}}{{len "é"}}{{html "<"}}') == "ab2&lt;"


def test_every_helper_says_what_it_does() -> None:
    assert [name for name, helper in HELPERS.items() if not (helper.__doc__ or "").strip().endswith(".")] == []


@pytest.mark.parametrize("given_value", [None, "", 0, 0.0, False, [], {}])
def test_what_is_empty(given_value: Any) -> None:
    assert render('{{default "d" .x}}|{{empty .x}}|{{coalesce .x "c"}}', {"x": given_value}) == "d|true|c"


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ('{{.x | default "d"}}', "d"),
        ('{{default "d"}}', "d"),
        ('{{upper "ß ŉ ﬁ"}}', "ß ŉ ﬁ"),
        ('{{lower "İI"}}', "ii"),
        ('{{title "o\'neil de la-rue x1y"}}', "O'Neil De La-Rue X1y"),
        ('{{trunc 10 "abc"}}{{trunc -10 "abc"}}', "abcabc"),
        ('{{abbrev 5 "abcdefgh"}}', "ab..."),
        ('{{substr 1 -1 "abc"}}{{substr 1 2 "abc"}}', "bcb"),
        ('{{join "-" "one"}}', "one"),
        ('{{splitList "" "ab" | len}}', "2"),
        ("{{first (list)}}{{last (list)}}", "<no value><no value>"),
        ('{{dict "a" 1 "b"}}', "map[a:1 b:]"),
        ('{{get (dict) "x"}}|', "|"),
        ('{{add 1 "2" 0.5}}', "3.5"),
        ("{{div -7 2}}{{mod -7 2}}{{div 7 2.0}}", "-3-13.5"),
        ("{{round 0.125 2}} {{round -2.5 0}} {{round 1234 -2}}", "0.13 -3 1200"),
        ('{{int "12.9"}}{{int -1.5}}{{float64 "1e3"}}', "12-11000"),
        ('{{max 1 "3" 2.5}}{{min 1 "3"}}', "31"),
        ('{{has 1 (list 1.0 1)}}{{has "1" (list 1)}}', "truefalse"),
        ('{{uniq (list 1 "1" 1 1.5 1.5)}}', "[1 1 1.5]"),
        ('{{cat 1 nil "a"}}|{{quote 1 nil "a\\"b"}}|{{squote "a"}}', '1 a|"1" "a\\"b"|\'a\''),
        (
            '{{snakecase "HTTPServerName x2"}} {{camelcase "first_name"}} {{kebabcase "FirstName"}}',
            "http_server_name_x_2 FirstName first-name",
        ),
        ('{{fromJson "[1, {\\"a\\": 2}]"}}{{fromJson "3"}}', "[1 map[a:2]]3"),
        (
            "{{kindOf .x}} {{kindOf 1.5}} {{kindOf (list)}} {{kindOf (dict)}} {{typeOf (list)}}",
            "invalid float64 slice map []interface {}",
        ),
    ],
)
def test_answers(text: str, want: str) -> None:
    assert render(text) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("{{upper .x}}", "invalid value; expected string"),
        ("{{trunc 1.5 `a`}}", "expected integer; found 1.5"),
        ("{{add `a` 1}}", "error calling add: 'a' is no number"),
        ("{{add .x}}", "error calling add: nil is no number"),
        ("{{div 1 0}}", "error calling div: division by zero"),
        ("{{mul 9223372036854775807 2}}", "error calling mul: out of the range of whole numbers"),
        ("{{mul 1e300 1e300}}", "error calling mul: out of the range of numbers"),
        ("{{first 1}}", "error calling first: not a list"),
        ("{{keys .x}}", "error calling keys: nil is no map"),
        ("{{fail `no city`}}", "error calling fail: no city"),
        ("{{date `2006` `soon`}}", "error calling date: 'soon' is no date"),
        ("{{b64dec `?`}}", "error calling b64dec: not Base64"),
        ("{{fromJson `{`}}", "error calling fromJson: not JSON"),
        ("{{int `99999999999999999999`}}", "error calling int: out of the range of whole numbers"),
        ("{{ternary 1 2 3}}", "expected bool; found 3"),
        ("{{dateInZone `15` 0 `Mars`}}", "error calling dateInZone: 'Mars' is no offset such as +02:00"),
        ("{{upper}}", "wrong number of args for upper: want 1 got 0"),
        ("{{upper nil}}", "cannot assign nil to string"),
    ],
)
def test_refusals(text: str, want: str) -> None:
    assert reason(text).startswith(want)


LAYOUTS = [
    ("2006-01-02T15:04:05Z07:00", "2024-03-05T07:08:09+02:00"),
    ("Monday, January 2 2006", "Tuesday, March 5 2024"),
    ("Mon Jan _2 15:04:05 2006", "Tue Mar  5 07:08:09 2024"),
    ("02.01.06 3:04PM", "05.03.24 7:08AM"),
    ("002 __2", "065  65"),
    ("15h 4m 5s .000 .999999", "07h 8m 9s .250 .25"),
    ("-0700 -07 Z0700 MST", "+0200 +02 +0200 +02"),
    ("year: 2006!", "year: 2024!"),
]


@pytest.mark.parametrize(("layout", "want"), LAYOUTS, ids=[layout for layout, _ in LAYOUTS])
def test_layouts_of_dates(layout: str, want: str) -> None:
    assert render("{{date .l .d}}", {"l": layout, "d": "2024-03-05T07:08:09.25+02:00"}) == want


@pytest.mark.parametrize(
    "value",
    [
        "2024-03-05",
        "2024/3/5",
        "2024-03-05T00:00:00Z",
        "20240305",
        "Tue, 5 Mar 2024 00:00:00 +0000",
        1709596800,
        1709596800.0,
    ],
)
def test_dates_that_are_read(value: Any) -> None:
    assert render("{{date `2006-01-02 15:04 MST` .d}}", {"d": value}) == "2024-03-05 00:00 UTC"


@given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)))  # noqa: DTZ001 - the zone is added
def test_a_date_and_its_seconds_are_the_same_moment(moment: datetime) -> None:
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    row = {"iso": moment.isoformat(), "seconds": moment.timestamp()}
    assert render("{{unixEpoch .iso}}", row) == str(int(moment.timestamp()))
    assert render("{{dateInZone `2006-01-02 15:04:05` .seconds `UTC`}}", row) == f"{moment:%Y-%m-%d %H:%M:%S}"


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=10,
    )
)
def test_json_reads_back(value: Any) -> None:
    for helper in ("toJson", "toPrettyJson"):
        text = render(f"{{{{{helper} .v}}}}", {"v": value})
        assert json.loads(text, parse_int=float) == value
        assert not set(text) & set("<>&")


def test_a_row_is_not_changed_by_helpers() -> None:
    row = {"l": [3, 1, 2], "m": {"b": 1, "a": 2}}
    before = json.dumps(row)
    render(
        "{{reverse .l}}{{sortAlpha .l}}{{rest .l}}{{initial .l}}{{compact .l}}{{keys .m}}{{values .m}}{{uniq .l}}", row
    )
    assert json.dumps(row) == before
