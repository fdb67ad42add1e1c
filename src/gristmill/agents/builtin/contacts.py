"""Clean a contact row: phone to E.164, e-mail checked and in lower case, web address to its domain."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from gristmill.agents.runtimes.python import Context


def clean_contact(row: dict[str, Any], context: Context) -> dict[str, Any]:
    """Clean whichever of `phone`, `email`, `website` the row has.

    `options.region` is the country of phone numbers without a country code, as two letters (US unless given). The
    result has `phone_e164`, `phone_valid`, `phone_region`, `email_clean`, `email_valid`, `domain` for the fields that
    were there; it is empty when none was.
    """
    result: dict[str, Any] = {}
    phone = str(row.get("phone") or "").strip()
    if phone:
        result |= _phone(phone, str(context.options.get("region", "US")))
    email = str(row.get("email") or "").strip()
    if email:
        result |= _email(email)
    website = str(row.get("website") or "").strip()
    if website:
        host = urlsplit(website if "//" in website else f"//{website}").hostname or ""
        result["domain"] = host.removeprefix("www.")
    return result


def _phone(text: str, region: str) -> dict[str, Any]:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return {"phone_e164": None, "phone_valid": False, "phone_region": None}
    return {
        "phone_e164": phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164),
        "phone_valid": phonenumbers.is_valid_number(number),
        "phone_region": phonenumbers.region_code_for_number(number),
    }


def _email(text: str) -> dict[str, Any]:
    try:
        checked = validate_email(text, check_deliverability=False)
    except EmailNotValidError:
        return {"email_clean": None, "email_valid": False}
    return {"email_clean": checked.normalized.lower(), "email_valid": True}
