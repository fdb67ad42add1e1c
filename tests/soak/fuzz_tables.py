"""A fuzzing process: bytes that reach new branches of `gristmill.tables` are kept and changed further.

Run by test_fuzz_tables.py, or by hand: `python tests/soak/fuzz_tables.py CORPUS -max_total_time=60`. It ends with an
error when a file is neither read nor refused: a crash, rows of unequal width, a receipt that does not add up, both ways
of reading that differ, or too long a time.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["gristmill.tables"]):
    from gristmill.tables import blocks, delimited, infer, read_table, sniff, source

from gristmill.base.errors import Error

# Small, so that short inputs have several of each.
source.CHUNK_BYTES = 256
blocks.BLOCK_BYTES = 512
blocks.TOP_BYTES = 128
blocks.HELD_BACK = blocks.FOOTER_RECORDS_MAX + 1
BINARY = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"PAR1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
"""Packed files and workbooks are fuzzed elsewhere: changed bytes mostly break their checksums."""


def read(data: bytes) -> None:
    """Read the bytes in every way and compare."""
    if data.startswith(BINARY):
        return
    try:
        sniff(data)
        table = read_table(data)
        rows = list(table.records())
        receipt = table.receipt
    except Error:
        return
    width = len(table.columns)
    assert all(len(row) == width for row in rows)
    assert receipt.complete
    assert receipt.lines == receipt.header + receipt.preamble + receipt.rows + receipt.rejects + receipt.blank
    assert receipt.rows == len(rows)
    if table.dialect.format != "delimited":
        return
    assert isinstance(table._reader, delimited.DelimitedReader)
    again = [list(row.values()) for batch in table.batches() for row in batch.to_pylist()]
    assert again == rows
    for column in table.columns:
        assert infer((row[column.index] for row in rows), column.original)


if __name__ == "__main__":
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()
