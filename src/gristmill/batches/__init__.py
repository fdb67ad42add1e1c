"""Running an agent over rows, durably: batches with holds, receipts, pauses, retries and exports."""

from gristmill.batches.export import FORMATS, export
from gristmill.batches.intake import rows_of_items, rows_of_ndjson
from gristmill.batches.model import Batch, BatchRow, FailureGroup, Receipt, RowDetail, WrongState
from gristmill.batches.service import (
    Order,
    RetryOrder,
    cancel,
    create,
    failures,
    forget_run_key,
    get,
    get_by_run_key,
    list_batches,
    list_rows,
    move,
    pause,
    receipt,
    replace_rows,
    resume,
    retry,
    row_detail,
)

__all__ = [
    "FORMATS",
    "Batch",
    "BatchRow",
    "FailureGroup",
    "Order",
    "Receipt",
    "RetryOrder",
    "RowDetail",
    "WrongState",
    "cancel",
    "create",
    "export",
    "failures",
    "forget_run_key",
    "get",
    "get_by_run_key",
    "list_batches",
    "list_rows",
    "move",
    "pause",
    "receipt",
    "replace_rows",
    "resume",
    "retry",
    "row_detail",
    "rows_of_items",
    "rows_of_ndjson",
]
