"""Headers of well-known exports in many languages, without any row."""

from __future__ import annotations

from gristmill.mapping import propose_for_rows
from labelled_headers import FIELDS, known_headers

F1_MIN, WHOLE_MIN = 0.97, 0.86


def test_headers_alone_are_mapped_right() -> None:
    right = wrong = missing = whole = tables = 0
    for table in known_headers():
        found = propose_for_rows(table.headers, []).fields
        tables += 1
        good = {name: found[name].columns in table.answers[name] for name in FIELDS}
        whole += all(good.values())
        for name in FIELDS:
            chosen = bool(found[name].columns)
            right += good[name] and chosen
            wrong += chosen and not good[name]
            missing += not good[name] and () not in table.answers[name]
    precision, recall = right / (right + wrong), right / (right + missing)
    assert tables > 150
    assert 2 * precision * recall / (precision + recall) >= F1_MIN
    assert whole / tables >= WHOLE_MIN
