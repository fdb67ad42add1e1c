"""The samples of the docs verify what we sign and refuse what we did not, each in its own language."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gristmill.base.signing import new_shared_secret, signed_headers

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "verify-signatures.md"
BODY = '{"id":"1","text":"Grüße ☃","n":12345678901234567890}'.encode()
MESSAGE_ID = "01a213f6-fb14-737c-a531-5db900000001"
SECRET, OTHER = new_shared_secret(), new_shared_secret()

Check = Callable[[dict[str, str], bytes], bool]


def sample(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"one sample in {language}"
    return found[0]


def order(headers: dict[str, str], body: bytes) -> str:
    return json.dumps({"secret": SECRET, "headers": headers, "body": body.decode("latin-1")})


def run(command: list[str], text: str, **more: Any) -> bool:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=120, **more)
    assert done.stdout.strip() in {MESSAGE_ID, "refused"}, done.stdout + done.stderr
    return done.stdout.strip() == MESSAGE_ID


@pytest.fixture(params=["python", "javascript", "go"])
def check(request: pytest.FixtureRequest, tmp_path: Path) -> Check:
    return {"python": python, "javascript": node, "go": go}[request.param](tmp_path)


def python(folder: Path) -> Check:
    (folder / "sample.py").write_text(
        sample("python")
        + "\nimport json, sys\norder = json.load(sys.stdin)\n"
        + "try:\n    print(verify(order['secret'], order['headers'], order['body'].encode('latin-1')))\n"
        + "except (ValueError, KeyError):\n    print('refused')\n",
        encoding="utf-8",
    )
    return lambda headers, body: run([sys.executable, str(folder / "sample.py")], order(headers, body))


def node(folder: Path) -> Check:
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not installed")
    (folder / "sample.js").write_text(sample("javascript"), encoding="utf-8")
    (folder / "main.js").write_text(
        'const { verify } = require("./sample.js");\n'
        'const order = JSON.parse(require("node:fs").readFileSync(0, "utf-8"));\n'
        "try { console.log(verify(order.secret, order.headers, Buffer.from(order.body, 'latin1'))); }\n"
        'catch { console.log("refused"); }\n',
        encoding="utf-8",
    )
    return lambda headers, body: run([program, str(folder / "main.js")], order(headers, body))


def go(folder: Path) -> Check:
    program = shutil.which("go") or shutil.which("go", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("go is not installed")
    (folder / "webhook").mkdir()
    (folder / "webhook" / "verify.go").write_text(sample("go"), encoding="utf-8")
    (folder / "go.mod").write_text("module sample\n\ngo 1.21\n", encoding="utf-8")
    (folder / "main.go").write_text(
        'package main\n\nimport (\n\t"encoding/json"\n\t"os"\n\t"sample/webhook"\n)\n\n'
        "func main() {\n\tvar order struct {\n\t\tSecret string\n\t\tHeaders map[string]string\n\t\tBody string\n\t}\n"
        "\tif err := json.NewDecoder(os.Stdin).Decode(&order); err != nil {\n\t\tpanic(err)\n\t}\n"
        "\tbody := []byte{}\n\tfor _, char := range order.Body {\n\t\tbody = append(body, byte(char))\n\t}\n"
        "\theader := func(name string) string { return order.Headers[name] }\n"
        "\tid, err := webhook.Verify(order.Secret, header, body)\n"
        '\tif err != nil {\n\t\tid = "refused"\n\t}\n\tos.Stdout.WriteString(id)\n}\n',
        encoding="utf-8",
    )
    environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    built = subprocess.run(
        [program, "build", "-o", "sample", "."],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return lambda headers, body: run([str(folder / "sample")], order(headers, body))


def test_samples_verify_what_was_signed_and_nothing_else(check: Check) -> None:
    now = int(time.time())
    signed = signed_headers([SECRET], MESSAGE_ID, now, BODY)
    assert check(signed, BODY)
    assert check(signed_headers([OTHER, SECRET], MESSAGE_ID, now, BODY), BODY), "two signatures during a rotation"
    assert check({**signed, "webhook-signature": f"v1a,AAAA v1 {signed['webhook-signature']}"}, BODY)
    for wrong_headers, wrong_body in (
        (signed, BODY + b" "),
        (signed_headers([OTHER], MESSAGE_ID, now, BODY), BODY),
        ({**signed, "webhook-id": "another"}, BODY),
        ({**signed, "webhook-timestamp": str(now + 1)}, BODY),
        (signed_headers([SECRET], MESSAGE_ID, now - 400, BODY), BODY),
        (signed_headers([SECRET], MESSAGE_ID, now + 400, BODY), BODY),
        ({**signed, "webhook-timestamp": "soon"}, BODY),
        ({**signed, "webhook-signature": "v1,"}, BODY),
        ({**signed, "webhook-signature": signed["webhook-signature"].replace("v1,", "v2,")}, BODY),
        ({name: value for name, value in signed.items() if name != "webhook-signature"}, BODY),
    ):
        assert not check(wrong_headers, wrong_body), wrong_headers
