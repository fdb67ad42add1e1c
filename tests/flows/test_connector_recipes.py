"""The recipes of docs/howto/connectors.md, word for word, but for the places and keys that they name."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector_world import csv, user_of
from flows.processes import Shell, Up, environment, running_up, wait_for
from gristmill.base.signing import verify
from receiver import Receiver
from s3_server import S3Server

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "connectors.md"
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def commands(heading: str, *, kind: str) -> list[str]:
    """What a section has a reader type, one line each."""
    text = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    typed = re.findall(r"^\$ (.*(?:\n {2,}.*)*)", "\n".join(blocks), re.MULTILINE)
    return [re.sub(r"\\\n", " ", line) for line in typed if line.startswith(kind)]


@pytest.fixture(scope="module")
def up(open_folder: Path) -> Iterator[Up]:
    with running_up(open_folder / "recipes", workers=1) as running:
        yield running


@pytest.fixture
def shell(up: Up, tmp_path: Path) -> Shell:
    return Shell(tmp_path, environment(tmp_path, GRISTMILL_DATA_DIR=str(up.data_dir)))


@pytest.fixture(scope="module")
def agent(up: Up) -> int:
    return int(up.api().post("/agent_templates/echo/deploy", {"name": "library"}, expect=201)["id"])


def run(shell: Shell, line: str, replaced: dict[str, str]) -> str:
    """Type a command; `replaced` are a reader's own places and keys."""
    for old, new in replaced.items():
        line = line.replace(old, new)
    code, command = shell(*shlex.split(line)[1:], within_s=120)
    assert code == 0, command.text
    return command.stdout


def test_pull_inventory_from_s3(up: Up, shell: Shell, agent: int, s3: S3Server, bucket: str) -> None:
    secret = user_of(s3, bucket, "s3:ListBucket", "s3:GetObject")
    s3.put(bucket, "daily-uploads/monday.csv", csv(5))
    typed = commands("Pull inventory from S3", kind="gristmill connector")
    assert [line.split()[2] for line in typed] == ["add", "test", "pull"]
    replaced = {
        "bucket=acme-inventory": f"bucket={bucket} --set endpointUrl={s3.url}",
        "accessKeyId=AKIA...": f"accessKeyId={secret['accessKeyId']}",
        "secretAccessKey=...": f"secretAccessKey={secret['secretAccessKey']}",
    }
    number = re.search(r"\d+", run(shell, typed[0], replaced))
    assert number is not None
    run(shell, re.sub(r"\d+$", number[0], typed[1]), {})
    assert "daily-uploads/monday.csv" in run(shell, re.sub(r"\d+$", number[0], typed[2]), {})
    (file,) = up.api().get(f"/agents/{agent}/inventories")["data"]
    assert (file["name"], file["row_count"]) == ("daily-uploads/monday.csv", 5)


def test_pull_inventory_from_s3_by_the_api(up: Up, agent: int, s3: S3Server, bucket: str) -> None:
    secret = user_of(s3, bucket, "s3:ListBucket", "s3:GetObject")
    s3.put(bucket, "daily-uploads/tuesday.csv", csv(6, "t"))
    typed = commands("Pull inventory from S3", kind="call")
    assert len(typed) == 3
    body = json.loads(shlex.split(typed[0])[-1])
    body["name"], body["secret"] = "stock by the API", secret
    body["config"] |= {"bucket": bucket, "endpointUrl": s3.url}
    api = up.api()
    path = shlex.split(typed[0])[1].removeprefix("$API").replace("$AGENT", str(agent))
    source = api.post(path, body, expect=201)["id"]
    for line in typed[1:]:
        call = shlex.split(line)[-1].removeprefix("$API")
        call = call.replace("$AGENT", str(agent)).replace("$CONNECTOR", str(source))
        api.post(call, expect=202 if call.endswith("/pull") else 200)
    syncs = f"/agents/{agent}/data-sources/{source}/syncs"
    wait_for(lambda: api.get(syncs)["data"][0]["status"] == "COMPLETED", "the pull")
    assert api.get(syncs)["data"][0]["receipt"]["uploaded"] == 1


def test_push_results_to_a_webhook(up: Up, shell: Shell, agent: int, receiver: Receiver) -> None:
    api = up.api()
    batch = api.run(agent, [{"n": 1}, {"n": 2}])
    api.await_batch(batch)
    typed = commands("Push results to a webhook", kind="gristmill connector")
    assert [line.split()[2] for line in typed] == ["add", "test", "push"]
    made = run(
        shell, typed[0], {"https://example.com/results": f"{receiver.url}/results", "key=whsec_...": f"key={KEY}"}
    )
    number = re.search(r"\d+", made)
    assert number is not None
    run(shell, re.sub(r"\d+$", number[0], typed[1]), {})
    assert receiver.posts == [], "a test sends no results"
    run(shell, re.sub(r"\d+ BATCH_ID$", f"{number[0]} {batch}", typed[2]), {})
    (got,) = receiver.posts
    verify([KEY], got.headers, got.body, now=float(got.headers["webhook-timestamp"]))
    assert [item["data"]["n"] for item in json.loads(got.body)["results"]] == [1, 2]
