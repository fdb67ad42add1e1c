"""Uploads of lead files: a form becomes a stored job, with a key or without one."""
