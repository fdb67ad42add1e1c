"""One error type and one table: code -> HTTP status, CLI exit code, worth retrying.

Rooms subclass `Error` next to the raise; the class docstring is the default message. The HTTP door
turns an `Error` into RFC 9457 problem+json, the CLI into one line and an exit code. Anything that is
not an `Error` is a defect: the user sees `internal` and a request id, the operator the traceback.
Messages leave out what `base.conceal` knows to be secret, whatever a foreign server put into them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

from gristmill.base.conceal import redact


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """What the doors do with an error code."""

    status: int
    """HTTP status of the answer."""
    exit: int
    """Exit code of the CLI (1 error, 2 usage)."""
    retry: bool
    """Whether the same call may succeed later without a change."""
    meaning: str
    """One sentence for the error reference in the docs."""


CODES: dict[str, CodeFacts] = {
    "malformed": CodeFacts(400, 2, False, "The id, header or body can't be read at all."),
    "unauthenticated": CodeFacts(401, 1, False, "The key is missing, unknown, revoked or expired."),
    "balance_too_low": CodeFacts(402, 1, False, "The free balance does not cover what was asked for."),
    "payment_required": CodeFacts(402, 1, False, "The call must be paid for; the header PAYMENT-REQUIRED says how."),
    "payment_refused": CodeFacts(402, 1, False, "The payment with the call was refused; the detail says why."),
    "forbidden": CodeFacts(403, 1, False, "The key is valid but its scope does not allow this call."),
    "not_found": CodeFacts(404, 1, False, "No such object in this organization."),
    "method_not_allowed": CodeFacts(405, 2, False, "The path exists but not with this method."),
    "conflict": CodeFacts(409, 1, False, "The object's present state does not allow this change."),
    "idempotency_conflict": CodeFacts(409, 1, False, "The Idempotency-Key was used before with another body."),
    "too_large": CodeFacts(413, 1, False, "The body, file or field is over a named limit."),
    "unsupported_type": CodeFacts(415, 1, False, "The content type is not one this call reads."),
    "invalid": CodeFacts(422, 2, False, "A field has a value that is not allowed; `errors` says which."),
    "unreadable_file": CodeFacts(422, 1, False, "The file can't be read as a table."),
    "query_refused": CodeFacts(422, 1, False, "The SQL guard refused the query; the detail says why."),
    "query_failed": CodeFacts(422, 1, False, "The database could not run the query."),
    "egress_refused": CodeFacts(422, 1, False, "The egress guard refused the address of a request."),
    "rate_limited": CodeFacts(429, 1, True, "Too many calls; Retry-After says when to come again."),
    "internal": CodeFacts(500, 1, True, "A defect of ours; the request id finds it in the logs."),
    "upstream_failed": CodeFacts(502, 1, True, "A server that this call depends on failed."),
    "unavailable": CodeFacts(503, 1, True, "The database or a worker is not reachable just now."),
    "timed_out": CodeFacts(504, 1, True, "The work took longer than its limit."),
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field of the input."""

    field: str
    """Dotted path of the field, `items.3.email`; empty for the body as a whole."""
    message: str
    line: int | None = None
    """1-based line in the text that was sent, where there is one."""
    column: int | None = None


class Error(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal"
    headers: Mapping[str, str] = MappingProxyType({})
    """Headers that the answer carries beside the problem document."""

    def __init__(self, message: str = "", *, errors: tuple[FieldError, ...] = (), **facts: object) -> None:
        """`facts` are extra members of the problem document, for example `limit` and `size`."""
        self.message = redact(message or (type(self).__doc__ or "").strip().splitlines()[0])
        self.errors = tuple(replace(item, message=redact(item.message)) for item in errors)
        self.facts = {name: redact(value) if isinstance(value, str) else value for name, value in facts.items()}
        super().__init__(self.message)

    @property
    def status(self) -> int:
        """HTTP status of this error."""
        return CODES[self.code].status


class NotFound(Error):
    """There is no such object here."""

    code = "not_found"


class Malformed(Error):
    """The request can't be read."""

    code = "malformed"


class Invalid(Error):
    """A value is not allowed."""

    code = "invalid"


class Conflict(Error):
    """The object's present state does not allow this."""

    code = "conflict"


class TooLarge(Error):
    """That is over the limit."""

    code = "too_large"


class UnsupportedType(Error):
    """That content type is not read here."""

    code = "unsupported_type"


class PluginError(Exception):
    """What a plug-in raises: a sentence for the user and whether trying again can help."""

    def __init__(
        self,
        message: str,
        *,
        permanent: bool,
        code: str = "agent_error",
        retry_after_s: float | None = None,
        throttled: bool = False,
        trace: dict[str, Any] | None = None,
    ) -> None:
        """`throttled` asks the runner to lower this provider's shared concurrency; `trace` is kept with the row."""
        self.message = redact(message)
        super().__init__(self.message)
        self.permanent = permanent
        self.code = code
        self.retry_after_s = retry_after_s
        self.throttled = throttled
        self.trace = trace
