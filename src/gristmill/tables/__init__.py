"""Tables: bytes become rows of text with named columns, and rows become bytes.

`read_table` opens a path, bytes or a stream; it finds format, encoding, separators, preamble and header by
content, tells how sure it is (`Table.dialect`), and streams the rows with flat memory. Cells stay text;
column types are a view beside them. What is no row is in `Table.rejects`, and `Table.receipt` accounts for
every record. `write_table` goes the other way, `write_csv` and `write_jsonl` with more choices; `flatten` and
`cell` say how nested JSON values become cells, `flat_columns` does so for many values at once, and `FlatRows`
brings all of them under one header.
"""

from gristmill.tables.flatten import cell, flatten, order_columns
from gristmill.tables.flattening import FlatColumn, flat_columns
from gristmill.tables.formulas import guard, unguard
from gristmill.tables.infer import infer, typed
from gristmill.tables.model import (
    Column,
    Dialect,
    Hints,
    NoSuchSheet,
    Receipt,
    Reject,
    RowGroup,
    Sheet,
    TooLargeToRead,
    Type,
    Unreadable,
    UnsupportedFormat,
    fingerprint,
)
from gristmill.tables.read import read_table
from gristmill.tables.sniff import sniff
from gristmill.tables.spool import FlatRows, Spool
from gristmill.tables.table import Table
from gristmill.tables.write import MEDIA_TYPES, check_format, write_table
from gristmill.tables.writers import write_csv, write_jsonl

__all__ = [
    "MEDIA_TYPES",
    "Column",
    "Dialect",
    "FlatColumn",
    "FlatRows",
    "Hints",
    "NoSuchSheet",
    "Receipt",
    "Reject",
    "RowGroup",
    "Sheet",
    "Spool",
    "Table",
    "TooLargeToRead",
    "Type",
    "Unreadable",
    "UnsupportedFormat",
    "cell",
    "check_format",
    "fingerprint",
    "flat_columns",
    "flatten",
    "guard",
    "infer",
    "order_columns",
    "read_table",
    "sniff",
    "typed",
    "unguard",
    "write_csv",
    "write_jsonl",
    "write_table",
]
