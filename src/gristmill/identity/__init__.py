"""Who is calling: organizations, API keys, browser logins; answers an `Actor` or refuses."""

from gristmill.identity.model import Actor, ApiKey, Forbidden, NewApiKey, Organization, Scope, Unauthenticated
from gristmill.identity.service import (
    anonymous_organization,
    authenticate_key,
    authenticate_session,
    close_session,
    create_login_link,
    create_organization,
    ensure_default_organization,
    issue_first_key,
    issue_key,
    list_keys,
    open_session,
    open_session_with_key,
    revoke_key,
    rotate_key,
)

__all__ = [
    "Actor",
    "ApiKey",
    "Forbidden",
    "NewApiKey",
    "Organization",
    "Scope",
    "Unauthenticated",
    "anonymous_organization",
    "authenticate_key",
    "authenticate_session",
    "close_session",
    "create_login_link",
    "create_organization",
    "ensure_default_organization",
    "issue_first_key",
    "issue_key",
    "list_keys",
    "open_session",
    "open_session_with_key",
    "revoke_key",
    "rotate_key",
]
