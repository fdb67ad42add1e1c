"""Making batches over HTTP: rows from a body, a stream, a saved source or a file; quotes before anything runs."""
