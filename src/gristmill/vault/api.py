"""HTTP of the vault."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gristmill.base.http import CursorText, Limit, PageNumber, PerPage, UuidId, problem_responses
from gristmill.base.paging import CursorPage, Page
from gristmill.base.routes import LateRoute
from gristmill.identity.api import AdminCall, OnceGuard
from gristmill.vault import service
from gristmill.vault.model import OVERLAP_HOURS_MAX, VALUES_MAX, Secret, SecretUse

router = APIRouter(prefix="/api/v1", tags=["Secrets"], route_class=LateRoute)

S_PER_HOUR = 3600.0


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain NUL")
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text.strip()


SecretName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_storable), AfterValidator(_filled)]


class SecretCreate(BaseModel):
    """Values to keep."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: SecretName = Field(examples=["Scoring service"])
    values: dict[str, str] = Field(
        min_length=1,
        max_length=VALUES_MAX,
        description="The values by name. What uses the secret says which names it looks for.",
        examples=[{"token": "sk-0123456789abcdef"}],
    )


class SecretPatch(BaseModel):
    """Changes of a secret; what is absent stays."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: SecretName | None = Field(None, examples=["Scoring service"])
    values: dict[str, str | None] = Field(
        default_factory=dict,
        max_length=VALUES_MAX,
        description="Only those that change; null removes one. A value that equals its own redaction stays as it is.",
    )


class SecretRotate(BaseModel):
    """New values in place of the present ones."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    values: dict[str, str | None] = Field(
        min_length=1, max_length=VALUES_MAX, examples=[{"token": "sk-fedcba9876543210"}]
    )
    overlap_hours: int = Field(
        24,
        ge=0,
        le=OVERLAP_HOURS_MAX,
        description="How long the values of before are accepted too, where something is checked by them.",
    )


@router.get("/secrets", summary="List secrets", responses=problem_responses(403))
def list_secrets(call: AdminCall, page: PageNumber = 1, per_page: PerPage = 50) -> Page[Secret]:
    """Newest first; the values themselves are never shown."""
    call.actor.require_whole_organization()
    return service.list_secrets(call.tx, call.organization_id, page=page, per_page=per_page)


@router.post(
    "/secrets", status_code=201, summary="Keep a secret", responses=problem_responses(403, 409), response_model=Secret
)
def create_secret(body: SecretCreate, call: AdminCall, once: OnceGuard) -> Any:
    """The answer's `id` is the `secret_ref` to write where the secret is used."""
    call.actor.require_whole_organization()
    return once.run(call, 201, lambda: service.put(call.tx, call.organization_id, name=body.name, values=body.values))


@router.get("/secrets/{secret_id}", summary="Show a secret", responses=problem_responses(403, 404))
def get_secret(secret_id: UuidId, call: AdminCall) -> Secret:
    """Its redaction, what needs it, and when it was used and tested last."""
    call.actor.require_whole_organization()
    return service.get(call.tx, call.organization_id, secret_id)


@router.patch("/secrets/{secret_id}", summary="Change a secret", responses=problem_responses(403, 404, 409))
def update_secret(secret_id: UuidId, body: SecretPatch, call: AdminCall) -> Secret:
    """New values take effect at once, everywhere."""
    call.actor.require_whole_organization()
    return service.change(call.tx, call.organization_id, secret_id, name=body.name, values=body.values)


@router.post(
    "/secrets/{secret_id}/rotate",
    summary="Rotate a secret",
    responses=problem_responses(403, 404, 409),
    response_model=Secret,
)
def rotate_secret(secret_id: UuidId, body: SecretRotate, call: AdminCall, once: OnceGuard) -> Any:
    """New values from now on; those of before are erased when the overlap has passed."""
    call.actor.require_whole_organization()
    return once.run(
        call,
        200,
        lambda: service.rotate(
            call.tx,
            call.organization_id,
            secret_id,
            values=body.values,
            overlap_s=body.overlap_hours * S_PER_HOUR,
        ),
    )


@router.delete(
    "/secrets/{secret_id}", status_code=204, summary="Delete a secret", responses=problem_responses(403, 404, 409)
)
def delete_secret(secret_id: UuidId, call: AdminCall) -> None:
    """409 while something needs it; the detail names what."""
    call.actor.require_whole_organization()
    service.delete(call.tx, call.organization_id, secret_id)


@router.get("/secrets/{secret_id}/uses", summary="List uses of a secret", responses=problem_responses(403, 404))
def list_uses(
    secret_id: UuidId, call: AdminCall, cursor: CursorText = None, limit: Limit = 100
) -> CursorPage[SecretUse]:
    """When its values were revealed inside and what for, newest first."""
    call.actor.require_whole_organization()
    return service.list_uses(call.tx, call.organization_id, secret_id, cursor=cursor, limit=limit)
