"""Health, readiness, metrics, request ids."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from conftest import Caller
from gristmill.base.config import settings as current_settings
from gristmill.base.objects import ObjectStore
from gristmill.engine import Worker


def test_alive_and_ready(anyone: httpx.Client, worker: Worker) -> None:
    assert anyone.get("/healthz").json()["status"] == "ok"
    ready = anyone.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["checks"]["workers"] >= 1
    assert ready.json()["checks"]["store"] == "ok"


def test_a_service_whose_store_is_gone_is_not_ready(
    anyone: httpx.Client, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    there = ObjectStore.of(current_settings().model_copy(update={"object_store_url": (tmp_path / "file").as_uri()}))
    monkeypatch.setattr(ObjectStore, "of", lambda _: there)
    answer = anyone.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["ready"] is False
    assert answer.json()["checks"]["database"] == "ok"
    assert "object store" in answer.json()["checks"]["store"]


def test_metrics_count_requests_and_batches(owner: Caller, anyone: httpx.Client) -> None:
    owner.get("/api/v1/agents")
    text = anyone.get("/metrics").text
    assert 'gristmill_http_requests_total{method="GET",route="/api/v1/agents",status="200"}' in text
    for name in (
        "gristmill_rows_pending",
        "gristmill_workers",
        "gristmill_held_micro_usd",
        "gristmill_deliveries_pending",
        "gristmill_deliveries_overdue_seconds",
        "gristmill_receivers_disabled",
    ):
        assert name in text


@pytest.mark.parametrize(("sent", "kept"), [("abc-123", True), ("", False), ("x" * 65, False), ("a b", False)])
def test_a_usable_request_id_is_kept_and_always_answered(anyone: httpx.Client, sent: str, kept: bool) -> None:
    answer = anyone.get("/nowhere", headers={"X-Request-ID": sent})
    assert (answer.headers["x-request-id"] == sent) is kept
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_answers_carry_safe_headers(anyone: httpx.Client) -> None:
    headers = anyone.get("/healthz").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"


def test_the_openapi_document_is_whole(anyone: httpx.Client) -> None:
    document = anyone.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation.get("summary"), where
            if path.startswith("/api/"):
                assert {"key": []} in operation["security"], where
                assert {"400", "401", "422"} <= set(operation["responses"]), where
