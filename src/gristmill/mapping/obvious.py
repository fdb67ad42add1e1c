"""Stage 1, the fast path: every header is one of a few plain ones, so that nothing has to be weighed.

One header that is not in the list, one field named twice, or values that contradict a header leave the table to the
later stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gristmill.mapping.model import FieldMapping
from gristmill.mapping.shapes import NULLS
from gristmill.mapping.values import is_phone, is_zip
from gristmill.mapping.words import fold

CONFIDENCE = 0.99
PASS_MIN = 0.7
"""Share of the values that must pass where a field has a validator."""
PLAIN: Mapping[str, Sequence[str]] = {
    "contact_id": ("contactid", "id", "recordid", "customerid", "accountid", "accountnumber", "crmid"),
    "company": ("company", "companyname", "businessname", "accountname", "organization", "organizationname"),
    "street": ("street", "streetaddress", "address", "addressline1", "address1"),
    "street2": ("street2", "streetaddress2", "addressline2", "address2"),
    "city": ("city", "town"),
    "state": ("state", "province", "stateprovince"),
    "zip": ("zip", "zipcode", "postalcode", "postcode", "zippostalcode"),
    "number1": ("number1", "phone", "phone1", "phonenumber", "telephone", "businessphone", "workphone", "tel"),
    "number2": ("number2", "phone2", "mobile", "mobilephone", "cell", "cellphone"),
    "dm_name": ("dmname", "contactname", "contactperson", "fullname"),
    "first": ("firstname", "first"),
    "last": ("lastname", "last", "surname"),
    "": ("email", "emailaddress", "website", "url", "country", "notes", "fax", "description", "industry"),
}
"""Field -> its plain headers, lower case and without spaces; headers of the empty field feed none."""
_FIELD_OF = {header: name for name, headers in PLAIN.items() for header in headers}
JOINED = {"street": ("street", "street2"), "dm_name": ("first", "last")}
VALIDATORS = {"number1": is_phone, "number2": is_phone, "zip": is_zip}


def map_plain(header: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> dict[str, FieldMapping] | None:
    """The mapped lead fields, or None when the table is not plain."""
    at: dict[str, int] = {}
    for index, text in enumerate(header or ()):
        name = _FIELD_OF.get("".join(char for char in fold(text) if char.isalnum()))
        if name is None or name in at:
            return None
        if name:
            at[name] = index
    if (
        "company" not in at
        or ("dm_name" in at and ("first" in at or "last" in at))
        or ("street2" in at and "street" not in at)
    ):
        return None
    if any(name in at and not _pass(rows, at[name], name) for name in VALIDATORS):
        return None
    found: dict[str, FieldMapping] = {}
    for name, parts in JOINED.items():
        columns = tuple(at.pop(part) for part in parts if part in at)
        if columns:
            found[name] = FieldMapping(columns, CONFIDENCE, join=", " if name == "street" else " ")
    for name, index in at.items():
        found[name] = FieldMapping((index,), CONFIDENCE)
    return found


def _pass(rows: Sequence[Sequence[str]], index: int, name: str) -> bool:
    values = [row[index].strip() for row in rows if index < len(row)]
    values = [value for value in values if value.casefold() not in NULLS]
    return not values or sum(map(VALIDATORS[name], values)) >= PASS_MIN * len(values)
