"""The `match` runtime: which record of a reference each row is; no training, and no network but a chosen embedder's.

How sure a match is, and whether two rows may share a record, only all rows of a batch together can tell. So the rows
of the batch are matched at once when a worker sits down at it, and each row then gets its answer. Every worker finds
the same answers, also after a restart, since they depend on nothing but the rows and the reference.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from gristmill import datasets, matching, tables
from gristmill.agents.runtimes import RowCall, RowFunction, RowResult, RuntimeContext
from gristmill.base import jsons
from gristmill.base.errors import Error, FieldError, Invalid, PluginError

ROWS_MAX = 200_000
"""Most different rows of a batch, and most records of a reference: what two cores match in memory within an hour."""
KEY_FIELD = "_record_key"
"""Column that holds a dataset's record key, unless another column is named as the key."""


class Config(BaseModel):
    """Settings of a matching agent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset_id: int | None = Field(None, ge=1, description="The dataset whose records are the reference.")
    file: str | None = Field(None, max_length=4096, description="A file instead; only `gristmill run` may set it.")
    digest: str | None = Field(None, max_length=64, description="SHA-256 of the file, so that a changed file is new.")
    key: str | None = Field(
        None, max_length=200, description="The reference's id column; the record key of a dataset unless given."
    )
    threshold: float | None = Field(
        None, ge=0, le=1, description="Least confidence of a match. One half unless given; the scale fits each task."
    )
    one_to_one: bool | None = Field(
        None, description="Whether a record may be the match of one row only. Unless given, the data decides."
    )
    semantic: bool = Field(
        False,
        description="Whether names that mean the same are found though they share no word. Each name of rows and"
        " reference is then embedded by the dataset's embedder, which takes time, and costs what that one costs.",
    )


class MatchRuntime:
    """Find the record of a reference that each row is."""

    kind: ClassVar[str] = "match"
    title: ClassVar[str] = "Match rows to a reference"
    Config: ClassVar[type[BaseModel]] = Config

    def check(self, config: Config, context: RuntimeContext) -> None:
        """Refuse a config without exactly one reference, and files where the user is not at their own machine."""
        if config.file is not None and not context.local:
            raise Invalid(
                "Only `gristmill run` may match with a file.", errors=(FieldError("config.file", "must be absent"),)
            )
        if (config.dataset_id is None) == (config.file is None):
            raise Invalid(
                "A matching agent needs a dataset to match with.",
                errors=(FieldError("config.dataset_id", "is required"),),
            )

    def provider_key(self, config: Config) -> str:
        """Matching agents pace themselves apart from each other."""
        return f"match:{config.dataset_id or config.file}"

    @asynccontextmanager
    async def open(self, config: Config, context: RuntimeContext) -> AsyncGenerator[RowFunction]:
        """Read the reference, then match all rows of the batch in the background while rows wait for their answers."""
        matcher = await asyncio.to_thread(_prepared, config, context)
        answers = _in_background(lambda: _answers(matcher, config, context))

        async def call(row: RowCall) -> RowResult:
            found, identity = await _result_of(answers), _identity(row.input)
            if identity not in found:  # a row that was not in the batch when it was matched, as in a single try
                found = await asyncio.to_thread(_match, matcher, config, [row.input])
            return RowResult(found[identity])

        try:
            yield call
        finally:
            answers.cancel()


def file_config(path: Path, *, key: str | None, threshold: float | None, one_to_one: bool | None) -> dict[str, Any]:
    """The config of an agent that matches with a file of the user's machine."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    config = Config(
        dataset_id=None,
        file=str(path.absolute()),
        digest=digest,
        key=key,
        threshold=threshold,
        one_to_one=one_to_one,
        semantic=False,
    )
    return config.model_dump(mode="json")


def _prepared(config: Config, context: RuntimeContext) -> matching.Matcher:
    """A matcher with the reference in it. Raises `Invalid` and what reading the reference raises."""
    key = config.key
    choice = None
    if config.file is not None:
        rows = _at_most(tables.read_table(Path(config.file)).rows(), "file")
    elif config.dataset_id is not None and context.database is not None:
        with context.database.tx(context.organization_id) as tx:
            choice = datasets.embedder_of(tx, context.organization_id, config.dataset_id) if config.semantic else None
            records = datasets.record_rows(tx, context.organization_id, config.dataset_id)
            named = records if key else ((name, {**row, KEY_FIELD: name}) for name, row in records)
            rows = _at_most((row for _, row in named), "dataset")
        key = key or KEY_FIELD
    else:
        raise Invalid("A matching agent needs a dataset to match with.")
    if not rows:
        raise Invalid("The reference has no records to match with.")
    embed = partial(_embed, context, choice) if config.semantic else None
    return matching.Matcher(key=key, embed=embed).prepare(rows)


def _embed(context: RuntimeContext, choice: datasets.EmbedderChoice | None, texts: list[str]) -> Any:
    """Vectors by the dataset's embedder, or the installation's for a file; in a thread, which has no event loop."""
    different = list(dict.fromkeys(texts))
    made = asyncio.run(
        datasets.embed_texts(
            context.settings,
            different,
            choice=choice,
            organization_id=context.organization_id,
            database=context.database,
        )
    )
    place = {text: number for number, text in enumerate(different)}
    return made[[place[text] for text in texts]]


def _at_most(rows: Iterable[Mapping[str, Any]], what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for row in rows:
        if len(found) == ROWS_MAX:
            raise Invalid(f"The {what} has more than {ROWS_MAX:,} rows; that is the most that are matched at once.")
        found.append(dict(row))
    return found


def _answers(matcher: matching.Matcher, config: Config, context: RuntimeContext) -> dict[bytes, dict[str, Any] | None]:
    """Identity of each different row of the batch -> its result."""
    different: dict[bytes, dict[str, Any]] = {}
    for row in context.inputs() if context.inputs is not None else ():
        different.setdefault(_identity(row), row)
        if len(different) > ROWS_MAX:
            raise Invalid(f"The batch has more than {ROWS_MAX:,} different rows; that is the most matched at once.")
    return _match(matcher, config, list(different.values()))


def _match(matcher: matching.Matcher, config: Config, rows: list[dict[str, Any]]) -> dict[bytes, dict[str, Any] | None]:
    one_to_one = "auto" if config.one_to_one is None else config.one_to_one
    found: dict[bytes, dict[str, Any] | None] = {_identity(row): None for row in rows}
    for item in matcher.match(rows, threshold=config.threshold, one_to_one=one_to_one):
        found[_identity(rows[item.left])] = {
            "referenceId": item.reference_id,
            "matchMethod": item.method,
            "matchConfidence": item.confidence,
            "explanation": item.explanation,
        }
    return found


def _identity(row: Mapping[str, Any]) -> bytes:
    return jsons.dumps_sorted(row)


def _in_background(work: Callable[[], Any]) -> asyncio.Future[Any]:
    """Run in a thread that does not keep the process alive; the loop's own threads would be waited for at its end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def finish(value: Any, error: BaseException | None) -> None:
        if not future.done():
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
                future.exception()  # seen: no row may ask for it any more

    def run() -> None:
        try:
            value, error = work(), None
        except BaseException as problem:  # noqa: BLE001 - handed to whoever waits
            value, error = None, problem
        if not loop.is_closed():
            loop.call_soon_threadsafe(finish, value, error)

    threading.Thread(target=run, name="match", daemon=True).start()
    return future


async def _result_of(answers: asyncio.Future[Any]) -> dict[bytes, dict[str, Any] | None]:
    try:
        return await asyncio.shield(answers)
    except PluginError:
        raise
    except Error as error:
        raise PluginError(error.message, permanent=True, code=error.code) from error


PLUGIN = MatchRuntime()
