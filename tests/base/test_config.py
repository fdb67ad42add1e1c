"""Settings as they are shown: every name as it is written, and no secret."""

from __future__ import annotations

import pytest

from gristmill.base.config import Settings, setting_lines

SEED_DEFAULTS = {
    "BATCH_ENRICH_MAX_ROWS": "10000",
    "BATCH_ENRICH_MAX_UPLOAD_BYTES": str(5 * 1024**2),
    "BATCH_ENRICH_LLM_MAP_ENABLED": "1",
    "BATCH_ENRICH_LLM_MAP_MODEL": "data411-crimson-span",
    "BATCH_ENRICH_LLM_PREVIEW_ROWS": "10",
    "BATCH_ENRICH_MIN_BALANCE_USD": "10",
    "OPENROUTER_API_KEY": "",
}


def shown() -> dict[str, tuple[str, str]]:
    return {line.env: (line.value, line.source) for line in setting_lines(Settings())}


def test_names_and_defaults_of_enrichment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SEED_DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    found = shown()
    assert {name: found[name] for name in SEED_DEFAULTS} == {
        name: (value, "default") for name, value in SEED_DEFAULTS.items()
    }


def test_what_is_shown_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_ENRICH_LLM_MAP_ENABLED", "0")
    assert shown()["BATCH_ENRICH_LLM_MAP_ENABLED"] == ("0", "environment")


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENROUTER_API_KEY", "GRISTMILL_DATABASE_URL", "GRISTMILL_MASTER_KEY", "GRISTMILL_SMTP_URL"):
        monkeypatch.setenv(name, "postgresql://user:very-secret@host/db")
    found = shown()
    assert found["OPENROUTER_API_KEY"] == ("********", "environment")
    assert "very-secret" not in str(found)
