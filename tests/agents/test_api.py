"""HTTP of agents: names, and changes of a part."""

from __future__ import annotations

import pytest

from conftest import Caller

API = "/api/v1/agents"
ECHO = {"runtime": "python", "config": {"entry_point": "sample_agents:echo"}}


def test_an_agent_shows_its_defaults(owner: Caller) -> None:
    made = owner.post(API, {"name": "  Plain  ", **ECHO})
    assert made.status_code == 201
    agent = made.json()
    assert agent["name"] == "Plain"
    assert agent["retry"] == {"max_attempts": 4, "backoff": 1.0}
    assert agent["rate_limit"] == {"rpm": None, "tpm": None}
    assert (agent["concurrency"], agent["timeout_s"], agent["bill_on_match"]) == (8, 60.0, True)
    assert (agent["price_usd"], agent["price_micro_usd"]) == ("0.000000", 0)
    assert owner.get(f"{API}/{agent['id']}").json() == agent


def test_a_change_of_a_part_leaves_the_rest(owner: Caller) -> None:
    agent = owner.post(
        API,
        {"name": "Parts", **ECHO, "retry": {"max_attempts": 9, "backoff": 7}, "rate_limit": {"rpm": 600}},
    ).json()
    assert agent["rate_limit"] == {"rpm": 600, "tpm": None}
    path = f"{API}/{agent['id']}"
    changed = owner.client.patch(path, json={"retry": {"max_attempts": 2}, "rate_limit": {"tpm": 9}}).json()
    assert changed["retry"] == {"max_attempts": 2, "backoff": 7.0}
    assert changed["rate_limit"] == {"rpm": 600, "tpm": 9}, "a limit that was not named is not lifted"
    cleared = owner.client.patch(path, json={"rate_limit": {"rpm": None}, "retry": None}).json()
    assert cleared["rate_limit"] == {"rpm": None, "tpm": 9}
    assert cleared["retry"] == changed["retry"]
    assert cleared["version"] == agent["version"], "none of this changes results"


@pytest.mark.parametrize("name", ["", "   ", "\t\n", "a\x00b", "x" * 201])
def test_a_name_is_a_line_of_text(owner: Caller, name: str) -> None:
    made = owner.post(API, {"name": name, **ECHO})
    assert made.status_code == 422
    assert made.json()["errors"][0]["field"] == "name"
    assert not made.json()["errors"][0]["message"].startswith("Value error")


def test_a_template_is_deployed_without_a_body(owner: Caller) -> None:
    made = owner.client.post("/api/v1/agent_templates/echo/deploy")
    assert made.status_code == 201
    assert (made.json()["name"], made.json()["template"]) == ("Echo (dry run)", "echo")
    assert owner.client.post("/api/v1/agent_templates/echo/deploy").status_code == 409
    assert owner.client.post("/api/v1/agent_templates/nothing/deploy").status_code == 404


def test_each_input_field_has_a_name_of_its_own(owner: Caller) -> None:
    fields = [{"name": "email"}, {"name": "phone"}, {"name": "email"}]
    made = owner.post(API, {"name": "Twice", **ECHO, "input_fields": fields})
    assert made.status_code == 422
    assert made.json()["errors"] == [{"field": "input_fields.2.name", "message": "comes twice"}]
    agent = owner.post(API, {"name": "Once", **ECHO, "input_fields": fields[:2]}).json()
    assert owner.client.patch(f"{API}/{agent['id']}", json={"input_fields": fields}).status_code == 422


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"runtime": "http", "config": {"url": "ftp://example.com/x"}}, "config.url"),
        ({"runtime": "http", "config": {"url": "http://169.254.169.254/x"}}, "config.url"),
        ({"runtime": "http", "config": {}}, "config.url"),
        ({"runtime": "nothing"}, "runtime"),
        ({"schedule_cron": "every day"}, "schedule_cron"),
        ({"output_schema": {"properties": {"score": {"type": "nonsense"}}}}, "output_schema.properties.score.type"),
        ({"price_usd": "a lot"}, "price_usd"),
        ({"rules": {"data_sources": {"x": 1}}}, "rules.data_sources.x"),
    ],
)
def test_what_is_refused_is_named(owner: Caller, values: dict[str, object], field: str) -> None:
    made = owner.post(API, {"name": "Refused", **ECHO, **values})
    assert made.status_code == 422
    assert made.json()["errors"][0]["field"] == field
