"""Go's text/template language in Python: exact, and compiled to Python code that renders many rows quickly.

`compile` reads a template, `Template.render`, `render_many` and `render_each` render rows, and what goes wrong is a
`TemplateError` with Go's wording, line and column. `HELPERS` are functions beside Go's own, switched on by
`functions=`. `lint` looks at a template together with the columns of a table.
"""

from gristmill.gotemplate.helpers import HELPERS
from gristmill.gotemplate.lint import Finding, lint
from gristmill.gotemplate.model import MISSING_KEYS, TemplateError
from gristmill.gotemplate.template import Template, compile  # noqa: A004 - the name of the contract
from gristmill.gotemplate.values import as_decoded

__all__ = [
    "HELPERS",
    "MISSING_KEYS",
    "Finding",
    "Template",
    "TemplateError",
    "as_decoded",
    "compile",
    "lint",
]
