"""Matching tasks with known answers: public sets that lie beside the project, and tasks derived from them.

A set is a folder `NAME/{left,right,truth}.csv`, with `labelled.csv` where only some pairs were judged. None of it is
part of the project. Derived tasks have fewer matches, other sides, fewer columns, one column, or noise, so that what
works is not the habit of one set. All of it is deterministic.
"""

from __future__ import annotations

import csv
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

SETS = Path(__file__).resolve().parents[2] / "shared" / "data" / "matching"
Rows = list[dict[str, str]]
SHORT = {
    "street": "st", "avenue": "ave", "road": "rd", "boulevard": "blvd", "saint": "st", "hospital": "hosp",
    "company": "co", "limited": "ltd", "university": "univ", "center": "ctr", "international": "intl", "and": "&",
    "north": "n", "south": "s", "east": "e", "west": "w", "library": "lib", "department": "dept",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Task:
    """Two tables and the pairs of row numbers that are the same thing."""

    name: str
    variant: str
    left: Rows
    right: Rows
    truth: frozenset[tuple[int, int]]
    judged: frozenset[tuple[int, int]] | None = None
    """The pairs that were judged at all; None where all were."""

    def with_ids(self) -> tuple[Rows, Rows]:
        """Both tables with opaque ids, as the sets have them: they say nothing about what matches."""
        left = [{"id": f"L{number:06d}", **row} for number, row in enumerate(self.left)]
        return left, [{"id": f"R{number:06d}", **row} for number, row in enumerate(self.right)]

    def f1(self, found: set[tuple[int, int]], *, exact: bool = False) -> float:
        """F1 of found pairs. `exact` leaves out pairs that nobody judged; otherwise they count as wrong."""
        if exact and self.judged is not None:
            found = found & self.judged
        right = len(found & self.truth)
        return 2 * right / max(len(found) + len(self.truth), 1)


def names(sets: Path = SETS) -> list[str]:
    """The sets there are."""
    return sorted(path.parent.name for path in sets.glob("*/truth.csv"))


def load(name: str, sets: Path = SETS) -> Task:
    """A set as it is, without its opaque ids."""
    left, right, pairs = (_read(sets / name / f"{part}.csv") for part in ("left", "right", "truth"))
    row = {item["id"]: number for number, item in enumerate(left)}
    record = {item["id"]: number for number, item in enumerate(right)}
    truth = frozenset((row[item["left_id"]], record[item["right_id"]]) for item in pairs)
    judged = None
    path = sets / name / "labelled.csv"
    if path.is_file():
        judged = frozenset((row[item["left_id"]], record[item["right_id"]]) for item in _read(path))
    return Task(name, "as it is", _without_id(left), _without_id(right), truth, judged)


def _read(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _without_id(rows: Rows) -> Rows:
    return [{name: text for name, text in row.items() if name != "id"} for row in rows]


def derived(task: Task) -> Iterator[Task]:
    """The task and others made of it."""
    yield task
    matched_right = {j for _, j in task.truth}
    matched_left = {i for i, _ in task.truth}

    def chance(variant: str) -> random.Random:
        return random.Random(zlib.crc32(f"{task.name} {variant}".encode()))

    dice = chance("few")
    few = {j for j in range(len(task.right)) if j not in matched_right or dice.random() < 0.3}
    yield _part(task, "few matches", set(range(len(task.left))), few)
    dice = chance("hardly any")
    some = {i for i in range(len(task.left)) if dice.random() < 0.6}
    fewest = {j for j in range(len(task.right)) if j not in matched_right or dice.random() < 0.1}
    yield _part(task, "hardly any", some, fewest)
    yield _part(task, "no match", set(range(len(task.left))), set(range(len(task.right))) - matched_right)
    dice = chance("apart")
    half_left = {i for i in range(len(task.left)) if dice.random() < 0.5}
    partners = {j for i, j in task.truth if i in half_left}
    yield _part(task, "apart", half_left, set(range(len(task.right))) - partners)
    dice = chance("many")
    many = {i for i in range(len(task.left)) if i in matched_left or dice.random() < 0.15}
    yield _part(task, "many matches", many, set(range(len(task.right))))
    dice = chance("dropped")
    columns = list(task.left[0]), list(task.right[0])
    if min(map(len, columns)) > 1:
        a, b = (dice.choice(names) for names in columns)
        yield replace(task, variant="columns dropped", left=_without(task.left, a), right=_without(task.right, b))
        yield replace(task, variant="one column", right=[{"text": " ".join(row.values())} for row in task.right])
    dice = chance("noise")
    noisy = [{f"{name}_x": spoil(text, dice, 1.0) for name, text in row.items()} for row in task.right]
    yield replace(task, variant="noise", right=noisy)
    dice = chance("few, noise")
    few = {j for j in range(len(task.right)) if j not in matched_right or dice.random() < 0.4}
    part = _part(task, "few, noise", set(range(len(task.left))), few)
    yield replace(part, left=[{name: spoil(text, dice, 0.7) for name, text in row.items()} for row in part.left])
    if len(task.left) > 800:
        dice = chance("small")
        some = {i for i in range(len(task.left)) if dice.random() < 0.1}
        half = {j for j in range(len(task.right)) if len(task.right) < 500 or dice.random() < 0.5}
        yield _part(task, "small", some, half)


def doubled(name: str, rows: Rows, overlap: float, noise: float) -> Task:
    """A table against a distorted part of itself: some rows on both sides, others on one, columns renamed and lost."""
    dice = random.Random(zlib.crc32(f"{name} {overlap}".encode()))
    order = list(range(len(rows)))
    dice.shuffle(order)
    both, rest = order[: int(len(rows) * overlap)], order[int(len(rows) * overlap) :]
    left, right = both + rest[: len(rest) // 2], both + rest[len(rest) // 2 :]
    dice.shuffle(left)
    dice.shuffle(right)
    columns = list(rows[0])
    kept_left = [name for name in columns if dice.random() < 0.8] or columns
    kept_right = [name for name in columns if dice.random() < 0.8] or columns
    place = {number: position for position, number in enumerate(right)}
    return Task(
        name,
        f"doubled {overlap:g}",
        [{name: rows[number][name] for name in kept_left} for number in left],
        [{f"{name}2": spoil(rows[number][name], dice, noise) for name in kept_right} for number in right],
        frozenset((position, place[number]) for position, number in enumerate(left) if number in place),
    )


def rewritten(name: str, rows: Rows, overlap: float, lost: float) -> Task:
    """A table against a part of itself in other words: many words are missing or moved, others stand in their place.

    Words with a digit are lost half as often, as a vendor keeps the number of an article that it describes anew.
    """
    task = doubled(name, rows, overlap, 0.5)
    dice = random.Random(zlib.crc32(f"{name} rewritten {overlap}".encode()))
    words = [word for row in rows for text in row.values() for word in text.split() if not _has_digit(word)]

    def again(text: str) -> str:
        kept = [word for word in text.split() if dice.random() >= (lost / 2 if _has_digit(word) else lost)]
        if words and len(text.split()) > 2:
            kept += [dice.choice(words) for _ in range(dice.randrange(int(1 + 6 * lost)))]
        if dice.random() < 0.5 * lost:
            dice.shuffle(kept)
        kept = [word.replace("-", "") if dice.random() < 0.5 else word for word in kept]
        return "" if dice.random() < 0.3 * lost else " ".join(kept) or text

    right = [{column: again(text) for column, text in row.items()} for row in task.right]
    return replace(task, variant=f"doubled, rewritten {overlap:g}", right=right)


def _has_digit(word: str) -> bool:
    return any(map(str.isdigit, word))


def spoil(text: str, dice: random.Random, amount: float) -> str:
    """A text as somebody else may have written it: short forms, typing errors, words lost or moved, capitals."""
    if not text.strip() or dice.random() < 0.08 * amount:
        return "" if text.strip() else text
    words = [SHORT.get(word.lower(), word) if dice.random() < 0.5 * amount else word for word in text.split(" ")]
    words = [_mistyped(word, dice) if dice.random() < 0.08 * amount and not word.isdigit() else word for word in words]
    if len(words) > 2 and dice.random() < 0.15 * amount:
        words.pop(dice.randrange(len(words)))
    if len(words) > 1 and dice.random() < 0.06 * amount:
        at = dice.randrange(len(words) - 1)
        words[at], words[at + 1] = words[at + 1], words[at]
    text = " ".join(words)
    return text.upper() if dice.random() < 0.2 * amount else text


def _mistyped(word: str, dice: random.Random) -> str:
    if len(word) < 4:
        return word
    at = dice.randrange(1, len(word) - 1)
    letter = dice.choice("abcdefghijklmnopqrstuvwxyz")
    return dice.choice(
        (
            word[:at] + word[at + 1 :],
            word[:at] + letter + word[at:],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + letter + word[at + 1 :],
        )
    )


def _without(rows: Rows, column: str) -> Rows:
    return [{name: text for name, text in row.items() if name != column} for row in rows]


def _part(task: Task, variant: str, left: set[int], right: set[int]) -> Task:
    """The task with only some rows of each side."""
    rows, records = sorted(left), sorted(right)
    row = {old: new for new, old in enumerate(rows)}
    record = {old: new for new, old in enumerate(records)}

    def kept(pairs: frozenset[tuple[int, int]]) -> frozenset[tuple[int, int]]:
        return frozenset((row[i], record[j]) for i, j in pairs if i in row and j in record)

    return Task(
        task.name,
        variant,
        [task.left[number] for number in rows],
        [task.right[number] for number in records],
        kept(task.truth),
        None if task.judged is None else kept(task.judged),
    )
