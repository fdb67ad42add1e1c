"""Gristmill: the data plane for AI agents. Rows in, an agent over every row, results out."""

__version__ = "0.1.0"
