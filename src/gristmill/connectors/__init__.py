"""Connectors: an agent's own places that inventory comes from and results go to."""
