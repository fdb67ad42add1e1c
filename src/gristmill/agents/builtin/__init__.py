"""Agent functions that come with Gristmill; the templates use them, and they need no key and no network."""
