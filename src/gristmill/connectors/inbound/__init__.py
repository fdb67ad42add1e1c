"""Files that are pushed in: the door of an inbound URL, and who may pass it."""
