"""Channels: who is told of what, by every kind, with secrets in the vault and every socket judged."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from conftest import Caller, MakeCaller, make_agent, wait_for
from events.conftest import Emit
from events.receiver_server import Receiver
from events.smtp_server import MailServer
from gristmill import vault
from gristmill.agents import delete as delete_agent
from gristmill.base.config import settings
from gristmill.base.db import Database
from gristmill.base.errors import Invalid
from gristmill.base.signing import verify
from gristmill.events.channels.email import mail_server


@pytest.fixture
def agent(database: Database, organization: int) -> int:
    return make_agent(database, organization).id


@pytest.fixture
def mail() -> Iterator[MailServer]:
    server = MailServer().start()
    yield server
    server.stop()


def make(owner: Caller, agent: int, kind: str, **more: Any) -> dict[str, Any]:
    answer = owner.post(f"/api/v1/agents/{agent}/channels", {"type": kind, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def path_of(made: dict[str, Any]) -> str:
    return f"/api/v1/agents/{made['agentId']}/channels/{made['id']}"


def test_a_channel_hears_what_it_subscribed_to_of_its_own_agent(
    owner: Caller, database: Database, agent: int, receiver: Receiver, emit: Emit, worker: object
) -> None:
    other = make_agent(database, owner.organization_id).id
    make(owner, agent, "SLACK", secret={"url": f"{receiver.url}/pauses"}, eventSubscriptions=["on_pause"])
    make(owner, agent, "SLACK", secret={"url": f"{receiver.url}/everything"})
    emit("agent.batch.paused", agent_id=other, name="Others", reason="user", message="")
    emit("agent.batch.completed", agent_id=agent, name="Fine")
    emit("agent.batch.failed", agent_id=agent, name="Leads", message="The <agent> & its key are gone.")
    emit("connector.paused", agent_id=agent, name="Bucket", message="Three failures in a row.")
    emit("billing.budget_reached", message="The budget is used up.")
    wait_for(lambda: len(receiver.of("/everything")) == 3, "the messages")
    wait_for(lambda: receiver.of("/pauses"), "the pause")
    assert [call.json["text"].splitlines()[0] for call in receiver.of("/pauses")] == [
        "*A connector was paused after failures: Bucket*"
    ]
    texts = "\n".join(call.json["text"] for call in receiver.of("/everything"))
    assert "The &lt;agent&gt; &amp; its key are gone." in texts
    assert "The budget is used up." in texts
    assert "Others" not in texts
    assert "Fine" not in texts


def test_people_hear_of_the_whole_organization_once(
    owner: Caller, database: Database, receiver: Receiver, emit: Emit, worker: object
) -> None:
    agents = [make_agent(database, owner.organization_id).id for _ in range(3)]
    for agent in agents:
        make(owner, agent, "SLACK", secret={"url": f"{receiver.url}/same"})
    make(owner, agents[0], "SLACK", secret={"url": f"{receiver.url}/another"})
    emit("billing.threshold", message="80 % are spent.")
    wait_for(lambda: receiver.of("/same") and receiver.of("/another"), "the messages")
    emit("agent.batch.failed", agent_id=agents[2], message="no")
    wait_for(lambda: len(receiver.of("/same")) == 2, "the second message")
    assert len(receiver.of("/another")) == 1


def test_a_webhook_channel_is_signed_with_its_own_secret_or_a_given_one(
    owner: Caller, database: Database, agent: int, receiver: Receiver, emit: Emit, worker: object
) -> None:
    made = make(owner, agent, "WEBHOOK", config={"url": f"{receiver.url}/own"})
    assert made["signingSecret"].startswith("whsec_")
    assert made["signingSecret"] not in owner.get(path_of(made)).text
    with database.tx(owner.organization_id) as tx:
        kept = vault.put(tx, owner.organization_id, name="Key", values={"key": "a plain old key"})
    given = make(owner, agent, "WEBHOOK", config={"url": f"{receiver.url}/given"}, secretRef=kept.ref)
    assert given["signingSecret"] is None
    assert given["secretRef"] == kept.ref
    emit("agent.batch.failed", agent_id=agent, message="no")
    own = wait_for(lambda: receiver.of("/own"), "the message")[0]
    verify([made["signingSecret"]], own.headers, own.body, now=time.time())
    other = wait_for(lambda: receiver.of("/given"), "the message")[0]
    verify(["a plain old key"], other.headers, other.body, now=time.time())
    assert owner.delete(f"/api/v1/secrets/{kept.id}").status_code == 409
    assert owner.delete(path_of(given)).status_code == 204
    assert owner.delete(f"/api/v1/secrets/{kept.id}").status_code == 204


def test_secrets_of_channels_are_redacted_and_stay_when_they_are_sent_back(
    owner: Caller, agent: int, receiver: Receiver
) -> None:
    url = f"{receiver.url}/redacted-canary-9921"
    made = make(owner, agent, "SLACK", name="Ops", secret={"url": url})
    assert made["secret"] == {"url": "gm_byo_****9921"}
    shown = owner.get(f"/api/v1/agents/{agent}/channels").text + owner.get(path_of(made)).text
    assert "canary" not in shown
    same = owner.patch(path_of(made), {"secret": made["secret"], "name": "Operations"}).json()
    assert (same["name"], same["secret"]) == ("Operations", made["secret"])
    assert owner.post(f"{path_of(made)}/test").json()["ok"]
    assert receiver.of("/redacted-canary-9921")
    other = owner.patch(path_of(made), {"secret": {"url": f"{receiver.url}/changed-88112"}}).json()
    assert other["secret"] == {"url": "gm_byo_****8112"}
    result = owner.post(f"{path_of(made)}/test").json()
    assert result["ok"]
    assert receiver.of("/changed-88112")
    assert "88112" not in str(result)


def test_mail_goes_through_the_operators_server(
    owner: Caller, agent: int, mail: MailServer, emit: Emit, worker: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = owner.post(f"/api/v1/agents/{agent}/channels", {"type": "EMAIL", "config": {"to": ["ops@example.com"]}})
    assert refused.status_code == 422
    assert "GRISTMILL_SMTP_URL" in refused.json()["detail"]
    current = settings().model_copy(update={"smtp_url": SecretStr(f"smtp://127.0.0.1:{mail.port}?from=gm@example.com")})
    server = mail_server(current)
    monkeypatch.setattr("gristmill.events.channels.email.mail_server", lambda _: server)
    make(owner, agent, "EMAIL", config={"to": ["ops@example.com", "Ana@example.com"]})
    emit("agent.batch.failed", agent_id=agent, name="Leads\r\nBcc: evil@example.com", message="Über-Fehler")
    recipients, text = wait_for(lambda: mail.mails, "the mail")[0]
    assert recipients == ["ops@example.com", "Ana@example.com"]
    head, _, body = text.partition("\r\n\r\n")
    assert "Subject: A batch can't go on: Leads Bcc: evil@example.com" in head
    assert "\r\nBcc:" not in head
    assert "cmZlaGxlc" in body or "ber-Fehler" in body
    wrong = make(owner, agent, "EMAIL", config={"to": ["nobody@example.com", "ops@example.com"]})
    result = owner.post(f"{path_of(wrong)}/test").json()
    assert (result["ok"], result["error"]) == (False, "refused for nobody@example.com")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtps://u%40x:p%3Aw@mail.example.com?from=a@b.c", ("mail.example.com", 465, True, "u@x", "p:w", "a@b.c")),
        ("smtp://mail.example.com:25?from=a@b.c", ("mail.example.com", 25, False, "", "", "a@b.c")),
        ("smtp://mail.example.com", None),
        ("https://mail.example.com?from=a@b.c", None),
        ("smtp://[bad?from=a@b.c", None),
    ],
)
def test_the_url_of_the_mail_server(url: str, expected: tuple[Any, ...] | None) -> None:
    current = settings().model_copy(update={"smtp_url": SecretStr(url)})
    if expected is None:
        with pytest.raises(Invalid, match="GRISTMILL_SMTP_URL"):
            mail_server(current)
    else:
        assert astuple(mail_server(current)) == expected


def test_apprise_sends_in_a_process_of_its_own(owner: Caller, agent: int, receiver: Receiver) -> None:
    port = receiver.port
    made = make(owner, agent, "APPRISE", secret={"url": f"json://127.0.0.1:{port}/apprise/tok-canary-7712"})
    result = owner.post(f"{path_of(made)}/test").json()
    assert result["ok"], result
    call = receiver.of("/apprise/tok-canary-7712")[0]
    assert call.json["title"] == "A test: nothing happened"
    assert "canary" not in str(result)
    receiver.answers["/apprise/tok-canary-7712"] = [500]
    failed = owner.post(f"{path_of(made)}/test").json()
    assert not failed["ok"]
    assert failed["error"]
    assert "canary" not in str(failed)
    for url in ("dbus://", "no url at all", "windows://"):
        refused = owner.post(f"/api/v1/agents/{agent}/channels", {"type": "APPRISE", "secret": {"url": url}})
        assert refused.status_code == 422


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("json://127.0.0.1:{port}/private", "not a public address"),
        ("json://localhost:{port}/private", "not a public address"),
        ("json://169.254.169.254/private", "not a public address"),
        ("mailto://user:pass@10.0.0.1:25/?from=a@example.com&to=b@example.com", "not a public address"),
        ("rsyslog://127.0.0.1:{port}/", "not a public address"),
    ],
)
def test_apprise_reaches_no_private_address(receiver: Receiver, url: str, says: str) -> None:
    code, said = notify(url.format(port=receiver.port), allow=[])
    assert code == 1, said
    assert receiver.of("/private") == []
    assert says in said


def test_apprise_follows_no_redirect_to_a_private_address(receiver: Receiver) -> None:
    receiver.answers["/hop"] = [(307, {"Location": f"http://127.0.0.2:{receiver.port}/private"})]
    code, said = notify(f"json://127.0.0.1:{receiver.port}/hop", allow=[f"127.0.0.1:{receiver.port}"])
    assert receiver.of("/hop")
    assert receiver.of("/private") == []
    assert code == 1, said


def test_apprise_reads_no_file_and_starts_no_program(tmp_path: Path) -> None:
    template = tmp_path / "template.json"
    template.write_text('{"text": "{{ app_body }}"}')
    code, said = run_hooked(f"open({str(template)!r}).read()")
    assert (code, "must not open a file" in said) == (1, True)
    code, said = run_hooked("__import__('subprocess').run(['true'])")
    assert (code, "must not start a program" in said) == (1, True)
    code, said = run_hooked("__import__('socket').socket(__import__('socket').AF_UNIX).connect('/run/x')")
    assert (code, "socket of this machine" in said) == (1, True)
    assert run_hooked("__import__('ssl').create_default_context()")[0] == 0


def notify(url: str, *, allow: list[str]) -> tuple[int, str]:
    """Runs the process as the channel does."""
    import subprocess  # noqa: PLC0415 - only here
    import sys  # noqa: PLC0415

    from gristmill.base import jsons  # noqa: PLC0415

    order = {"url": url, "title": "t", "text": "x", "allow": allow, "seconds": 5}
    done = subprocess.run(
        [sys.executable, "-m", "gristmill.events.apprise_process"],
        input=jsons.dumps(order),
        capture_output=True,
        check=False,
        timeout=60,
    )
    return done.returncode, (done.stdout + done.stderr).decode()


def run_hooked(code: str) -> tuple[int, str]:
    import subprocess  # noqa: PLC0415 - only here
    import sys  # noqa: PLC0415

    program = (
        "import sys\nfrom gristmill.events.apprise_process import JudgedSockets\n"
        "from gristmill.base.egress import Egress\nimport ssl\nsys.dont_write_bytecode = True\n"
        f"sys.addaudithook(JudgedSockets(Egress()))\n{code}\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=60, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"type": "SLACK"}, "secret"),
        ({"type": "SLACK", "secret": {"token": "x"}}, "secret"),
        ({"type": "SLACK", "secret": {"url": "https://10.0.0.1/x"}}, ""),
        ({"type": "SLACK", "secretRef": "01a213f6-fb14-737c-a531-5db900000001"}, "secretRef"),
        ({"type": "EMAIL", "config": {"to": ["no address"]}}, "config.to.0"),
        ({"type": "PIGEON"}, "type"),
        ({"type": "WEBHOOK", "config": {}}, "config.url"),
        ({"type": "WEBHOOK", "config": {"url": "https://x.example.com/"}, "eventSubscriptions": ["on_fire"]}, ""),
        ({"type": "WEBHOOK", "config": {"url": "https://x.example.com/"}, "secret": {"key": "whsec_AA"}}, "secret.key"),
    ],
)
def test_what_is_no_channel(owner: Caller, agent: int, body: dict[str, Any], field: str) -> None:
    refused = owner.post(f"/api/v1/agents/{agent}/channels", body)
    assert refused.status_code == 422, refused.text
    if field:
        assert refused.json()["errors"][0]["field"] == field


def test_channels_of_an_agent_go_with_it(
    owner: Caller, database: Database, agent: int, receiver: Receiver, stranger: Caller, make_caller: MakeCaller
) -> None:
    made = make(owner, agent, "SLACK", secret={"url": f"{receiver.url}/gone"})
    for caller in (stranger, make_caller(owner.organization_id, agent_id=agent)):
        expected = 404 if caller is stranger else 200
        assert caller.get(path_of(made)).status_code == expected
        assert caller.get(f"/api/v1/agents/{agent}/channels").status_code == expected
    other = make_agent(database, owner.organization_id).id
    assert owner.get(f"/api/v1/agents/{other}/channels/{made['id']}").status_code == 404
    with database.tx(owner.organization_id) as tx:
        delete_agent(tx, owner.organization_id, agent)
        assert tx.rows("SELECT id FROM secret") == []
        assert tx.rows("SELECT id FROM receiver") == []
