"""What runs on a row: agents, the templates they are deployed from, and the runtimes that run them."""

from gristmill.agents.model import Agent, InputField, RateLimit, Retry, input_of
from gristmill.agents.rules import Rules, read_rules
from gristmill.agents.runtimes import RowCall, RowFunction, RowResult, RuntimeContext, runtimes
from gristmill.agents.service import create, delete, deploy, get, get_by_name, list_agents, templates, try_row, update

__all__ = [
    "Agent",
    "InputField",
    "RateLimit",
    "Retry",
    "RowCall",
    "RowFunction",
    "RowResult",
    "Rules",
    "RuntimeContext",
    "create",
    "delete",
    "deploy",
    "get",
    "get_by_name",
    "input_of",
    "list_agents",
    "read_rules",
    "runtimes",
    "templates",
    "try_row",
    "update",
]
