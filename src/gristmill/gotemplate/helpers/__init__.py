"""Functions beside those that Go defines, under the names of the Sprig library.

`HELPERS` is given to `compile(functions=...)`; without it only Go's functions are known. A name that Go defines
(`slice`, `len`, `html`, ...) keeps Go's meaning and is not among them. What a helper answers depends on its operands
alone: there is no clock, no chance and no environment, so that a row renders to the same text each time. There are no
regular expressions, since a pattern can be made to run for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from gristmill.gotemplate.helpers.arithmetic import NUMBERS
from gristmill.gotemplate.helpers.choices import CHOICES
from gristmill.gotemplate.helpers.dates import DATES
from gristmill.gotemplate.helpers.lists import LISTS
from gristmill.gotemplate.helpers.texts import TEXTS

FAMILIES: Mapping[str, Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {"Choices": CHOICES, "Texts": TEXTS, "Numbers": NUMBERS, "Lists and maps": LISTS, "Dates": DATES}
)
"""All helpers by family, for the reference."""

HELPERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {name: helper for family in FAMILIES.values() for name, helper in family.items()}
)
"""All helpers by name."""
