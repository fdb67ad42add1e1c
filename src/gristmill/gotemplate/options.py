"""How a template is compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gristmill.gotemplate.invoke import HelperFunction
from gristmill.gotemplate.model import MissingKey


@dataclass(frozen=True, slots=True)
class Options:
    """What a program depends on beside its text."""

    missing_key: MissingKey = "default"
    csv: bool = False
    """Whether rows are Go's map[string]string."""
    functions: Mapping[str, HelperFunction] = field(default_factory=dict[str, HelperFunction])
    """Functions beside those that Go defines."""
