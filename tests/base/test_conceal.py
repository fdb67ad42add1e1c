"""What was told to be secret is not in logs and errors, in whatever form it came there."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.base import conceal as conceal_module
from gristmill.base.conceal import CUT_CHARS_MIN, HIDDEN, VALUES_MAX, conceal, forms_of, redact, redact_cut
from gristmill.base.errors import Error, FieldError, PluginError


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Values made up here must not be hidden from other tests of this process."""
    kept_values, kept_heads = conceal_module._values.copy(), conceal_module._by_head.copy()
    yield
    for memory, kept in ((conceal_module._values, kept_values), (conceal_module._by_head, kept_heads)):
        memory.clear()
        memory.update(kept)


CANARY = 'canary/"1+ 2\\ö=ß?3'


def forms(value: str) -> list[str]:
    raw = value.encode()
    return [
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        quote(value, safe=""),
        re.sub("%..", lambda found: found[0].lower(), quote(value, safe="")),
        quote_plus(value),
        raw.hex(),
        raw.hex().upper(),
        value[::-1],
    ]


@pytest.mark.parametrize("form", forms(CANARY))
def test_every_form_is_found(form: str) -> None:
    conceal([CANARY])
    assert redact(f"before {form} after") == f"before {HIDDEN} after"


@pytest.mark.parametrize("form", forms(CANARY))
def test_the_beginning_of_a_value_that_was_cut_off_is_found(form: str) -> None:
    conceal([CANARY])
    for kept in range(CUT_CHARS_MIN, len(form) + 1):
        assert redact_cut(f"before {form[:kept]}") == f"before {HIDDEN}"
    assert redact_cut(f"before {form} after") == f"before {HIDDEN} after"
    assert redact_cut("before canary") == "before canary", "so little of it tells nothing"


@pytest.mark.parametrize("before", ["", "u", "us", "use", "user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_is_found_wherever_it_starts(before: str, encode: object) -> None:
    conceal([CANARY])
    coded = encode(f"{before}{CANARY} and more".encode()).decode()  # type: ignore[operator]
    shown = redact(f"Authorization: Basic {coded}")
    assert HIDDEN in shown
    left = re.sub(r"\[secret\]", "", shown.split("Basic ")[1])
    assert len(left) <= len(coded) - len(base64.b64encode(CANARY.encode())) + 4


@given(st.text(min_size=4, max_size=60), st.text(max_size=40), st.text(max_size=40))
def test_no_value_survives(value: str, before: str, after: str) -> None:
    conceal([value])
    assert value not in redact(before + value + after).replace(HIDDEN, "")


def test_lines_of_a_long_value_are_found_alone() -> None:
    key = "-----BEGIN KEY-----\nMIIBVgIBADANBgkqhkiG9w0B\nAQEFAASCAUAwggE8AgEAAkEA\n-----END KEY-----"
    conceal([key])
    assert redact("at MIIBVgIBADANBgkqhkiG9w0B:") == f"at {HIDDEN}:"


def test_short_values_are_left_alone() -> None:
    conceal(["abc", ""])
    assert forms_of("abc") == ()
    assert redact("an abc book") == "an abc book"


def test_memory_is_bounded_and_forgets_the_oldest() -> None:
    conceal(["the-oldest-value"])
    conceal(f"value-number-{number:06}" for number in range(VALUES_MAX))
    assert redact("the-oldest-value") == "the-oldest-value"
    assert redact("value-number-000000") == HIDDEN


def test_errors_leave_it_out() -> None:
    conceal(["error-canary-1"])
    assert "canary" not in str(Error("it said error-canary-1"))
    assert "canary" not in PluginError("it said error-canary-1", permanent=True).message


def test_foreign_loggers_and_handlers_leave_it_out() -> None:
    conceal(["logged-canary-77"])
    stream = io.StringIO()
    from gristmill.base.log import RedactedRecord  # noqa: PLC0415 - only here

    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(RedactedRecord)
    foreign = logging.getLogger("foreign")
    foreign.propagate = False
    foreign.addHandler(logging.StreamHandler(stream))
    try:
        try:
            raise ValueError("logged-canary-77")
        except ValueError:
            foreign.exception("it broke with %s", "logged-canary-77")
    finally:
        logging.setLogRecordFactory(before)
    text = stream.getvalue()
    assert "canary" not in text
    assert "ValueError: [secret]" in text


PROGRAM = """
import logging, sys, threading
from gristmill.base.conceal import conceal
from gristmill.base.log import configure_logging, get_log
configure_logging(log_format=sys.argv[1], level="info", role="test")
conceal(["program-canary-5"])
log = get_log("test")
log.info("program-canary-5", field="program-canary-5", nested={"a": ["program-canary-5"]})
logging.getLogger("uvicorn.error").error("%s", "program-canary-5")
try:
    raise RuntimeError("program-canary-5")
except RuntimeError:
    log.exception("broke")
    logging.getLogger("other").exception("broke")
def fail():
    raise RuntimeError("program-canary-5")
thread = threading.Thread(target=fail); thread.start(); thread.join()
raise RuntimeError("program-canary-5")
"""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_whole_program_prints_none_of_it(log_format: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, log_format], capture_output=True, text=True, check=False)
    assert "canary" not in done.stdout + done.stderr
    assert done.stderr.count("RuntimeError") >= 4
    assert done.stderr.count(HIDDEN) >= 8


def test_all_that_an_error_says_is_looked_through() -> None:
    conceal([CANARY])
    error = Error(CANARY, errors=(FieldError("config", f"it said {CANARY}"),), fix=f"call {CANARY}", limit=3)
    assert (error.message, error.errors[0].message) == (HIDDEN, f"it said {HIDDEN}")
    assert error.facts == {"fix": f"call {HIDDEN}", "limit": 3}
