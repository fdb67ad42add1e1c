"""Rules of an agent: defaults, what is refused, what is left alone."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Caller, make_agent
from gristmill.agents import read_rules
from gristmill.base.db import Database


def test_rules_have_defaults_under_which_nothing_leaves() -> None:
    rules = read_rules({})
    assert rules.data_sources.auto_pull_on_schedule
    assert rules.data_sources.pause_source_after_failures == 3
    assert not rules.mapping_jobs.trigger_on_new_inventory_upload
    assert not rules.data_sinks.auto_push_on_job_complete
    assert rules.data_sinks.retry_failed_push == 2


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        ({"data_sources": {"auto_pull": True}}, "rules.data_sources.auto_pull"),
        ({"data_sources": {"pause_source_after_failures": -1}}, "rules.data_sources.pause_source_after_failures"),
        ({"data_sinks": {"retry_failed_push": "often"}}, "rules.data_sinks.retry_failed_push"),
        ({"mapping_jobs": []}, "rules.mapping_jobs"),
    ],
)
def test_wrong_rules_are_refused_when_they_are_saved(
    database: Database, owner: Caller, rules: dict[str, Any], field: str
) -> None:
    agent = make_agent(database, owner.organization_id)
    answer = owner.patch(f"/api/v1/agents/{agent.id}", {"rules": rules})
    assert answer.status_code == 422
    assert [item["field"] for item in answer.json()["errors"]] == [field]


def test_rules_of_others_are_kept(database: Database, owner: Caller) -> None:
    agent = make_agent(database, owner.organization_id)
    rules = {"data_sinks": {"auto_push_on_job_complete": True}, "write_back": {"crm": True}}
    assert owner.patch(f"/api/v1/agents/{agent.id}", {"rules": rules}).json()["rules"] == rules
