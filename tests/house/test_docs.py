"""Rules about the docs: complete, fresh, and leading nowhere that is not there."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psycopg
import pytest
import typer

from gristmill.agents import templates
from gristmill.base.config import Settings, setting_lines
from gristmill.base.errors import CODES
from gristmill.doors.cli import app
from gristmill.events.model import KINDS

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
SKIPPED = frozenset({".venv", ".tools", ".git", "node_modules", "out", ".gristmill"})

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """Every Markdown file of the project."""
    return sorted(path for path in ROOT.rglob("*.md") if not SKIPPED & set(path.relative_to(ROOT).parts))


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture(scope="session")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "tools" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module
    spec.loader.exec_module(module)
    return module


def named(page: str, names: Iterator[str] | list[str], form: str = "`{}`") -> list[str]:
    text = (REFERENCE / page).read_text(encoding="utf-8")
    return [name for name in names if form.format(name) not in text]


def test_every_error_code_is_in_the_reference() -> None:
    assert named("errors.md", list(CODES)) == []


def test_every_setting_is_in_the_reference_with_its_meaning() -> None:
    lines = setting_lines(Settings())
    assert named("settings.md", [line.env for line in lines]) == []
    assert [line.env for line in lines if not line.meaning] == []


def test_every_command_is_in_the_reference_with_help_and_an_example() -> None:
    commands = typer.main.get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    assert named("cli.md", list(commands), "## gristmill {}\n") == []
    assert [name for name, command in commands.items() if not command.help or "Example" not in command.epilog] == []


def test_every_event_kind_is_in_the_reference() -> None:
    assert named("events.md", list(KINDS)) == []


def test_every_plug_in_is_in_the_reference(generator: ModuleType) -> None:
    assert len(generator.PAGES) > 5
    for name, (_, _, family) in generator.PAGES.items():
        assert named(f"{name}.md", list(generator.shipped(family)), "## {}\n") == [], name


def test_every_template_is_in_the_reference() -> None:
    assert named("templates.md", [item.slug for item in templates()], "## {}\n") == []


def test_every_code_of_a_failed_row_is_in_the_concepts() -> None:
    text = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    codes = {
        *re.findall(r'PluginError\([^()]*(?:\([^()]*\)[^()]*)*code="(\w+)"', source),
        "input_invalid",
        "worker_lost",
    }
    assert codes
    assert sorted(code for code in codes if f"`{code}`" not in text) == []


@pytest.mark.parametrize("table", ["TRANSITIONS", "ROW_TRANSITIONS"])
def test_the_transition_tables_of_the_concepts_are_those_of_the_code(table: str) -> None:
    from gristmill.batches import model  # noqa: PLC0415 - named by the parameter

    text = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    heading = {"TRANSITIONS": "## Batch states", "ROW_TRANSITIONS": "## Row states"}[table]
    section = text.split(heading, 1)[1].split("\n## ", 1)[0]
    told = {
        row[1]: frozenset(re.findall(r"`(\w+)`", row[2]))
        for row in re.finditer(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", section, re.MULTILINE)
    }
    assert told == getattr(model, table)


NO_SERVER_NEEDED = [
    "ARCHITECTURE.md",
    "docs/reference/errors.md",
    "docs/reference/settings.md",
    "docs/reference/cli.md",
    "docs/reference/events.md",
    "docs/reference/channels.md",
    "docs/reference/connectors.md",
    "docs/reference/embedders.md",
    "docs/reference/key-sources.md",
    "docs/reference/providers.md",
    "docs/reference/runtimes.md",
    "docs/reference/templates.md",
    "docs/reference/api.md",
    "openapi.json",
]


@pytest.mark.parametrize("name", NO_SERVER_NEEDED)
def test_generated_files_are_fresh(generator: ModuleType, name: str) -> None:
    assert generator.stale([name]) == [], "run `make docs`"


def test_every_generated_file_is_tested(generator: ModuleType) -> None:
    assert {*NO_SERVER_NEEDED, "schema.sql"} == set(generator.FILES)


def test_schema_sql_is_what_the_migrations_make(generator: ModuleType, server_url: str) -> None:
    kept = (ROOT / "schema.sql").read_text(encoding="utf-8")
    assert kept == generator.schema_of(server_url), "run `make docs`"


def test_schema_sql_makes_the_same_schema_from_scratch(generator: ModuleType, server_url: str, template: str) -> None:
    del template  # its migration has made the roles
    kept = (ROOT / "schema.sql").read_text(encoding="utf-8")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE gm_from_scratch")
    url = generator.database_url(server_url, "gm_from_scratch")
    with psycopg.connect(url) as connection:
        connection.execute(kept)  # pyright: ignore[reportArgumentType, reportCallIssue]  # our own file
    assert generator.dump(url) == kept


def test_paths_in_the_architecture_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:src|tests|tools|docs|examples)/[\w./-]*)`", text)
    assert len(paths) > 50
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_dependency_is_told_in_the_architecture() -> None:
    import tomllib  # noqa: PLC0415 - only here

    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split("## Runtime dependencies", 1)[1]
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    names = [re.split(r"[\[<>=;]", line, maxsplit=1)[0].strip() for line in declared]
    assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    broken: list[str] = []
    for link in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target) if target else page
        if not path.exists() or (anchor and anchor not in anchors(path.read_text(encoding="utf-8"))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_code_in_the_docs_parses(page: Path) -> None:
    import tomllib  # noqa: PLC0415 - only here

    import yaml  # noqa: PLC0415 - only here

    for language, code in _FENCE.findall(page.read_text(encoding="utf-8")):
        assert language, f"a block without a language: {code[:40]}"
        if language == "python":
            compile(code, str(page), "exec")
        elif language == "yaml":
            assert yaml.safe_load(code)
        elif language == "toml":
            assert tomllib.loads(code)


def test_settings_named_in_the_docs_exist() -> None:
    known = {line.env for line in setting_lines(Settings())}
    patterns = ("GRISTMILL_SOURCE_", "GRISTMILL_AGENT_")  # names that users choose
    unknown = {
        f"{page.name}: {name}"
        for page in pages()
        for name in re.findall(r"GRISTMILL_[A-Z0-9_]*[A-Z0-9]", page.read_text(encoding="utf-8"))
        if name not in known and not name.startswith(patterns) and name not in {"GRISTMILL_SOURCE", "GRISTMILL_AGENT"}
    }
    assert unknown == set()


def test_pages_load_nothing_from_elsewhere() -> None:
    kinds = {".html", ".js", ".css", ".svg", ".jinja", ".j2"}
    files = [path for path in (ROOT / "src").rglob("*") if path.suffix in kinds]
    asset = re.compile(
        r"""(?:src|href)\s*=\s*["']\s*(?:https?:)?//|url\(\s*["']?(?:https?:)?//|@import\s+["']https?:"""
    )
    assert [str(path) for path in files if asset.search(path.read_text(encoding="utf-8"))] == []
