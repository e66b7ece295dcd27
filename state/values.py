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
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

from state.attributes import Attribute
from state.vr import BYTES, CHECKS

Item: TypeAlias = "dict[str, Value]"
Value: TypeAlias = "str | list[Item]"

_NUMBERS: Final = frozenset({"AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})  # binary; their text is ours
_CACHED_LENGTH: Final = 64  # characters; longer values seldom come twice


class InvalidElement(ValueError):
    """An element that is no element of the DICOM JSON Model; the text names its tag and what is wrong, no value."""


@dataclass(slots=True)
class Repairs:
    """How many values were mended, and how many had to be emptied."""

    repaired: int = 0
    emptied: int = 0


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
    if type(vr) is not str or (vr not in CHECKS and vr not in BYTES and vr != "SQ"):
        raise InvalidElement(f"{attribute.keyword} ({attribute.tag}) has a VR unknown to DICOM")
    if (vr == "SQ") != (attribute.vr == "SQ") and vr != "UN":
        raise InvalidElement(f"{attribute.keyword} ({attribute.tag}) has VR {vr}; the standard says {attribute.vr}")
    if attribute.vr in BYTES:
        return _flat_bytes(element, repairs)
    values = element.get("Value")
    if values is None:
        return [] if attribute.vr == "SQ" else ""
    if type(values) is not list:
        raise InvalidElement(f"Value of {attribute.keyword} ({attribute.tag}) is not a list")
    if attribute.vr == "SQ":
        return _flat_items(values, attribute, repairs)
    if len(values) == 1:
        return _flat_text(values[0], attribute.vr, repairs)
    if len(values) > 1 and attribute.vm == "1":
        repairs.emptied += 1  # which of the values would be the right one?
        return ""
    flat = [_flat_text(value, attribute.vr, repairs) for value in values]
    if attribute.vr in _NUMBERS and not all(flat):
        return ""  # a binary number cannot be empty, and without it the others would stand in its place
    return "\\".join(flat)


def _flat_items(values: list[Any], attribute: Attribute, repairs: Repairs) -> Value:
    if not attribute.children:
        repairs.emptied += 1  # free content (Modified Attributes Sequence): not recorded yet
        return []
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
    if text is None:
        repairs.emptied += 1
        return ""
    checked, repaired = _check_cached(vr, text) if len(text) <= _CACHED_LENGTH else _check(vr, text)
    if checked is None:
        repairs.emptied += 1
        return ""
    repairs.repaired += repaired
    return checked


def _check(vr: str, text: str) -> tuple[str | None, bool]:
    """The text as its VR wants it, None if it cannot be had, and whether it was mended."""
    checked = CHECKS[vr](text)
    # Padding is no part of a value (PS3.5 6.2): taking it away is not a repair.
    return checked, checked is not None and vr not in {"FD", "FL"} and checked.strip(" ") != text.strip(" \x00")


# What is said of a study and its series comes again with each of its instances.
_check_cached = lru_cache(maxsize=1 << 16)(_check)


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
