"""Rules about the code that no other tool checks: where SQL, frameworks and tenants may be, and what plug-ins know."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from gristmill.base.errors import CODES

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "gristmill"
MIGRATIONS = SOURCE / "migrations"

SQL_FILES = {
    "base/db.py": "roles and the tenant of a transaction",
    "base/migrate.py": "the schema's version and the roles",
    "engine/postgres.py": "makes the embedded database",
    "identity/idempotency.py": "a store of its own",
    "sources/names.py": "reads the catalog of a user's database",
    "sources/rungs.py": "the same",
    "sources/session.py": "the same",
    "sources/kinds/postgres.py": "the same",
    "sources/grammar.py": "words of an error",
    "sources/api.py": "an example in the API's description",
    "sources/sandbox.py": "runs a user's SELECT in a role of its own",
    "datasets/bodies.py": "an example in the API's description",
    "doors/dashboard/dataset_pages.py": "an example in a form",
}
"""Files that hold SQL though they are no store, and why."""
_SQL = re.compile(
    r"\s*(SELECT|INSERT INTO|UPDATE \w+|DELETE FROM|WITH \w+ AS|CREATE|ALTER|DROP|GRANT|REVOKE|SET LOCAL|DO \$\$)\b"
)
FRAMEWORKS = {"fastapi", "starlette"}
FRAMEWORK_FILES = {"api.py", "pages.py"}
NO_NOUNS = {"psycopg", "sqlalchemy", "fastapi", "starlette", "aiohttp", "dbos", "yoyo", "obstore", "uvicorn", "socket"}
"""What a model.py must not know: databases, networks, frameworks."""
FAMILIES = [
    "agents/runtimes",
    "connectors/kinds",
    "enrich/providers",
    "events/channels",
    "sources/kinds",
    "vault/key_sources",
]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def texts(path: Path) -> Iterator[str]:
    """String literals that are no docstrings."""
    docs = {id(node.value) for node in ast.walk(tree(path)) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def imports(path: Path) -> set[str]:
    """Dotted names of everything that a module imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {item.name for item in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{item.name}" for item in node.names)}
    return found


def roots(path: Path) -> set[str]:
    return {name.split(".", 1)[0] for name in imports(path)}


def test_sql_is_in_stores_only() -> None:
    found = [
        name_of(path)
        for path in modules()
        if not path.name.endswith("store.py") and any(_SQL.match(text) for text in texts(path))
    ]
    assert [name for name in found if name not in SQL_FILES] == []
    assert [name for name in SQL_FILES if name not in found] == [], "these need no exception any more"


def test_fastapi_is_at_the_edges_only() -> None:
    allowed = {"base/http.py", "base/routes.py"}
    wrong = [
        name_of(path)
        for path in modules()
        if FRAMEWORKS & roots(path)
        and path.name not in FRAMEWORK_FILES
        and name_of(path) not in allowed
        and path.relative_to(SOURCE).parts[0] != "doors"
    ]
    assert wrong == []


def test_models_know_no_database_network_or_framework() -> None:
    wrong = {name_of(path): NO_NOUNS & roots(path) for path in modules() if path.name == "model.py"}
    assert {name: found for name, found in wrong.items() if found} == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_plug_ins_of_a_family_do_not_know_each_other(family: str) -> None:
    folder = SOURCE / family
    plugins = {path.stem: path for path in folder.glob("*.py") if path.stem != "__init__"}
    package = f"gristmill.{family.replace('/', '.')}"
    assert plugins
    for stem, path in plugins.items():
        others = {f"{package}.{other}" for other in plugins if other != stem}
        assert not others & imports(path), f"{name_of(path)} imports a plug-in of its own family"


def test_every_module_says_what_it_is_for() -> None:
    assert [name_of(path) for path in modules() if not ast.get_docstring(tree(path))] == []


def test_every_code_that_is_raised_is_in_the_table() -> None:
    unknown = [
        f"{name_of(path)}: {item.value.value}"
        for path in modules()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
        for item in node.body
        if isinstance(item, ast.Assign)
        and isinstance(item.targets[0], ast.Name)
        and item.targets[0].id == "code"
        and isinstance(item.value, ast.Constant)
        and item.value.value not in CODES
    ]
    assert unknown == []


@cache
def migrations() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(MIGRATIONS.glob("*.sql")))


def tables() -> dict[str, str]:
    """Name -> body of every table that the migrations make."""
    return dict(re.findall(r"CREATE TABLE (\w+) \((.*?)^\)", migrations(), re.MULTILINE | re.DOTALL))


NO_TENANT = {
    "organization": "is the tenant",
    "worker": "serves all tenants",
    "engine_schema": "one line",
    "master_key": "serves all tenants",
}


def secured() -> set[str]:
    """Tables with row-level security: named one by one, or given to `app_tenant_table`."""
    lists = " ".join(re.findall(r"SELECT app_tenant_table\((.*?;)", migrations(), re.DOTALL))
    single = re.findall(r"ALTER TABLE (\w+) FORCE ROW LEVEL SECURITY", migrations())
    return {*re.findall(r"'(\w+)'", lists), *single}


def test_every_tenant_table_names_its_organization() -> None:
    assert len(tables()) > 10
    column = re.compile(r"^\s+organization_id\s+bigint", re.MULTILINE)
    lacking = [name for name, body in tables().items() if not column.search(body)]
    assert sorted(lacking) == sorted(NO_TENANT)


def test_every_tenant_table_has_row_level_security() -> None:
    assert {name for name in tables() if name not in NO_TENANT} - secured() == set()
    assert "organization" in secured()


def test_migrations_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in sorted(MIGRATIONS.glob("*.sql"))]
    assert numbers == list(range(1, len(numbers) + 1))


# Written in pieces, so that this file is not its own first hit.
FORBIDDEN = re.compile(
    "|".join(["/wo" + "rk/", "/ro" + "ot/[a-z.]", "/opt/py" + "pi", "cla" + "ude", "anthro" + "pic", "sub" + "agent"]),
    re.IGNORECASE,
)
TEAM_FOLDER = re.compile("sha" + "red/(data|spec|design|seeds)")
"""Cases that lie beside the project may be named by tests, which skip where they are not there."""


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_nothing_tells_about_the_machine_or_the_people_it_was_made_with() -> None:
    wrong: list[str] = []
    for path in tracked():
        if path.suffix in {".png", ".ico", ".woff2", ".gz", ".xlsx", ".parquet", ".onnx"}:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        name = path.relative_to(ROOT).as_posix()
        hits = [*FORBIDDEN.finditer(text)]
        if not name.startswith(("tests/", "bench/")):
            hits += TEAM_FOLDER.finditer(text)
        wrong += [f"{name}: {hit[0]}" for hit in hits]
    assert wrong == []
