"""What `--agent` may be: an agent's name, an agent file, `module:function`, or a URL."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from gristmill import agents
from gristmill.agents import Agent
from gristmill.agents.api import AgentCreate, agent_values
from gristmill.base.db import Tx
from gristmill.base.errors import FieldError, Invalid, NotFound

FILE_BYTES_MAX = 1024**2
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """An agent as the command line names it."""

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    """Its settings; empty when only the name of a saved agent was given."""


def spec_of(text: str) -> AgentSpec:
    """Read `--agent`. Raises `Invalid` for a file that is no agent."""
    if text.startswith(("http://", "https://")):
        return AgentSpec(text, {"name": text[:200], "runtime": "http", "config": {"url": text}})
    path = Path(text)
    if path.suffix in {".yaml", ".yml", ".toml"}:
        return _from_file(path)
    if _FUNCTION.fullmatch(text):
        config = {"entry_point": text, "path": str(Path.cwd())}
        return AgentSpec(text, {"name": text[:200], "runtime": "python", "config": config})
    return AgentSpec(text)


def find_agent(tx: Tx, organization_id: int, spec: AgentSpec, *, concurrency: int | None) -> Agent:
    """The saved agent of a spec, made or brought up to date from it."""
    found = agents.get_by_name(tx, organization_id, spec.name)
    if not spec.values and found is None:
        found = _deploy_template(tx, organization_id, spec.name)
    values = {**spec.values, **({"concurrency": concurrency} if concurrency else {})}
    if found is None:
        return agents.create(tx, organization_id, values, local=True)
    changes = {name: value for name, value in values.items() if _plain(getattr(found, name, None)) != value}
    return agents.update(tx, organization_id, found.id, changes, local=True) if changes else found


def _plain(value: Any) -> Any:
    """A noun's field as the JSON that an agent file has."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def _deploy_template(tx: Tx, organization_id: int, slug: str) -> Agent:
    """A template's slug works like a saved agent: it is deployed under that name."""
    if slug not in {item.slug for item in agents.templates()}:
        known = ", ".join(item.slug for item in agents.templates())
        raise NotFound(
            f"There is no agent `{slug}`. Give a saved agent's name, an agent file (.yaml, .toml), `module:function`,"
            f" a URL, or one of the templates: {known}."
        )
    return agents.deploy(tx, organization_id, slug, name=slug, config={})


def _from_file(path: Path) -> AgentSpec:
    if not path.is_file():
        raise Invalid(f"There is no agent file {path}.")
    if path.stat().st_size > FILE_BYTES_MAX:
        raise Invalid(f"{path} is larger than {FILE_BYTES_MAX} bytes; that is no agent file.")
    text = path.read_text(encoding="utf-8")
    try:
        raw = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} can't be read: {error}") from error
    if not isinstance(raw, dict):
        raise Invalid(f"{path} must be a mapping of an agent's settings.")
    raw.setdefault("name", path.stem)
    if raw.get("runtime") == "python" and isinstance(raw.get("config"), dict):
        raw["config"].setdefault("path", str(path.parent.absolute()))
    try:
        body = AgentCreate.model_validate(raw)
    except ValidationError as error:
        wrong = tuple(
            FieldError(".".join(str(part) for part in item["loc"]), item["msg"])
            for item in error.errors(include_url=False)
        )
        raise Invalid(f"{path} is not an agent.", errors=wrong) from error
    return AgentSpec(body.name, agent_values(body))
