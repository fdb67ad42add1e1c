"""Secrets of users: sealed where they lie, revealed only inside, for one purpose at a time.

`put` keeps named values and answers a `Secret`, whose `ref` is all that other rooms store. `reveal` opens it for a call
that is about to be made; `refer` and `unrefer` tell who needs it. `base.conceal` keeps what was put or revealed in this
process out of its logs and errors.
"""

from gristmill.vault.model import (
    MasterKeyMissing,
    Revealed,
    Secret,
    SecretInUse,
    SecretKept,
    SecretNotFound,
    redact_value,
)
from gristmill.vault.service import (
    also_needed,
    change,
    delete,
    find_owned,
    fingerprint,
    get,
    list_secrets,
    open_vault,
    put,
    record_test,
    refer,
    refer_only,
    reveal,
    reveal_all,
    rotate,
    unrefer,
)

__all__ = [
    "MasterKeyMissing",
    "Revealed",
    "Secret",
    "SecretInUse",
    "SecretKept",
    "SecretNotFound",
    "also_needed",
    "change",
    "delete",
    "find_owned",
    "fingerprint",
    "get",
    "list_secrets",
    "open_vault",
    "put",
    "record_test",
    "redact_value",
    "refer",
    "refer_only",
    "reveal",
    "reveal_all",
    "rotate",
    "unrefer",
]
