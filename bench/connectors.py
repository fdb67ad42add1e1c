"""Pulls of an S3 connector beside `aws s3 sync`, on the same server, in the same run.

The server is `rclone serve s3`, which checks signatures and takes little of the processors itself. `aws s3 sync` copies
objects to a folder. A pull copies them to the object store with SHA-256 and fsync, and writes a ledger and a manifest;
then it reads every file from end to end. Both parts are shown: `bytes here` is what can be compared with `aws s3 sync`,
`read` is what that does not do at all. Times of a pull are from the call of the API.

    python bench/connectors.py            goals: 3 x for 1,000 files of 20 kB, 1 x for one of 200 MB
    python bench/connectors.py --quick    a smoke run
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from client import Client
from harness import HERE, Up, cpu_s, end, free_port, machine, median, number, scratch, spawn, table, verdict, wait_for

sys.path.insert(0, str(HERE.parent / "tests"))

from s3_server import REGION, build

ACCESS_KEY, SECRET_KEY = "bench", "a secret of the bench alone"
ROUNDS = 3
SMALL_FILES, SMALL_BYTES = 1_000, 20_000
LARGE_BYTES = 200_000_000
KNOWN_FILES = 10_000
RESYNC_S = 5.0


@dataclass(frozen=True)
class Copy:
    """One copy of a bucket."""

    seconds: float
    cpu_s: float
    """Of the program that copies: the CLI, or the worker with its database."""
    whole_s: float = 0.0
    """Until every file was read."""
    grown_mb: float = 0.0
    """How much memory the worker took for it, at its highest."""


def rows(number: int, size: int) -> bytes:
    """A CSV of about so many bytes, another one for each number."""
    line = "SKU-{0}-{1},Product {1} of {0},{1}.50,{1},person{1}@example.com,Springfield\n"
    lines, length, count = ["sku,name,price,qty,email,city\n"], 0, 0
    while length < size:
        lines.append(line.format(number, count))
        length += len(lines[-1])
        count += 1
    return "".join(lines).encode()


class Server:
    """A folder as an S3 server; what is in it before the start are its objects."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self._process: Any = None

    def fill(self, prefix: str, bodies: Iterable[bytes]) -> None:
        """Write objects into the one bucket, `bench`."""
        place = self.folder / "bench" / prefix
        place.mkdir(parents=True)
        for index, body in enumerate(bodies):
            (place / f"{index:05}.csv").write_bytes(body)

    def start(self) -> None:
        """Serve on a free port; ready when it answers."""
        port = free_port()
        program = build("rclone", HERE / "rclone.txt") / "rclone"
        key = f"{ACCESS_KEY},{SECRET_KEY}"
        command = (program, "serve", "s3", "--auth-key", key, "--addr", f"127.0.0.1:{port}", "--quiet", self.folder)
        self._process = spawn(command)
        self.url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            with socket.socket() as line:
                return line.connect_ex(("127.0.0.1", port)) == 0

        wait_for(answers, "the S3 server")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            end(self._process)


def aws_sync(server: Server, program: Path, source: str, folder: Path) -> Copy:
    """`aws s3 sync` into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder.parent),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": REGION,
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    command = [program, "--endpoint-url", server.url, "s3", "sync", "--quiet", source, folder]
    subprocess.run([str(item) for item in command], env=env, check=True)
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Copy(seconds, used, seconds)


class Puller:
    """Gristmill with an agent whose sources are pulled over the API."""

    def __init__(self, up: Up, server: Server) -> None:
        self._up = up
        self._server = server
        self._api = Client(up.url, up.key())
        self._agent = self._api.agent("Puller", "bench_agents:noop", 1)

    def source(self, bucket: str, prefix: str, name: str) -> str:
        """A new source, which knows nothing yet; answers its path."""
        path = f"/api/v1/agents/{self._agent}/data-sources"
        config = {"bucket": bucket, "prefix": prefix, "region": REGION, "endpointUrl": self._server.url}
        secret = {"accessKeyId": ACCESS_KEY, "secretAccessKey": SECRET_KEY}
        body = {"name": name, "role": "INVENTORY_SOURCE", "type": "S3", "config": config, "secret": secret}
        answer = self._api.http.post(path, json=body)
        answer.raise_for_status()
        return f"{path}/{answer.json()['id']}"

    def pull(self, path: str) -> tuple[Copy, dict[str, Any]]:
        """Pull to the end; the time is from the call."""
        (worker,) = self._up.pids("worker")
        roots = [worker, *self._database()]
        used = cpu_s(*roots)
        Path(f"/proc/{worker}/clear_refs").write_text("5")  # the highest so far is forgotten
        before = memory_mb(worker, "VmRSS")
        begun = time.time()
        answer = self._api.http.post(f"{path}/pull")
        answer.raise_for_status()
        where = f"{path}/syncs?limit=1"

        def ended() -> dict[str, Any] | None:
            found = self._api.http.get(where).json()["data"][0]
            return None if found["status"] in {"QUEUED", "RUNNING"} else found

        sync = wait_for(ended, "the end of the pull", within_s=900, look_s=0.05)
        if sync["status"] != "COMPLETED":
            raise RuntimeError(f"the pull is {sync['status']}: {sync['error']}")
        used = cpu_s(*roots) - used
        fetched = datetime.fromisoformat(sync["fetchedAt"]).timestamp() - begun
        whole = datetime.fromisoformat(sync["finishedAt"]).timestamp() - begun
        return Copy(fetched, used, whole, memory_mb(worker, "VmHWM") - before), sync

    def _database(self) -> list[int]:
        lines = (self._up.folder / "postgres" / "data" / "postmaster.pid").read_text().splitlines()
        return [int(lines[0])]


def memory_mb(pid: int, name: str) -> float:
    """A figure of a process's memory."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return float(next(line for line in text.splitlines() if line.startswith(f"{name}:")).split()[1]) / 1024


def compare(title: str, theirs: list[Copy], ours: list[Copy], goal: float) -> list[str]:
    """A line of the report; the ratios are of the same round."""
    ratio = median([other.seconds / mine.seconds for other, mine in zip(theirs, ours, strict=True)])
    whole = median([other.seconds / mine.whole_s for other, mine in zip(theirs, ours, strict=True)])
    cpu = median([other.cpu_s / mine.cpu_s for other, mine in zip(theirs, ours, strict=True)])
    return [
        title,
        number(median([item.seconds for item in theirs])),
        number(median([item.seconds for item in ours])),
        number(median([item.whole_s for item in ours])),
        f"{ratio:.2f} x",
        f"{whole:.2f} x",
        f"{cpu:.2f} x",
        number(max(item.grown_mb for item in ours)),
        verdict(round(ratio, 2), goal),
    ]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it works")
    quick = parser.parse_args().quick
    files, large, known = (50, 2_000_000, 200) if quick else (SMALL_FILES, LARGE_BYTES, KNOWN_FILES)
    program = build("awscli", HERE / "awscli.txt") / "aws"
    print(f"{machine()}\n")
    with scratch() as folder:
        server = Server(folder / "served")
        up = Up(folder / "data", workers=1)
        try:
            server.fill("small", (rows(index, SMALL_BYTES) for index in range(files)))
            server.fill("large", [rows(0, large)])
            server.fill("known", (b"a,b\n%d,2\n" % index for index in range(known)))
            server.start()
            up.start()
            puller = Puller(up, server)
            lines = []
            for title, prefix, goal in (
                (f"{files:,} files of 20 kB", "small/", 3.0),
                (f"1 file of {large // 10**6} MB", "large/", 1.0),
            ):
                theirs, ours = [], []
                for index in range(1 if quick else ROUNDS):
                    theirs.append(aws_sync(server, program, f"s3://bench/{prefix}", folder / "copy"))
                    ours.append(puller.pull(puller.source("bench", prefix, f"{prefix}{index}"))[0])
                lines.append(compare(title, theirs, ours, goal))
            head = (
                "first sync",
                "aws s",
                "bytes here s",
                "read s",
                "ratio",
                "ratio, read",
                "CPU ratio",
                "grown MB",
                "goal",
            )
            print(table(head, lines), "\n")
            path = puller.source("bench", "known/", "known")
            puller.pull(path)
            again, sync = puller.pull(path)
            receipt = sync["receipt"]
            print(
                f"unchanged re-sync of {receipt['unchanged']:,} keys: {number(again.whole_s)} s,"
                f" {sync['requests']} requests,"
                f" {sync['bytes']} bytes of objects   {verdict(again.whole_s, RESYNC_S, at_most=True)}"
            )
        finally:
            up.stop()
            server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
