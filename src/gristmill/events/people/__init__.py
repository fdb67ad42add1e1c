"""The people behind an agent: how they are told (channels), and what waits for them (pending items)."""
