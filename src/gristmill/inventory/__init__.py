"""Files that came in for an agent, uploaded or brought by a connector: kept as they came, read once, ready to be run.

A file goes through `keep` and `examine`, outside any transaction, and `add` makes it inventory. `open_rows` gives its
rows to a batch; the event `agent.inventory.added` tells others of it.
"""

from gristmill.inventory.model import (
    FORMATS,
    Draft,
    Examined,
    FileColumn,
    FileReceipt,
    Format,
    Inventory,
    InventoryNotFound,
    OpenedFile,
    StoredInventory,
)
from gristmill.inventory.reading import Reader, open_file, open_rows, write_rejects
from gristmill.inventory.service import ADDED, add, add_all, delete, delete_object, get, keep, list_inventory, move

__all__ = [
    "ADDED",
    "FORMATS",
    "Draft",
    "Examined",
    "FileColumn",
    "FileReceipt",
    "Format",
    "Inventory",
    "InventoryNotFound",
    "OpenedFile",
    "Reader",
    "StoredInventory",
    "add",
    "add_all",
    "delete",
    "delete_object",
    "get",
    "keep",
    "list_inventory",
    "move",
    "open_file",
    "open_rows",
    "write_rejects",
]
