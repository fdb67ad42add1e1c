"""What an agent does by itself: its rules, checked when they are saved and read with their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gristmill.base.errors import FieldError, Invalid

PUSH_RETRIES_MAX = 8


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSourceRules(_Group):
    """Rules of the places that inventory comes from."""

    auto_pull_on_schedule: bool = Field(default=True, description="Pull when the schedule says so.")
    pause_source_after_failures: int = Field(
        3, ge=0, le=1000, description="Pause a source after this many failed pulls in a row; 0 never does."
    )
    hold_when_times_usual: float = Field(
        10, ge=0, le=1e9, description="Hold a pull for approval when it brings this many times the usual; 0 never does."
    )


class MappingJobRules(_Group):
    """Rules of batches that start by themselves."""

    trigger_on_new_inventory_upload: bool = Field(
        default=False, description="Run the agent over every file that comes in."
    )
    mapping: dict[str, str] = Field(
        default_factory=dict, max_length=1000, description="Agent field -> column, for those batches."
    )


class DataSinkRules(_Group):
    """Rules of the places that results go to."""

    auto_push_on_job_complete: bool = Field(
        default=False, description="Push the results of every batch that completes. Off: nothing leaves by itself."
    )
    retry_failed_push: int = Field(
        2, ge=0, le=PUSH_RETRIES_MAX, description="Tries after the first one, before a push is dead."
    )


class Rules(BaseModel):
    """All rules of an agent. Groups that are not named here belong to others and are kept as they are."""

    model_config = ConfigDict(extra="allow", frozen=True)

    data_sources: DataSourceRules = DataSourceRules()  # pyright: ignore[reportCallIssue]  # every field has a default
    mapping_jobs: MappingJobRules = MappingJobRules()  # pyright: ignore[reportCallIssue]
    data_sinks: DataSinkRules = DataSinkRules()  # pyright: ignore[reportCallIssue]


def read_rules(values: Mapping[str, Any]) -> Rules:
    """The rules as saved. Raises `Invalid` that names each one that is not as it must be."""
    try:
        return Rules.model_validate(dict(values))
    except ValidationError as error:
        wrong = tuple(
            FieldError(".".join(["rules", *(str(part) for part in item["loc"])]), item["msg"])
            for item in error.errors(include_url=False, include_input=False, include_context=False)
        )
        raise Invalid("; ".join(f"`{item.field}`: {item.message}" for item in wrong[:5]), errors=wrong) from None
