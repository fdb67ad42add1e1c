"""Pulls of an S3 connector beside `aws s3 sync`, on the same server, in the same run.

The server is the one of the tests, which checks signatures; it is one process of Python, so that its own speed is the
ceiling of everything measured here. `aws s3 sync` copies objects to a folder. A pull copies them to the object store
with SHA-256 and fsync, and writes a ledger and a manifest; then it reads every file from end to end. Both parts are
shown: `bytes here` is what can be compared with `aws s3 sync`, `read` is what that does not do at all.

    python bench/connectors.py            goals: 3 x for 1,000 files of 20 kB, 1 x for one of 200 MB
    python bench/connectors.py --quick    a smoke run
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from client import Client
from harness import HERE, Up, cpu_s, machine, median, number, scratch, table, verdict, wait_for

sys.path.insert(0, str(HERE.parent / "tests"))

from s3_server import REGION, ROOT_KEY, S3Server, build

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


def rows(number: int, size: int) -> bytes:
    """A CSV of about so many bytes, another one for each number."""
    line = "SKU-{0}-{1},Product {1} of {0},{1}.50,{1},person{1}@example.com,Springfield\n"
    lines, length, count = ["sku,name,price,qty,email,city\n"], 0, 0
    while length < size:
        lines.append(line.format(number, count))
        length += len(lines[-1])
        count += 1
    return "".join(lines).encode()


def fill(server: S3Server, bucket: str, prefix: str, bodies: list[bytes]) -> None:
    """Write objects."""
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda item: server.put(bucket, f"{prefix}{item[0]:05}.csv", item[1]), enumerate(bodies)))


def aws_sync(server: S3Server, program: Path, source: str, folder: Path) -> Copy:
    """`aws s3 sync` into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder.parent),
        "AWS_ACCESS_KEY_ID": ROOT_KEY.access_key_id,
        "AWS_SECRET_ACCESS_KEY": ROOT_KEY.secret_access_key,
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

    def __init__(self, up: Up, server: S3Server) -> None:
        self._up = up
        self._server = server
        self._api = Client(up.url, up.key())
        self._agent = self._api.agent("Puller", "bench_agents:noop", 1)

    def source(self, bucket: str, prefix: str, name: str) -> str:
        """A new source, which knows nothing yet; answers its path."""
        path = f"/api/v1/agents/{self._agent}/data-sources"
        config = {"bucket": bucket, "prefix": prefix, "region": REGION, "endpointUrl": self._server.url}
        secret = {"accessKeyId": ROOT_KEY.access_key_id, "secretAccessKey": ROOT_KEY.secret_access_key}
        body = {"name": name, "role": "INVENTORY_SOURCE", "type": "S3", "config": config, "secret": secret}
        answer = self._api.http.post(path, json=body)
        answer.raise_for_status()
        return f"{path}/{answer.json()['id']}"

    def pull(self, path: str) -> tuple[Copy, dict[str, Any]]:
        """Pull to the end; the time is from the call."""
        roots = [*self._up.pids("worker"), *self._database()]
        used = cpu_s(*roots)
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
        return Copy(fetched, used, whole), sync

    def _database(self) -> list[int]:
        lines = (self._up.folder / "postgres" / "data" / "postmaster.pid").read_text().splitlines()
        return [int(lines[0])]


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
        server = S3Server()
        up = Up(folder / "data", workers=1)
        try:
            server.bucket("bench")
            fill(server, "bench", "small/", [rows(index, SMALL_BYTES) for index in range(files)])
            server.put("bench", "large/one.csv", rows(0, large))
            fill(server, "bench", "known/", [b"a,b\n%d,2\n" % index for index in range(known)])
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
            head = ("first sync", "aws s", "bytes here s", "read s", "ratio", "ratio, read", "CPU ratio", "goal")
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
