"""Values of the DICOM JSON Model (PS3.18 Annex F) turned into the flat form that the state keeps.

The flat form of a value is text as it stands in a DICOM data set (PS3.5 6.2): several values joined by ``\\``, the
groups of a person name by ``=``, binary numbers in decimals, bytes in base64; a sequence is a list of Items, an Item a
dict of flat values by tag. It is what the encoder writes, so nothing has to be looked at again for each inventory.

A value that breaks its VR is repaired where the repair is certain (``2026.01.02`` -> ``20260102``), else emptied. Both
are counted; the study is never lost for it.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, TypeAlias

from state.attributes import Attribute

Item: TypeAlias = "dict[str, Value]"
Value: TypeAlias = "str | list[Item]"

UID_PATTERN: Final = re.compile(r"[0-9]+(\.[0-9]+)*", re.ASCII)
UID_LENGTH: Final = 64

_BYTES: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})


class InvalidElement(ValueError):
    """An element that is no element of the DICOM JSON Model; the text names its tag and what is wrong, no value."""


@dataclass(slots=True)
class Repairs:
    """How many values were mended, and how many had to be emptied."""

    repaired: int = 0
    emptied: int = 0


def is_uid(text: object) -> bool:
    """Whether ``text`` can stand as a UID: digits and dots, at most 64 characters (PS3.5 9.1).

    A component with a leading zero is let pass: some devices make such UIDs, and the study would be lost otherwise.
    """
    return isinstance(text, str) and len(text) <= UID_LENGTH and UID_PATTERN.fullmatch(text) is not None


def flat_item(dataset: Mapping[str, Any], allowed: Mapping[str, Attribute], repairs: Repairs) -> Item:
    """The attributes of a JSON data set that ``allowed`` names, in the flat form; others are left out.

    Raises:
        InvalidElement: an element is not an object, or has a VR that DICOM does not know or that cannot be read as the
            attribute's own.
    """
    item: Item = {}
    for tag, attribute in allowed.items():
        element = dataset.get(tag)
        if element is not None:
            item[tag] = flat_value(element, attribute, repairs)
    return item


def flat_value(element: Any, attribute: Attribute, repairs: Repairs) -> Value:
    """One JSON element in the flat form; see :func:`flat_item`."""
    if type(element) is not dict:
        raise InvalidElement(f"{attribute.keyword} ({attribute.tag}) is not an object")
    vr = element.get("vr", attribute.vr)
    if vr not in _CHECKS and vr not in _BYTES and vr != "SQ":
        raise InvalidElement(f"{attribute.keyword} ({attribute.tag}) has a VR unknown to DICOM")
    if (vr == "SQ") != (attribute.vr == "SQ") and vr != "UN":
        raise InvalidElement(f"{attribute.keyword} ({attribute.tag}) has VR {vr}; the standard says {attribute.vr}")
    if attribute.vr in _BYTES:
        return _flat_bytes(element, repairs)
    values = element.get("Value")
    if values is None:
        return [] if attribute.vr == "SQ" else ""
    if type(values) is not list:
        raise InvalidElement(f"Value of {attribute.keyword} ({attribute.tag}) is not a list")
    if attribute.vr == "SQ":
        return _flat_items(values, attribute, repairs)
    flat = [_flat_text(value, attribute.vr, repairs) for value in values]
    if len(flat) > 1 and attribute.vm == "1":
        repairs.emptied += 1  # which of the values would be the right one?
        return ""
    return "\\".join(flat)


def _flat_items(values: list[Any], attribute: Attribute, repairs: Repairs) -> Value:
    items = []
    for value in values:
        if type(value) is not dict:
            raise InvalidElement(f"an Item of {attribute.keyword} ({attribute.tag}) is not an object")
        item = flat_item(value, attribute.children, repairs)
        if all(item.get(tag) for tag, row in attribute.children.items() if row.type == "1"):
            items.append(item)
        else:
            repairs.emptied += 1  # without its Type 1 attributes the Item says nothing
    return items


def _flat_bytes(element: dict[str, Any], repairs: Repairs) -> str:
    inline = element.get("InlineBinary", "")
    try:
        base64.b64decode(inline, validate=True)
    except (TypeError, ValueError, binascii.Error):
        repairs.emptied += 1
        return ""
    return str(inline)


def _flat_text(value: Any, vr: str, repairs: Repairs) -> str:
    if value is None:
        return ""
    if vr == "PN":
        text = _joined_groups(value)
    elif isinstance(value, str):
        text = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        text = _number_text(value)
    else:
        text = None
    checked = None if text is None else _CHECKS[vr](text)
    if checked is None:
        repairs.emptied += 1
        return ""
    # Padding is no part of a value (PS3.5 6.2): taking it away is not a repair.
    if text is not None and checked.strip(" ") != text.strip(" \x00"):
        repairs.repaired += 1
    return checked


def _joined_groups(value: Any) -> str | None:
    """A person name's component groups joined as in PS3.5 6.2.1.2."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return None
    groups = [value.get(name) or "" for name in ("Alphabetic", "Ideographic", "Phonetic")]
    if not all(isinstance(group, str) for group in groups):
        return None
    return "=".join(groups).rstrip("=")


def _number_text(value: float) -> str | None:
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return None
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
_TEXT_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")  # LT, ST, UT may hold TAB, LF, FF and CR
_DATE: Final = re.compile(r"(\d{4})([.\-/]?)(\d\d)\2(\d\d)", re.ASCII)
_TIME: Final = re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(\.\d+)?)?)?", re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?\d{1,12}", re.ASCII)
_DT: Final = re.compile(r"\d{4}(\d\d){0,5}(\.\d{1,6})?([+-]\d{4})?", re.ASCII)


def _short(limit: int) -> Callable[[str], str | None]:
    def check(text: str) -> str | None:
        text = text.strip(" \x00")
        return None if len(text) > limit or _CONTROL.search(text) else text

    return check


def _long(limit: int) -> Callable[[str], str | None]:
    def check(text: str) -> str | None:
        text = text.rstrip(" \x00")
        return None if len(text) > limit or _TEXT_CONTROL.search(text) else text

    return check


def _person_name(text: str) -> str | None:
    text = text.strip(" \x00")
    groups = text.split("=")
    if len(groups) > 3 or _CONTROL.search(text):
        return None
    if any(len(group) > 64 or group.count("^") > 4 for group in groups):
        return None
    return text


def _code_string(text: str) -> str | None:
    text = text.strip(" \x00").upper()
    return text if re.fullmatch(r"[A-Z0-9_ ]{0,16}", text) else None


def _age(text: str) -> str | None:
    text = text.strip(" \x00").upper()
    return text if re.fullmatch(r"(\d{3}[DWMY])?", text, re.ASCII) else None


def _date(text: str) -> str | None:
    text = text.strip(" \x00")
    if not text:
        return ""
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    year, _, month, day = match.groups()
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return None
    return year + month + day


def _time(text: str) -> str | None:
    text = text.strip(" \x00")
    if not text:
        return ""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hour, minute, second, fraction = match.groups()
    if int(hour) > 23 or int(minute or 0) > 59 or int(second or 0) > 60:
        return None
    # Digits past the microsecond hold nothing that a TM could hold.
    return hour + (minute or "") + (second or "") + (fraction or "")[:7]


def _date_time(text: str) -> str | None:
    text = text.strip(" \x00")
    if not text:
        return ""
    if _DT.fullmatch(text):
        digits = re.split(r"[.+-]", text)[0]
        try:
            datetime.strptime((digits + "0101000000"[len(digits) - 4 :])[:14], "%Y%m%d%H%M%S")
        except ValueError:
            return None
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.strftime("%Y%m%d%H%M%S.%f%z")[:26]


def _uid(text: str) -> str | None:
    text = text.strip(" \x00")
    return text if not text or is_uid(text) else None


def _integer_string(text: str) -> str | None:
    text = text.strip(" \x00")
    if not text:
        return ""
    if re.fullmatch(r"[+-]?\d+\.0*", text, re.ASCII):
        text = text.partition(".")[0]
    if not _INTEGER.fullmatch(text) or not -(2**31) <= int(text) < 2**31:
        return None
    return text


def _decimal_string(text: str) -> str | None:
    text = text.strip(" \x00")
    if not text:
        return ""
    if not re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", text, re.ASCII):
        return None
    if len(text) <= 16:
        return text
    # A float's shortest text can be longer than a DS may be; the ten digits kept are more than any device measures.
    return f"{float(text):.10g}" if math.isfinite(float(text)) else None


def _binary_integer(low: int, high: int) -> Callable[[str], str | None]:
    def check(text: str) -> str | None:
        text = text.strip()
        if not re.fullmatch(r"[+-]?\d{1,20}", text, re.ASCII) or not low <= int(text) <= high:
            return None
        return str(int(text))

    return check


def _binary_float(text: str) -> str | None:
    try:
        return repr(float(text))
    except ValueError:
        return None


def _attribute_tag(text: str) -> str | None:
    return text.upper() if re.fullmatch(r"[0-9a-fA-F]{8}", text) else None


def _uri(text: str) -> str | None:
    text = text.strip(" \x00")
    return None if re.search(r"[\x00-\x20\x7f-\x9f\\]", text) else text


_CHECKS: Final[dict[str, Callable[[str], str | None]]] = {
    "AE": _short(16),
    "AS": _age,
    "AT": _attribute_tag,
    "CS": _code_string,
    "DA": _date,
    "DS": _decimal_string,
    "DT": _date_time,
    "FD": _binary_float,
    "FL": _binary_float,
    "IS": _integer_string,
    "LO": _short(64),
    "LT": _long(10_240),
    "PN": _person_name,
    "SH": _short(16),
    "SL": _binary_integer(-(2**31), 2**31 - 1),
    "SS": _binary_integer(-(2**15), 2**15 - 1),
    "ST": _long(1024),
    "SV": _binary_integer(-(2**63), 2**63 - 1),
    "TM": _time,
    "UC": _short(2**20),
    "UI": _uid,
    "UL": _binary_integer(0, 2**32 - 1),
    "UR": _uri,
    "US": _binary_integer(0, 2**16 - 1),
    "UT": _long(2**20),
    "UV": _binary_integer(0, 2**64 - 1),
}
