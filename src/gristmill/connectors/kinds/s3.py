"""S3 and everything that speaks its API: objects under a prefix come in, `job-{jobId}` files go out."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Any, BinaryIO
from urllib.parse import quote
from uuid import uuid4

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from gristmill.base import jsons
from gristmill.base.errors import FieldError, Invalid
from gristmill.base.fetch import http_session
from gristmill.connectors.ladder import Ladder
from gristmill.connectors.model import Entry, Found, Role
from gristmill.connectors.remote import (
    SAMPLE_BYTES,
    Door,
    Fetched,
    Job,
    Keep,
    Landing,
    ObjectGone,
    Piece,
    RemoteFailed,
    Trail,
)
from gristmill.connectors.s3 import Keys, Listed, S3Client, S3Error, Target
from gristmill.connectors.s3.reading import Version, read_object
from gristmill.connectors.s3.writing import write_once
from gristmill.inventory import FORMATS

CONNECTIONS = 32
GLOBS_MAX = 20
MEDIA_TYPES = {
    "CSV": "text/csv; charset=utf-8",
    "JSON": "application/json",
    "JSONL": "application/x-ndjson",
    "XLSX": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "PARQUET": "application/vnd.apache.parquet",
}
VALID_KEY = frozenset({"AccessDenied", "NoSuchBucket", "PermanentRedirect", "AllAccessDisabled"})
"""What S3 says no with to a key that it knows, and whose signature is right."""
PROBE_NAME = ".gristmill-probe"
IMPOSSIBLE_ETAG = "0" * 32

STARS_MAX = 6
"""Of one glob: every star more multiplies the ways to match."""


def _matchable(glob: str) -> str:
    if glob.count("*") > STARS_MAX:
        raise ValueError(f"must have at most {STARS_MAX} stars")
    return glob


Glob = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$"), AfterValidator(_matchable)
]


class S3Config(BaseModel):
    """A bucket, and the part of it that counts."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)

    bucket: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]$",
        description="Name of the bucket.",
        examples=["acme-inventory"],
    )
    prefix: str = Field(
        "",
        max_length=900,
        pattern=r"^[^\x00]*$",
        description="Keys begin with this, such as `daily-uploads/`. Results are written under it.",
    )
    region: str = Field("us-east-1", pattern=r"^[a-z0-9-]{1,40}$", description="Region of the bucket.")
    endpoint_url: str | None = Field(
        None,
        max_length=500,
        pattern=r"^https?://[!-~]+$",
        description="Another service than Amazon's that speaks its API, such as `https://minio.example.com`.",
    )
    path_style: bool | None = Field(
        None, description="Whether the bucket stands in the path; so unless set for an endpointUrl and names with dots."
    )
    globs: list[Glob] = Field(
        default_factory=list[str],
        max_length=GLOBS_MAX,
        description="Only keys that one of these fits, such as `*.csv` or `2026/**/*.gz`; all unless set.",
    )


def glob_pattern(globs: list[str], prefix: str) -> re.Pattern[str] | None:
    """What keys must match as a whole; None for all. A glob without a slash is about the last part of a key."""
    if not globs:
        return None
    tokens = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts: list[str] = []
    for glob in globs:
        text = "".join(tokens.get(item) or re.escape(item) for item in re.findall(r"\*\*/|\*\*|\*|.", glob, re.DOTALL))
        parts.append(text if "/" in glob else f"(?:[^/]+/)*{text}")
    return re.compile(re.escape(prefix) + "(?:" + "|".join(parts) + ")", re.DOTALL)


def job_key(prefix: str, name: str) -> str:
    """`{prefix}/{name}`, with one slash between them."""
    return f"{prefix.rstrip('/')}/{name}" if prefix.strip("/") else name


class _S3Remote:
    """A bucket, opened."""

    def __init__(self, config: S3Config, client: S3Client, door: Door) -> None:
        self._config = config
        self._client = client
        self._keys_max = door.settings.connector_keys_max
        self._pattern = glob_pattern(config.globs, config.prefix)

    @property
    def requests(self) -> int:
        """See Remote."""
        return self._client.requests

    async def ping(self, role: Role) -> None:
        """See Remote: ListBucket for a source, a write that can't succeed for a sink."""
        if role == "INVENTORY_SOURCE":
            await self._client.list_page(self._config.prefix, keys_max=1)
        else:
            await self._probe_write()

    async def _probe_write(self) -> str:
        """Learn whether the key may write, without writing: no object has this ETag, so the condition can't hold."""
        key = job_key(self._config.prefix, PROBE_NAME)
        try:
            await self._client.put(key, b"", condition={"if-match": f'"{IMPOSSIBLE_ETAG}"'})
        except S3Error as error:
            if error.status == HTTPStatus.PRECONDITION_FAILED or error.s3_code == "NoSuchKey":
                return "The key may write here; nothing was written."
            if error.status == HTTPStatus.NOT_IMPLEMENTED:
                return "Whether the key may write can't be told without writing: this server knows no If-Match."
            raise
        await self._client.delete(key)  # it ignores conditions, and has written
        return "The key may write here; an empty object was written and deleted, for this server ignores If-Match."

    async def climb(self, ladder: Ladder, role: Role, landing: Landing, *, write: bool) -> str | None:
        """See Remote."""
        if role == "RESULTS_SINK":
            with ladder.rung("auth") as step:
                step.detail = await self._probe_write()
            if write:
                await self._climb_write(ladder)
            return None
        refusal: S3Error | None = None
        page = None
        with ladder.rung("auth") as step:
            try:
                page = await self._client.list_page(self._config.prefix)
            except S3Error as error:
                if error.s3_code not in VALID_KEY:
                    raise
                refusal = error
            step.detail = "The key is known and its signature is right."
        with ladder.rung("list") as step:
            if refusal is not None or page is None:
                raise refusal or RemoteFailed("no listing", permanent=True)
            more = " or more" if page.token else ""
            step.detail = f"{len(page.objects)} objects{more} under `{self._config.prefix}`."
        candidates = [item for item in page.objects if item.size and not item.archived and self._fits(item.key)]
        newest = max(candidates, key=lambda item: item.last_modified, default=None)
        with ladder.rung("get") as step:
            if newest is None:
                step.warning, step.detail = True, "There is no object yet that could be read."
                return None
            last = None if newest.size <= SAMPLE_BYTES else SAMPLE_BYTES - 1
            async with self._client.get(newest.key, if_match=newest.etag, last=last) as (_, chunks):
                async for chunk in chunks:
                    await landing.write(chunk)
            step.detail = f"{landing.size} of {newest.size} bytes of `{newest.key}`."
        return newest.key

    async def _climb_write(self, ladder: Ladder) -> None:
        key = job_key(self._config.prefix, f"{PROBE_NAME}-{uuid4().hex}")
        with ladder.rung("write") as step:
            await self._client.put(key, b"gristmill was here\n", condition={"if-none-match": "*"})
            step.detail = f"Wrote `{key}`"
            try:
                await self._client.delete(key)
                step.detail += " and deleted it."
            except S3Error as error:
                step.warning, step.remote_error = True, error.raw
                step.detail += ", which the key may not delete."
                step.fix = "Delete it yourself. Pushing results needs no right to delete."

    def _fits(self, key: str) -> bool:
        return self._pattern is None or self._pattern.fullmatch(key) is not None

    async def list_objects(self, ledger: Mapping[str, Entry]) -> AsyncIterator[Found]:
        """See Remote. Raises `RemoteFailed` for more keys than one sync looks at."""
        del ledger
        count = 0
        async for item in self._client.list_all(self._config.prefix):
            count += 1
            if count > self._keys_max:
                raise RemoteFailed(
                    f"There are more than {self._keys_max} objects under `{self._config.prefix}`.",
                    permanent=True,
                    code="too_large",
                    fix="Set a longer prefix or move old objects away; GRISTMILL_CONNECTOR_KEYS_MAX is the limit.",
                )
            yield self._found(item)

    def _found(self, item: Listed) -> Found:
        key, obstacle = item.key, ""
        if "\x00" in key or any("\ud800" <= char <= "\udfff" or char == "\N{REPLACEMENT CHARACTER}" for char in key):
            key, obstacle = quote(key, errors="replace"), "The key has characters that no text can hold."
        elif item.archived:
            obstacle = f"The object is archived ({item.storage_class}); restore it first."
        return Found(
            key, item.etag, item.size, modified_at=item.last_modified, obstacle=obstacle, ignored=not self._fits(key)
        )

    async def fetch(self, found: Found, entry: Entry | None, landing: Landing) -> Fetched | None:
        """See Remote."""
        del entry
        try:
            head = await read_object(self._client, Version(found.key, found.etag, found.size), landing)
        except S3Error as error:
            if error.status == HTTPStatus.NOT_FOUND:
                raise ObjectGone("The object was deleted after it had been listed.", permanent=True) from None
            raise
        return Fetched(head.etag or found.etag, head.size, head.version, found.modified_at)

    async def send(self, piece: Piece, data: BinaryIO, before: Piece | None, trail: Trail) -> str:
        """See Remote."""
        return await write_once(
            self._client,
            piece.name,
            data,
            size=piece.size,
            sha256=piece.sha256,
            content_type=piece.content_type,
            ours=before.etag if before else None,
            trail=trail,
        )


class S3:
    """See the module."""

    kind = "S3"
    title = "S3 bucket"
    summary = "Files under a prefix of an S3 bucket, or of any store that speaks S3's API."
    Config = S3Config
    push_formats = FORMATS
    secret_values: Mapping[str, str] = {
        "accessKeyId": "Id of an access key.",
        "secretAccessKey": "Its secret.",
        "sessionToken": "Only of a temporary key.",
    }

    def check(self, config: BaseModel, role: Role, secret: Mapping[str, str] | None, door: Door) -> None:
        """See ConnectorKind."""
        del role
        wanted = _config(config)
        door.egress.check_url(f"{_target(wanted).place('')[0]}/")
        if secret is None:
            raise _wrong("secret", "is needed: accessKeyId and secretAccessKey, or a secretRef")
        for name in ("accessKeyId", "secretAccessKey"):
            if not secret.get(name):
                raise _wrong(f"secret.{name}", "is needed")
        if not all(value.isascii() and value.isprintable() for value in secret.values()):
            raise _wrong("secret", "has characters that no access key has")

    def pulls(self, config: BaseModel) -> bool:
        """See ConnectorKind."""
        del config
        return True

    def place(self, config: BaseModel, role: Role) -> str:
        """See ConnectorKind."""
        wanted = _config(config)
        where = f"s3://{wanted.bucket}/{wanted.prefix}"
        if role == "RESULTS_SINK":
            where = f"s3://{wanted.bucket}/{job_key(wanted.prefix, 'job-{jobId}')}"
        return f"{where} at {wanted.endpoint_url}" if wanted.endpoint_url else where

    def host_url(self, config: BaseModel) -> str | None:
        """See ConnectorKind."""
        return f"{_target(_config(config)).place('')[0]}/"

    def policy(self, config: BaseModel, role: Role) -> dict[str, Any] | None:
        """See ConnectorKind."""
        wanted = _config(config)
        partition = "aws-cn" if wanted.region.startswith("cn-") else "aws"
        arn = f"arn:{partition}:s3:::{wanted.bucket}"
        if role == "RESULTS_SINK":
            actions = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:GetObject"]
            statements = [{"Effect": "Allow", "Action": actions, "Resource": f"{arn}/{job_key(wanted.prefix, '*')}"}]
        else:
            under = {"StringLike": {"s3:prefix": [wanted.prefix, f"{wanted.prefix}*"]}}
            statements = [
                {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": arn, "Condition": under},
                {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": f"{arn}/{wanted.prefix}*"},
            ]
        return {"Version": "2012-10-17", "Statement": statements}

    @asynccontextmanager
    async def open(self, config: BaseModel, secret: Mapping[str, str], door: Door) -> AsyncGenerator[_S3Remote]:
        """See ConnectorKind."""
        wanted = _config(config)
        keys = Keys(secret["accessKeyId"], secret["secretAccessKey"], secret.get("sessionToken"))
        async with http_session(door.egress, connections=CONNECTIONS) as session:
            yield _S3Remote(wanted, S3Client(session, door.egress, _target(wanted), keys, door.note), door)

    def pack(self, config: BaseModel, job: Job, form: str, keep: Keep) -> Iterator[Piece]:
        """See ConnectorKind: the file, then its manifest, so that whoever sees the manifest finds the file whole."""
        wanted = _config(config)
        suffix = form.lower()
        name = job_key(wanted.prefix, f"job-{job.id}.{suffix}")
        file = keep(name, "results", MEDIA_TYPES[form], job.file(suffix), job.receipt["rows_in"])
        yield file
        manifest = {
            "jobId": str(job.id),
            "agentId": job.agent_id,
            "workspaceId": job.organization_id,
            "completedAt": job.completed_at,
            "file": {"key": file.name, "format": form, "size": file.size, "sha256": file.sha256, "rows": file.rows},
            "schema": {"columns": [{"name": column} for column in job.columns]},
            "stats": dict(job.stats),
            "receipt": dict(job.receipt),
        }
        yield keep(f"{name}.manifest.json", "manifest", "application/json", [jsons.dumps(manifest)], 0)


def _config(config: BaseModel) -> S3Config:
    if not isinstance(config, S3Config):
        raise TypeError("another kind's config")
    return config


def _target(config: S3Config) -> Target:
    return Target.of(config.bucket, config.region, config.endpoint_url, path_style=config.path_style)


def _wrong(name: str, message: str) -> Invalid:
    return Invalid(f"`{name}` {message}.", errors=(FieldError(name, message),))


PLUGIN = S3()
