"""How good enrichment from the agent's own datasets is: precision and recall per field, with and without variants.

Leads and registries are real public tables that lie beside the project (their README says where they are from). Where
two tables of the same places exist, one is the leads and the other the registry. Otherwise one table is both: the leads
get the name that an invoice would have and a billing address, the registry keeps the trade name, and the trade name is
a search variant of the lead. What is to be found is hidden from the leads.
"""

from __future__ import annotations

import asyncio
import csv
import io
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import HERE

DATA = HERE.parents[1] / "shared" / "data"
BINS = 10
Row = Mapping[str, str]


@dataclass(frozen=True)
class Lead:
    """A lead, what finds it beside, and what is to be found."""

    input: dict[str, str]
    variants: dict[str, str]
    truth: dict[str, str]
    """Field -> value; empty where there is nothing to be found."""


@dataclass(frozen=True)
class Case:
    """Leads and the registry that knows more of them."""

    name: str
    region: str
    registry: list[dict[str, str]]
    leads: list[Lead]


def _table(path: Path) -> list[dict[str, str]]:
    from gristmill import tables  # noqa: PLC0415 - after the environment is set

    return list(tables.read_table(path).rows())


def _file(start: str) -> Path:
    return next((DATA / "csv" / "files").glob(f"{start}_*"))


def libraries() -> Case:
    """Two lists of English libraries: the leads without their e-mail, the registry with it."""
    registry = _table(_file("afad4a28f8"))
    leads = [
        Lead(
            {"company": row["name"], "street": row["address"], "zip": row["postcode"]},
            {},
            {"email": row["email"].lower().strip()},
        )
        for row in _table(_file("323970fef5"))
        if row["name"]
    ]
    return Case("libraries (two lists)", "GB", registry, leads)


def _matched(name: str, region: str, lead: Callable[[Row], dict[str, str]], phone: Callable[[str], str]) -> Case:
    folder = DATA / "matching" / name
    truth = {row["left_id"]: row["right_id"] for row in _table(folder / "truth.csv")}
    right = {row["id"]: row for row in _table(folder / "right.csv")}
    registry = [{**row, "phone": phone(row["phone"])} for row in right.values()]
    leads = [
        Lead(lead(row), {}, {"phone": phone(right[truth[row["id"]]]["phone"]) if row["id"] in truth else ""})
        for row in _table(folder / "left.csv")
    ]
    return Case(
        f"{name} (two tables)", region, [{k: v for k, v in row.items() if k != "id"} for row in registry], leads
    )


def restaurants() -> Case:
    """Two restaurant guides."""
    return _matched(
        "restaurants",
        "US",
        lambda row: {"company": row["name"], "street": row["addr"], "city": row["city"]},
        lambda text: text.replace("/", "-"),
    )


def hotels() -> Case:
    """Two hotel lists; addresses in one line on the left, in parts on the right."""
    return _matched(
        "hotels",
        "IT",
        lambda row: {"company": row["name"], "street": row["address"].split(",")[0], "city": row["address"]},
        lambda text: text,
    )


def _one_table(
    name: str, start: str, names: tuple[str, str], place: dict[str, str], truth: dict[str, str], hidden: set[str]
) -> Case:
    """Leads by one name of the table's, the registry by the other."""
    rows = [row for row in _table(_file(start)) if row[names[0]] and row[names[1]] and row[names[0]] != row[names[1]]]
    registry = [{key: value for key, value in row.items() if key not in hidden} for row in rows]
    leads = [
        Lead(
            {"company": row[names[0]], **{field: row[column] for field, column in place.items()}},
            {names[1]: row[names[1]]},
            {field: " ".join(row[part] for part in columns.split("+")) for field, columns in truth.items()},
        )
        for row in rows
    ]
    return Case(name, "US", registry, leads)


def cases() -> Iterator[Case]:
    """All of them; none where the data is not there."""
    if not DATA.is_dir():
        return
    yield libraries()
    yield restaurants()
    yield hotels()
    yield _one_table(
        "health facilities (operator)",
        "e2d0ff85e5",
        ("Operator Name", "Facility Name"),
        {"street": "Operator Address 1", "zip": "Operator Zip Code"},
        {"phone": "Facility Phone Number"},
        {"Operator Name", "Operator Address 1", "Operator Address 2", "Operator City", "Operator Zip Code"},
    )
    yield _one_table(
        "bars (corporation)",
        "a997bab186",
        ("CorpName", "TradeName"),
        {"zip": "AddrZip"},
        {"contact": "LicenseeFirstName+LicenseeLastName"},
        {"CorpName"},
    )


@dataclass
class Score:
    """What was found of what was hidden."""

    leads: int = 0
    hidden: int = 0
    right: int = 0
    wrong: int = 0
    confidences: list[tuple[float, bool]] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.confidences = []

    @property
    def precision(self) -> float:
        return self.right / max(self.right + self.wrong, 1)

    @property
    def recall(self) -> float:
        return self.right / max(self.hidden, 1)


def score(case: Case, field: str, results: list[dict[str, Any] | None]) -> Score:
    """The surest value of the field against the truth."""
    from gristmill.enrich.normalise import person, person_key, phones  # noqa: PLC0415 - after the environment is set

    def form(text: str) -> set[str]:
        if field == "phone":
            return {number["e164"] for number in phones(text, case.region)}
        if field == "contact":
            found = person(text)
            return {" ".join(person_key(found))} if found else set()
        return {text.lower().strip()} if text.strip() else set()

    key = {"phone": ("phones", "e164"), "email": ("emails", "address"), "contact": ("contacts", "display_name")}[field]
    total = Score(leads=len(case.leads))
    for lead, result in zip(case.leads, results, strict=True):
        wanted = form(lead.truth.get(field, ""))
        total.hidden += bool(wanted)
        entries = (result or {}).get(key[0], [])
        if entries:
            right = bool(form(entries[0][key[1]]) & wanted)
            total.right += right
            total.wrong += not right
            total.confidences.append((entries[0]["confidence"], right))
    return total


def calibration(pairs: list[tuple[float, bool]]) -> float:
    """Expected calibration error: how far said confidence is from the share that was right, by tenths."""
    error = 0.0
    for low in range(BINS):
        inside = [
            pair for pair in pairs if low / BINS <= pair[0] < (low + 1) / BINS or (pair[0] == 1 and low == BINS - 1)
        ]
        if inside:
            said, right = (sum(pair[place] for pair in inside) / len(inside) for place in (0, 1))
            error += abs(said - right) * len(inside) / len(pairs)
    return error


def as_csv(rows: list[dict[str, str]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


async def hunt_all(runtime: Any, context: Any, config: Any, leads: list[dict[str, Any]]) -> tuple[list[Any], float]:
    """Results of all leads, a few at a time, and the seconds it took."""
    from gristmill.agents import RowCall  # noqa: PLC0415 - after the environment is set
    from gristmill.base.ids import batch_uuid, row_uuid  # noqa: PLC0415

    batch, gate = batch_uuid(), asyncio.Semaphore(4)
    begun = time.monotonic()
    async with runtime.open(config, context) as function:

        async def one(number: int, lead: dict[str, Any]) -> Any:
            async with gate:
                return (await function(RowCall(row_uuid(batch, number), number, 1, lead, 60.0, last=True))).value

        results = await asyncio.gather(*(one(number, lead) for number, lead in enumerate(leads, start=1)))
    return results, time.monotonic() - begun
