# ruff: noqa: INP001 - a script, not a package
"""Write the SQL guard's lists of built-in functions from the catalogs of real servers.

    python tools/sql_functions.py "host=/run/pg15 dbname=postgres" "host=/run/pg18 dbname=postgres"

Two files come out, both package data of `gristmill.sources`:

- `functions.txt`: names a query may call. A name is in it when some server has it and no server has
  an overload of it that is refused. The guard only sees names, so one bad overload spoils the name.
- `functions_refused.txt`: refused names that can be called with one argument. PostgreSQL runs them for
  a mere column reference as well (`q.pg_sleep` where `q` is an alias of a function in FROM), so the
  guard must know them. Harmless machinery (`time_in`) is left out: columns have such names.

Refused are: volatile functions (except the clock and chance), functions whose arguments or result are
machinery (`cstring`, `internal`, handlers: `domain_in` would run any domain's CHECK), functions that
answer nothing, and STABLE ones that tell about the server instead of the data.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import psycopg

FOLDER = Path(__file__).parents[1] / "src" / "gristmill" / "sources"

VOLATILE_BUT_HARMLESS = frozenset(
    [
        "array_sample",
        "array_shuffle",
        "clock_timestamp",
        "gen_random_uuid",
        "random",
        "random_normal",
        "timeofday",
        "uuidv4",
        "uuidv7",
    ]
)

PG_BUT_HARMLESS = frozenset({"pg_collation_for", "pg_column_size"})

LEAKY = re.compile(
    r"pg_.*|lo_.*|binary_upgrade_.*|to_reg.*|reg.*|has_.*_privilege|txid_.*|.*_to_xml|.*_to_xmlschema"
    r"|.*_to_xml_and_xmlschema|inet_(client|server)_.*|current_.*|session_user|system_user|getpgusername"
    r"|getdatabaseencoding|get_current_ts_config|version|icu_unicode_version|unicode_version"
    r"|row_security_active|mxid_age|(col|obj|shobj)_description|format_type|oidvectortypes|.*acl.*"
    r"|satisfies_hash_partition|postgresql_fdw_validator|amvalidate|ts_debug|ts_parse|ts_token_type"
    # These convert JSON to a table's row type and so run the CHECKs of its domains.
    r"|jsonb?_populate_record(set)?|jsonb_populate_record_valid"
)

NOT_LEAKY = re.compile(r"regexp_.*|regr_.*")

FACTS = r"""
WITH f AS (
    SELECT p.proname::text AS name, p.provolatile = 'v' AS volatile,
           p.prorettype = 'void'::regtype OR p.prokind = 'p' AS silent,
           EXISTS (SELECT FROM unnest(p.proargtypes || p.prorettype) AS a(oid)
                   JOIN pg_type AS t ON t.oid = a.oid
                   WHERE t.typname = '_cstring' OR t.typtype = 'p' AND t.typname !~ '^(any|_?record$)')
               AS machinery,
           EXISTS (SELECT FROM pg_type AS t
                   WHERE p.oid IN (t.typinput, t.typoutput, t.typreceive, t.typsend)) AS in_out,
           p.proargtypes[0] IS DISTINCT FROM 'internal'::regtype
               AND (p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1 OR p.provariadic <> 0) AS single
    FROM pg_proc AS p
    WHERE p.oid < 16384 AND p.pronamespace = 'pg_catalog'::regnamespace
)
SELECT name, bool_or(volatile), bool_or(silent OR machinery OR in_out),
       bool_or(single), bool_or(single AND NOT in_out AND (volatile OR silent))
FROM f GROUP BY name
"""


def leaky(name: str) -> bool:
    """Whether a function of this name tells about the server, its catalogs or its files."""
    return bool(LEAKY.fullmatch(name)) and not NOT_LEAKY.fullmatch(name) and name not in PG_BUT_HARMLESS


def main(servers: list[str]) -> None:
    """Read every server, write both files."""
    seen: set[str] = set()
    bad: set[str] = set()
    by_column: set[str] = set()
    versions: list[str] = []
    for server in servers:
        with psycopg.connect(server) as connection:
            versions.append(str(connection.info.server_version // 10000))
            for name, volatile, machinery, single, single_effect in connection.execute(FACTS):
                seen.add(name)
                effect = volatile and name not in VOLATILE_BUT_HARMLESS
                if effect or machinery or leaky(name):
                    bad.add(name)
                if (single and leaky(name)) or (single_effect and effect):
                    by_column.add(name)
    made = f"# Made by tools/sql_functions.py from PostgreSQL {', '.join(versions)}; don't edit by hand.\n"
    write(FOLDER / "functions.txt", made + "# Built-in functions that a query may call.\n", seen - bad)
    write(
        FOLDER / "functions_refused.txt",
        made + "# Built-ins that a column reference could call (one argument) and must not.\n",
        by_column,
    )


def write(path: Path, header: str, names: set[str]) -> None:
    """One name per line, sorted, so that a new server version shows as a readable diff."""
    path.write_text(header + "".join(f"{name}\n" for name in sorted(names)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
