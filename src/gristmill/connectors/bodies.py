"""What callers send about connectors, and what only they get: the shapes of the HTTP API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from gristmill.connectors.model import CAMEL, Role, Status
from gristmill.inventory import Format

OVERLAP_S_MAX = 7 * 86_400
JOB_ID = "0198f5a2-7c31-7b52-9c46-5c7d00000000"
"""For the examples."""


def _filled(text: str) -> str:
    if "\x00" in text or not text.strip():
        raise ValueError("must not be blank or have a NUL")
    return text.strip()


Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_filled)]
SecretValues = dict[
    Annotated[str, StringConstraints(min_length=1, max_length=100)],
    Annotated[str, StringConstraints(max_length=65_536)] | None,
]


class _CamelBody(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)


class ConnectorPatch(_CamelBody):
    """Changes of a connector; what is absent stays, also inside `config`. Role and type can't be changed."""

    name: Name | None = None
    config: dict[str, Any] | None = Field(
        None,
        max_length=50,
        description="Settings of the type, whose schema `GET /api/v1/data-source-types` has; also `secretRef`.",
        examples=[{"bucket": "acme-inventory", "prefix": "daily-uploads/", "region": "us-east-1"}],
    )
    secret_ref: UUID | None = Field(None, description="A secret of the vault.")
    secret: SecretValues | str | None = Field(
        None,
        description="Values that are moved to the vault at once; only `secretRef` and what may be shown come back.",
        examples=[{"accessKeyId": "AKIA...", "secretAccessKey": "..."}],
    )
    schedule_cron: str | None = Field(None, max_length=200, description="Five cron fields; the agent's unless set.")
    timezone: str | None = Field(None, max_length=100, examples=["Europe/Berlin"])
    format: Format | None = Field(None, description="What files must be, or what is written.")
    status: Status | None = None


class ConnectorCreate(ConnectorPatch):
    """A new connector."""

    name: Name = Field(examples=["Daily inventory"])  # pyright: ignore[reportIncompatibleVariableOverride]
    role: Role = Field(description="`INVENTORY_SOURCE`: files come from there. `RESULTS_SINK`: results go there.")
    type: str = Field(max_length=60, description="`S3` or `HTTPS_WEBHOOK`.")
    config: dict[str, Any] = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        max_length=50, examples=[{"bucket": "acme-inventory", "prefix": "daily-uploads/", "region": "us-east-1"}]
    )


class TryBody(_CamelBody):
    """How to test."""

    write_probe: bool = Field(
        default=False,
        description="Only of a sink: write something and delete it, or post a signed test without results.",
        examples=[True],
    )


class PullBody(_CamelBody):
    """How to pull."""

    retry_failed: bool = Field(
        default=False,
        description="Also read objects that were rejected or given up and have not changed.",
        examples=[True],
    )


class PushBody(_CamelBody):
    """What to push."""

    job_id: UUID = Field(description="A completed batch of the agent.", examples=[JOB_ID])


class InboundBody(_CamelBody):
    """How to renew the key."""

    overlap_s: int = Field(
        86_400, ge=0, le=OVERLAP_S_MAX, description="How long the key before works beside it.", examples=[3600]
    )


@dataclass(frozen=True, slots=True)
class InboundKey:
    """What signs files that are pushed in. The key is in this answer and nowhere else."""

    __pydantic_config__: ClassVar[ConfigDict] = CAMEL

    inbound_url: str
    key: str
    """For Standard Webhooks (`webhook-signature`), or HMAC-SHA256 of the body in `X-Hub-Signature-256`."""


@dataclass(frozen=True, slots=True)
class ConnectorType:
    """A type of connectors."""

    __pydantic_config__: ClassVar[ConfigDict] = CAMEL

    type: str
    title: str
    summary: str
    config_schema: dict[str, Any]
    secret_values: dict[str, str]
    """Name of a value -> what it is."""
