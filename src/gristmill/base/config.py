"""Settings: one typed class, read from the environment, each with its meaning and its source."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from gristmill.base.errors import FieldError, Invalid

DATA_DIR_ROOT = Path("/var/lib/gristmill")
"""Where data lies when root starts Gristmill: PostgreSQL then runs as another user, who cannot enter /root."""

FORM_BYTES = 64 * 1024
"""What a form may have around its file."""


def default_data_dir() -> Path:
    """`/var/lib/gristmill` for root, `~/.gristmill` for everyone else."""
    return DATA_DIR_ROOT if hasattr(os, "geteuid") and os.geteuid() == 0 else Path.home() / ".gristmill"


class Settings(BaseSettings):
    """Every setting of Gristmill. Environment names are `GRISTMILL_` + the field name in capitals."""

    model_config = SettingsConfigDict(env_prefix="GRISTMILL_", env_ignore_empty=True, frozen=True)

    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="Folder of the embedded database and the object store.",
    )
    host: str = Field("127.0.0.1", description="Address that the server listens on.")
    port: int = Field(8484, ge=0, le=65535, description="Port that the server listens on; 0 takes a free one.")
    workers: int = Field(
        2, ge=0, le=64, description="Worker processes that `gristmill up` starts; 0 runs the API alone."
    )
    database_url: SecretStr | None = Field(
        None,
        description="An outside PostgreSQL (15 or newer) instead of the embedded one: `postgresql://...`. "
        "Its user must be allowed to create tables and roles the first time.",
    )
    object_store_url: str | None = Field(
        None,
        description="Where files are kept, `s3://bucket/prefix` or `file:///folder`; a data folder unless set.",
    )
    master_key: SecretStr | None = Field(
        None,
        description="The key that seals the vault's data keys: 32 bytes in Base64, made by `gristmill vault new-key`. "
        "Several, separated by commas, newest first, while one takes the place of another.",
    )
    master_key_file: Path | None = Field(
        None,
        description="A file with master keys, one a line, newest first; `master.key` in the data folder unless set.",
    )
    master_key_from: str = Field(
        "local",
        description="Where master keys come from: `local` is the two settings above; a plug-in may ask a KMS.",
    )
    log_format: str = Field("text", pattern="^(text|json)$", description="`text` for people, `json` for machines.")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Lowest level that is logged.")
    lease_timeout_s: float = Field(
        12.0,
        ge=0.5,
        le=600,
        description="A worker silent for this long is taken for dead: its rows go back and run elsewhere.",
    )
    heartbeat_s: float = Field(2.0, ge=0.1, le=60, description="How often a worker says that it is alive.")
    drain_s: float = Field(
        30.0, ge=0, le=3600, description="How long a stopping worker waits for the rows in flight to finish."
    )
    batch_rows_max: int = Field(2_000_000, ge=1, description="Most rows that one batch takes.")
    batch_body_bytes_max: int = Field(
        4 * 1024**3, ge=1024, description="Most bytes of an NDJSON stream that creates a batch."
    )
    json_body_bytes_max: int = Field(32 * 1024**2, ge=1024, description="Most bytes of a JSON request body.")
    upload_bytes_max: int = Field(
        2 * 1024**3, ge=1024, description="Most bytes of a file that is uploaded to an agent's inventory."
    )
    connector_keys_max: int = Field(
        100_000, ge=1, description="Most objects under the prefix of a connector; they are all looked at by each pull."
    )
    connector_files_max: int = Field(
        10_000, ge=1, description="Most files that one pull brings; the next one, at once, goes on."
    )
    connector_bytes_max: int = Field(
        50 * 1024**3, ge=1024, description="Most bytes that one pull brings; the next one, at once, goes on."
    )
    connector_s_max: float = Field(
        3600.0, gt=0, le=86_400, description="Seconds after which a pull starts no further file; the next one goes on."
    )
    connector_pause_s_min: int = Field(
        300, ge=60, le=86_400, description="Least seconds between two pulls by the schedule."
    )
    connector_jitter_s: int = Field(
        30, ge=0, le=3600, description="Pulls by the schedule start late by up to this many seconds, not all at once."
    )
    hook_bytes_max: int = Field(
        64 * 1024**2, ge=1024, description="Most bytes of a file that is pushed to an inbound URL, packed or not."
    )
    row_bytes_max: int = Field(1024**2, ge=256, description="Most bytes of one row's input, as JSON.")
    result_bytes_max: int = Field(1024**2, ge=256, description="Most bytes of one row's result, as JSON.")
    source_csv_bytes_max: int = Field(5 * 1024**2, ge=1024, description="Most bytes of the text of a CSV source.")
    inspect_body_bytes_max: int = Field(
        512 * 1024**2, ge=1024, description="Most bytes of a file that is only looked at."
    )
    source_rows_max: int = Field(1_000_000, ge=1, description="Most rows read from a Postgres source.")
    source_timeout_s: float = Field(60.0, gt=0, le=3600, description="Time limit of a Postgres source's query.")
    source_env_keys: str = Field(
        "",
        description="Names of environment variables, beside `GRISTMILL_SOURCE_*`, that a Postgres source may name.",
    )
    python_agents: str = Field(
        "",
        description="Which Python functions an agent may name by `module:function`, as comma-separated patterns "
        "(`mypackage.*`). Installed entry points of the group `gristmill.agents` are always allowed.",
    )
    egress_allow: str = Field(
        "",
        description="Private addresses that outgoing requests may reach, as comma-separated `host` or `host:port`. "
        "`loopback` allows this machine; `gristmill up` and `gristmill run` set it while they listen on loopback only.",
    )
    dataset_file_bytes_max: int = Field(1024**3, ge=1024, description="Most bytes of a dataset's file.")
    dataset_rows_max: int = Field(2_000_000, ge=1, description="Most rows of a dataset's file.")
    dataset_removal_share_max: float = Field(
        0.5, ge=0, le=1, description="Removing a larger share of a dataset must be confirmed."
    )
    embedder: str = Field("minilm", description="Kind of embedder of a new dataset that names none.")
    embeddings_url: str | None = Field(
        None,
        description="OpenAI-compatible server of the embedder `openai`, `https://.../v1`; it may be a private address.",
    )
    embeddings_model: str | None = Field(None, description="Model that is asked of that server.")
    embeddings_dimensions: int | None = Field(None, ge=1, le=4000, description="Dimensions asked of that model.")
    embeddings_api_key: SecretStr | None = Field(None, description="Key that is sent to that server, and to no other.")
    smtp_url: SecretStr | None = Field(
        None,
        description="Mail server of channels that send e-mail: `smtps://user:password@host:465?from=me@example.com`; "
        "`smtp://` for port 587 with STARTTLS.",
    )
    public_url: str = Field(
        "",
        pattern=r"^(https?://[^\s?#]*[^\s?#/])?$",
        description="Where others reach this server, `https://gristmill.example.com`; links in events begin so.",
    )
    sse_idle_s: float = Field(15.0, gt=0, description="Silence after which an event stream sends a comment line.")
    idempotency_hours: int = Field(24, ge=1, description="How long an Idempotency-Key keeps its first answer.")

    batch_enrich_max_rows: int = Field(
        10_000,
        ge=1,
        validation_alias="BATCH_ENRICH_MAX_ROWS",
        description="Most rows of an enrichment upload.",
    )
    batch_enrich_max_upload_bytes: int = Field(
        5 * 1024**2,
        ge=1,
        validation_alias="BATCH_ENRICH_MAX_UPLOAD_BYTES",
        description="Most bytes of an enrichment upload.",
    )
    batch_enrich_llm_map_enabled: bool = Field(
        default=True,
        validation_alias="BATCH_ENRICH_LLM_MAP_ENABLED",
        description="Whether a model may be asked to map columns.",
    )
    batch_enrich_llm_map_model: str = Field(
        "data411-crimson-span",
        validation_alias="BATCH_ENRICH_LLM_MAP_MODEL",
        description="Model that maps columns.",
    )
    batch_enrich_llm_preview_rows: int = Field(
        10,
        ge=1,
        validation_alias="BATCH_ENRICH_LLM_PREVIEW_ROWS",
        description="Most sample rows shown to the mapping model.",
    )
    batch_enrich_min_balance_usd: str = Field(
        "10",
        validation_alias="BATCH_ENRICH_MIN_BALANCE_USD",
        description="Balance in USD that an enrichment needs to start.",
    )
    enrich_price_usd: str = Field(
        "0.05",
        description="Most that one lead may cost with the lead enricher that is made by itself; a match costs this.",
    )
    enrich_anonymous_hours: int = Field(
        24, ge=1, le=720, description="How long an upload without a key waits to be linked; then it is deleted."
    )
    enrich_anonymous_jobs_max: int = Field(
        200, ge=0, description="Most uploads without a key that wait at a time; 0 refuses them."
    )
    admin_credit: bool = Field(
        default=True,
        description="Whether an organization's admin key may credit its own balance. Switch off where customers pay.",
    )
    x402_pay_to: str = Field(
        "", description="Wallet address that x402 payments go to. Without it the balance is the only way to pay."
    )
    x402_network: str = Field(
        "eip155:8453", pattern=r"^eip155:\d{1,20}$", description="Chain of the payments, in the form of CAIP-2."
    )
    x402_facilitator_url: str = Field(
        "https://x402.org/facilitator", description="Service that verifies and settles x402 payments."
    )
    x402_facilitator_token: SecretStr | None = Field(None, description="Bearer token for that service.")
    x402_min_usd: str = Field("1", description="Least that one x402 payment adds to the balance.")
    openrouter_api_key: SecretStr | None = Field(
        None, validation_alias="OPENROUTER_API_KEY", description="Key of the model provider."
    )
    llm_base_url: str = Field(
        "https://openrouter.ai/api/v1",
        pattern=r"^https?://[^\s?#]+$",
        description="OpenAI-compatible server that the mapping model is asked on, `https://.../v1`.",
    )

    @property
    def batch_enrich_body_bytes_max(self) -> int:
        """Most bytes of the whole body that carries an enrichment upload, as a form or in Base64."""
        return -(-self.batch_enrich_max_upload_bytes * 4 // 3) + FORM_BYTES


@dataclass(frozen=True, slots=True)
class SettingLine:
    """One line of `gristmill config`."""

    env: str
    value: str
    source: str
    """`environment` or `default`."""
    meaning: str


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The process's settings, read once. Raises `Invalid`. Tests call `settings.cache_clear()`."""
    try:
        return Settings()  # pyright: ignore[reportCallIssue]  # every field has a default
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        wrong = tuple(FieldError(_env_name(str(item["loc"][0])), item["msg"]) for item in found)
        told = "; ".join(f"{item.field}: {item.message}" for item in wrong)
        raise Invalid(f"The environment has a setting that can't be used. {told}.", errors=wrong) from None


def _env_name(name: str) -> str:
    """What a field is called in the environment; pydantic names one with an alias by that."""
    field = Settings.model_fields.get(name)
    if field is None:
        return name
    return field.validation_alias if isinstance(field.validation_alias, str) else f"GRISTMILL_{name.upper()}"


def written(value: object) -> str:
    """A value as the environment would have it: `1` and `0` for switches, nothing for what is not set."""
    return "" if value is None else str(int(value)) if isinstance(value, bool) else str(value)


def setting_lines(current: Settings) -> list[SettingLine]:
    """All settings with value (secrets redacted), source and meaning, in order of their declaration."""
    lines: list[SettingLine] = []
    for name, field in Settings.model_fields.items():
        env = _env_name(name)
        value: object = getattr(current, name)
        shown = "********" if isinstance(value, SecretStr) else written(value)
        source = "environment" if os.environ.get(env) else "default"
        lines.append(SettingLine(env, shown, source, field.description or ""))
    return lines
