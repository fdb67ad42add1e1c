"""Mapping columns to lead fields: right fields and right files on labelled tables, beside simpler mappers.

    python bench/mapping.py [CASES]

CASES is a folder of labelled tables with their scorer. The published line is what others measured on tables of the same
collection that are not in the folder.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rapidfuzz import fuzz, process

from gristmill.base.errors import Error
from gristmill.mapping import SAMPLE_ROWS, header_rules, headings, propose_for_rows
from gristmill.mapping.evidence import decide
from gristmill.mapping.obvious import PLAIN
from gristmill.mapping.sheet import read_sheet
from gristmill.mapping.variants import variants
from gristmill.mapping.words import Lexicon, left_out_words
from gristmill.tables import read_table

CASES = Path(__file__).parents[2] / "shared" / "data" / "csv"
FIELDS = ("contact_id", "company", "street", "city", "state", "zip", "number1", "number2", "dm_name")
LIKENESS_MIN = 80
ROUNDS, LEFT_OUT = 10, 0.25
PUBLISHED = (
    ("regular expressions and synonyms", 0.856, 0.41),
    ("rapidfuzz", 0.677, 0.16),
    ("tabularmapper", 0.674, 0.18),
    ("mapmonkey", 0.668, 0.19),
    ("valentine, COMA", 0.377, 0.01),
)
"""Mapper, micro F1, share of files with every field right; by the authors of the cases, on files that are not here."""

Answer = Mapping[str, Any]
Mapper = Callable[[Sequence[str] | None, Sequence[Sequence[str]], int], Answer]


def gristmill(header: Sequence[str] | None, rows: Sequence[Sequence[str]], width: int) -> Answer:
    """The mapper of this project, all but a language model."""
    if header is not None and len(header) == width:
        found = propose_for_rows(header, rows)
        fields = {name: list(item.columns) or None for name, item in found.fields.items()}
        return {"map": fields, "variants": list(found.variants)}
    decision = decide(read_sheet(header, rows, width))
    fields = {name: list(item.columns) if item else None for name, item in decision.choice.items()}
    used = {index for columns in fields.values() for index in columns or ()}
    return {"map": fields, "variants": list(variants(decision.sheet, used))}


def same_names(header: Sequence[str] | None, rows: Sequence[Sequence[str]], width: int) -> Answer:
    """A list of plain headers, compared exactly."""
    del rows, width
    names = {name: field for field, plain in PLAIN.items() for name in plain}
    found: dict[str, list[int]] = {}
    for index, text in enumerate(header or ()):
        name = names.get(headings.plain(text), "")
        if name in FIELDS and name not in found:
            found[name] = [index]
    return {"map": found}


def fuzzy(header: Sequence[str] | None, rows: Sequence[Sequence[str]], width: int) -> Answer:
    """The same list, by the likeness of letters (rapidfuzz)."""
    del rows, width
    taken: set[int] = set()
    found: dict[str, list[int]] = {}
    texts = [headings.plain(text) for text in header or ()]
    for name in FIELDS:
        scored = [
            (best[1], -index)
            for index, text in enumerate(texts)
            if text
            and index not in taken
            and (best := process.extractOne(text, PLAIN.get(name, ()), scorer=fuzz.ratio))
        ]
        if scored and max(scored)[0] >= LIKENESS_MIN:
            index = -max(scored)[1]
            taken.add(index)
            found[name] = [index]
    return {"map": found}


def measure(mapper: Mapper, tables: Sequence[Any], scorer: Any) -> tuple[dict[str, Any], float]:
    """The score of a mapper and its CPU seconds."""
    started = time.process_time()
    answers = {case["id"]: mapper(header, rows, width) for case, header, rows, width in tables}
    spent = time.process_time() - started
    return scorer.score([case for case, *_ in tables], answers), spent


def load(folder: Path) -> list[tuple[Any, Sequence[str] | None, list[list[str]], int]]:
    """Case, header, rows and width of every labelled table."""
    found: list[Any] = []
    for line in (folder / "mapping_cases.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        try:
            table = read_table(folder / case["file"])
            found.append((case, table.header, list(islice(table.records(), SAMPLE_ROWS)), len(table.columns)))
        except Error as error:
            print(f"{case['file']}: {error.message}")
    return found


def scorer_of(folder: Path) -> Any:
    """The scorer that came with the cases."""
    spec = importlib.util.spec_from_file_location("score_mapping", folder / "tools" / "score_mapping.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def line(name: str, score: Mapping[str, Any], note: str = "") -> None:
    """One line of the table."""
    micro, whole, more = score["micro_strict"][2], score["exact_file"], score["variants"][2]
    print(f"  {name:42} {micro:6.3f} {whole:9.0%} {more:10.3f}  {note}")


def leave_out(number: int) -> None:
    """Forget a share of the header words, another one for each number; -1 knows them all again."""
    lexicon = Lexicon(left_out_words(number, LEFT_OUT) if number >= 0 else ())
    header_rules.lexicon = lambda: lexicon
    headings.read_header.cache_clear()


def main() -> None:
    """Print the table."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else CASES
    if not folder.is_dir():
        print(f"There are no labelled tables at {folder}.")
        return
    tables, scorer = load(folder), scorer_of(folder)
    headless = [item for item in tables if item[0]["headers"] is None]
    print(f"Lead fields of {len(tables)} labelled tables ({len(headless)} without a header); no network, no model.")
    print(f"  {'':42} {'F1':>6} {'whole file':>10} {'variants':>9}")
    for name, mapper in (
        ("gristmill", gristmill),
        ("plain names, exact", same_names),
        ("plain names, rapidfuzz", fuzzy),
    ):
        score, spent = measure(mapper, tables, scorer)
        line(name, score, f"{1000 * spent / len(tables):.1f} ms CPU a table")
    if headless:
        line("gristmill, tables without a header", measure(gristmill, headless, scorer)[0])
    results: list[dict[str, Any]] = []
    for number in range(ROUNDS):
        leave_out(number)
        results.append(measure(gristmill, tables, scorer)[0])
    leave_out(-1)
    mean = {
        "micro_strict": [sum(item["micro_strict"][at] for item in results) / ROUNDS for at in range(3)],
        "exact_file": sum(item["exact_file"] for item in results) / ROUNDS,
        "variants": [sum(item["variants"][at] for item in results) / ROUNDS for at in range(3)],
    }
    line(f"gristmill without {LEFT_OUT:.0%} of its words", mean, "what tables with new words may look like")
    print("  Published, on other tables of the same collection:")
    for name, micro, whole in PUBLISHED:
        print(f"  {name:42} {micro:6.3f} {whole:9.0%}")


if __name__ == "__main__":
    main()
