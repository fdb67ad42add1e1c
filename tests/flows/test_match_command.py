"""`gristmill run --match` as a user runs it: two files, a results file with the matches, a receipt."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from flows.processes import Command, Shell, environment
from gristmill.base.db import Database

pytestmark = pytest.mark.xdist_group("run")

ROOT = Path(__file__).parents[2]
CUSTOMERS = """customer,address,tel
HANEY FURNITURE CO,"12 Mill St., Butler",724-654-7732
Blue Harbor Foods Inc.,"4 Quay Road, Kilmore",053 912 9911
Northern Light Press,"9 Storgata, Tromso",
Somebody Else,"1 Unknown Lane, Nowhere",020 7946 0000
HANEY FURNITURE CO,"12 Mill St., Butler",724-654-7732
"""
VENDORS = """vendor_id,name,street,town,phone
V-881,Oak and Sons Ltd,77 High Street,Dorset,01305 250 001
V-204,Haney Furniture Company,12 Mill Street,Butler,+1 (724) 654 7732
V-555,Blue Harbour Foods,4 Quay Rd,Kilmore,+353 53 912 9911
V-019,Northern Light Press AS,Storgata 9,Tromso,+47 776 00 000
V-700,Mill Works,12 Mill Street,Ashford,01233 111 222
"""


@pytest.fixture
def quick(tmp_path: Path, fresh_database: Database) -> Shell:
    made = Shell(tmp_path, environment(tmp_path, GRISTMILL_DATABASE_URL=fresh_database.url))
    made.write("customers.csv", CUSTOMERS)
    made.write("vendors.csv", VENDORS)
    return made


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def done(command: Command, code: int, expected: int = 0) -> None:
    assert code == expected, f"exit code {code}, not {expected}; it said:\n{command.text}"
    assert "Traceback" not in command.text


def test_each_row_gets_its_record_and_the_receipt_closes(quick: Shell) -> None:
    code, said = quick("run", "customers.csv", "--match", "vendors.csv", "-o", "out.csv")
    done(said, code)
    rows = read(quick.folder / "out.csv")
    assert list(rows[0])[:3] == ["customer", "address", "tel"]
    assert list(rows[0])[-4:] == ["referenceId", "matchMethod", "matchConfidence", "explanation"]
    assert [row["referenceId"] for row in rows] == ["V-204", "V-555", "V-019", "", "V-204"]
    assert [row["status"] for row in rows] == ["succeeded", "succeeded", "succeeded", "empty", "duplicate"]
    assert all(0.5 <= float(row["matchConfidence"]) <= 1 for row in rows if row["referenceId"])
    assert "name equal" in rows[0]["explanation"]
    assert "3 rows have a match in vendors.csv, 1 have none. 1 equal rows share" in " ".join(said.text.split())

    code, again = quick("run", "customers.csv", "--match", "vendors.csv", "-o", "again.csv")
    done(again, code)
    assert "Nothing is left to run" in again.text
    assert read(quick.folder / "again.csv") == rows


def test_another_reference_or_setting_is_another_run(quick: Shell) -> None:
    code, said = quick("run", "customers.csv", "--match", "vendors.csv", "-o", "out.csv")
    done(said, code)
    quick.write("vendors.csv", VENDORS.replace("V-204", "V-999"))
    code, said = quick("run", "customers.csv", "--match", "vendors.csv", "-o", "out.csv")
    done(said, code)
    assert read(quick.folder / "out.csv")[0]["referenceId"] == "V-999"
    code, said = quick("run", "customers.csv", "--match", "vendors.csv", "--threshold", "1", "-o", "out.csv")
    done(said, code)
    assert {row["status"] for row in read(quick.folder / "out.csv")} <= {"empty", "duplicate"}
    code, said = quick("run", "customers.csv", "--match", "vendors.csv", "--key", "name", "-o", "out.csv")
    done(said, code)
    assert read(quick.folder / "out.csv")[0]["referenceId"] == "Haney Furniture Company"


def test_what_can_not_be_is_refused_in_one_line(quick: Shell) -> None:
    code, said = quick("run", "customers.csv", "-o", "out.csv")
    done(said, code, 2)
    assert "one of --agent and --match" in " ".join(said.text.split())
    code, said = quick("run", "customers.csv", "--agent", "clean-contacts", "--key", "name")
    done(said, code, 2)
    code, said = quick("run", "customers.csv", "--match", "vendors.csv", "--key", "nope", "-o", "out.csv")
    assert code != 0
    assert "no column `nope`" in " ".join(said.text.split())
    assert "Traceback" not in said.text
    quick.write("empty.csv", "vendor_id,name\n")
    code, said = quick("run", "customers.csv", "--match", "empty.csv", "-o", "out.csv")
    assert code != 0
    assert "no records to match with" in " ".join(said.text.split())
