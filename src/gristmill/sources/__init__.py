"""Saved sources of rows: a CSV text or a PostgreSQL query, with a default mapping."""
