"""Looking at a file before anything is made of it: how it is read, its columns, its rows, what is no row."""

from gristmill.sources.inspection.look import Inspection, inspect

__all__ = ["Inspection", "inspect"]
