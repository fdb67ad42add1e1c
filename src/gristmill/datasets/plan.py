"""What processing would do, before anything is done: the first pass, and a rendering of the rows that are new."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

import numpy as np

from gristmill.base.config import Settings
from gristmill.base.db import Database
from gristmill.base.money import usd
from gristmill.datasets import build_store, service
from gristmill.datasets.build import file_receipt, known_records, live_records, needs_confirmation
from gristmill.datasets.embedders import EmbedderContext, Model, embedders, parse_config
from gristmill.datasets.files import open_table
from gristmill.datasets.keys import text_hash
from gristmill.datasets.model import Estimate, Plan, Receipt, Work
from gristmill.datasets.render import Renderer, compiled, recipe
from gristmill.datasets.survey import Survey, compare, reuse, survey
from gristmill.datasets.writing import DUPLICATE, EMPTY, FAILED, RECORD
from gristmill.tables import Table

ROWS_AT_ONCE = 512
HASHES_AT_ONCE = 10_000
MILLION = 1_000_000


def plan(
    database: Database, settings: Settings, scope: service.Scope, dataset_id: int, changes: service.Changes
) -> Plan:
    """Compare a file with what is searched. Raises what `prepare` raises; no transaction may be open."""
    with database.tx(scope.organization_id) as tx:
        row = service.row_of(tx, scope, dataset_id)
    draft, file = changes.apply(service.draft_of(row)), changes.file or service.file_of(row)
    service.prepare(settings, draft, file)
    work = Work(
        scope.organization_id,
        dataset_id,
        UUID(int=0),
        0,
        row["revision"],
        0,
        row["version"],
        False,
        draft,
        file,
    )
    return _Planner(database, settings, work).plan()


class _Planner:
    """One plan on its way."""

    def __init__(self, database: Database, settings: Settings, work: Work) -> None:
        self._database = database
        self._settings = settings
        self._work = work
        self._embedder = embedders.get(work.draft.embedder.kind)
        config = parse_config(self._embedder, work.draft.embedder.config)
        context = EmbedderContext(settings, work.organization_id, database)
        self._model: Model = self._embedder.model(config, context)
        self._recipe = recipe(work.draft, self._model)
        self._tokens = 0
        self._needed = 0

    def plan(self) -> Plan:
        work = self._work
        with open_table(self._settings, work.file) as table:
            found = survey(table, work.draft.primary_key_field, self._settings.dataset_rows_max)
            with self._database.tx(work.organization_id) as tx:
                known = known_records(tx, work, self._recipe)
                live = build_store.find_live(tx, work) if work.active is not None else None
            status = np.where(found.who.keep, RECORD, DUPLICATE).astype(np.uint8)
            fresh = (reuse(found.who, known) < 0) & found.who.keep
            self._count_new(table, fresh.tolist(), status)
            before = live_records(known, live)
            records = np.flatnonzero(status == RECORD)
            same_recipe = live is not None and live["recipe"] == self._recipe
            who = found.who
            difference = compare(who.keys[records], who.contents[records], before, same_recipe=same_recipe)
            share_max = self._settings.dataset_removal_share_max
            confirm = needs_confirmation(work, live, difference, len(before.keys), share_max)
            return Plan(
                **asdict(difference),
                embeddings_needed=self._needed,
                estimate=self._estimate(),
                receipt=_receipt(table, found, status),
                needs_confirmation=confirm,
                warnings=list(table.receipt.warnings),
            )

    def _count_new(self, table: Table, fresh: Sequence[bool], status: Any) -> None:
        """Render the rows that are new and count the texts among them that were never embedded."""
        if not any(fresh):
            return
        draft = self._work.draft
        typed = self._work.file.type == "json"
        template = compiled(draft.template, draft.options, typed=typed)
        names = [column.name for column in table.columns]
        renderer = Renderer(template, names, self._embedder, self._model.window)
        waiting: dict[bytes, str] = {}
        seen: set[bytes] = set()
        for numbers, rows, values in _fresh_rows(table, fresh):
            for number, item in zip(numbers, renderer.render(rows, values if typed else None), strict=True):
                if not item.texts:
                    status[number] = FAILED if item.reason else EMPTY
                for text in item.texts:
                    waiting.setdefault(text_hash(text), text)
            if len(waiting) >= HASHES_AT_ONCE:
                self._look_up(waiting, seen)
                waiting = {}
        self._look_up(waiting, seen)

    def _look_up(self, texts: dict[bytes, str], seen: set[bytes]) -> None:
        with self._database.tx(self._work.organization_id) as tx:
            known = build_store.find_known(tx, self._work.organization_id, self._model.name, list(texts))
        new = {item: text for item, text in texts.items() if item not in known and item not in seen}
        seen |= new.keys()
        self._needed += len(new)
        self._tokens += sum(self._embedder.count(list(new.values()))) if new else 0

    def _estimate(self) -> Estimate:
        price = self._model.price_micro_usd_per_million_tokens
        cost = -(-self._tokens * price // MILLION)
        return Estimate(round(self._needed / self._model.texts_per_s, 1), self._tokens, usd(cost), cost)


def _fresh_rows(table: Table, fresh: Sequence[bool]) -> Iterator[tuple[list[int], list[list[str]], list[Any]]]:
    numbers: list[int] = []
    rows: list[list[str]] = []
    values: list[Any] = []
    number = -1
    for group in table.groups():
        for row, value in zip(group.rows, group.values or [None] * len(group.rows), strict=True):
            number += 1
            if fresh[number]:
                numbers.append(number)
                rows.append(row)
                values.append(value)
            if len(rows) >= ROWS_AT_ONCE:
                yield numbers, rows, values
                numbers, rows, values = [], [], []
    if rows:
        yield numbers, rows, values


def _receipt(table: Table, found: Survey, status: Any) -> Receipt:
    records, duplicates, empties, failures = (
        int((status == kind).sum()) for kind in (RECORD, DUPLICATE, EMPTY, FAILED)
    )
    return Receipt(found.rows, records, duplicates, empties, failures, file_receipt(table))
