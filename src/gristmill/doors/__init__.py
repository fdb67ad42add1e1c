"""The doors: HTTP app, worker process, command line. Wiring only."""
