"""The environment of all tests.

A module of its own, since pytest loads `conftest` twice under two names, and the folder must be one.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

DATA_DIR = tempfile.mkdtemp(prefix="gm-data-")

os.environ["GRISTMILL_EGRESS_ALLOW"] = "loopback"
os.environ["GRISTMILL_PYTHON_AGENTS"] = "sample_agents"
os.environ["GRISTMILL_DATA_DIR"] = DATA_DIR
os.environ["GRISTMILL_MASTER_KEY"] = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
os.environ.setdefault("GRISTMILL_LEASE_TIMEOUT_S", "4")
os.environ.setdefault("GRISTMILL_HEARTBEAT_S", "0.5")
atexit.register(shutil.rmtree, DATA_DIR, ignore_errors=True)
