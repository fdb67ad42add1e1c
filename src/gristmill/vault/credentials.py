"""How a secret opens an HTTP endpoint: the headers of one request, by scheme."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from typing import Literal

from gristmill.base.errors import Invalid
from gristmill.base.signing import BODY_SIGNATURE_HEADER, BadKey, body_signature, signed_headers

Scheme = Literal["Bearer", "Basic", "Header", "HmacSha256"]
VALUES_OF: dict[Scheme, tuple[str, ...]] = {
    "Bearer": ("token",),
    "Basic": ("username", "password"),
    "Header": ("value",),
    "HmacSha256": ("key",),
}
"""Names of the values that a scheme takes from its secret. Where it is one, the secret's only value will do."""
DEFAULT_HEADER = "X-Api-Key"


class SecretUnfit(Invalid):
    """The secret does not have what this scheme needs."""


def auth_headers(
    scheme: Scheme,
    values: Mapping[str, str],
    *,
    header: str = DEFAULT_HEADER,
    message_id: str = "",
    body: bytes = b"",
) -> dict[str, str]:
    """Headers that open an endpoint. `HmacSha256` signs the body, as Standard Webhooks and as GitHub do.

    `header` is the name for `Header`; `message_id` is the same for every try of one message. Raises `SecretUnfit`.
    """
    taken = _take(scheme, values)
    if scheme == "Bearer":
        return {"Authorization": f"Bearer {taken[0]}"}
    if scheme == "Basic":
        return {"Authorization": "Basic " + base64.b64encode(":".join(taken).encode()).decode()}
    if scheme == "Header":
        return {header: taken[0]}
    try:
        signed = signed_headers(taken, message_id, int(time.time()), body)
        return {**signed, BODY_SIGNATURE_HEADER: body_signature(taken[0], body)}
    except BadKey as error:
        raise SecretUnfit(f"The secret can't sign: {error}.") from None


def _take(scheme: Scheme, values: Mapping[str, str]) -> list[str]:
    names = VALUES_OF[scheme]
    if len(names) == len(values) == 1:
        taken = list(values.values())
    else:
        missing = [name for name in names if name not in values]
        if missing:
            listed = " and ".join(f"`{name}`" for name in names)
            raise SecretUnfit(f"{scheme} takes {listed} of its secret, which has {', '.join(values) or 'nothing'}.")
        taken = [values[name] for name in names]
    if scheme in {"Bearer", "Header"} and not all(text.isprintable() and text.isascii() for text in taken):
        raise SecretUnfit("The secret has characters that no header can carry.")
    if scheme == "Basic" and ":" in taken[0]:
        raise SecretUnfit("A user name with a colon can't be sent as Basic.")
    return taken
