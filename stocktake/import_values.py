"""Encoded Items of an Inventory in the DICOM JSON Model, of any writer, for the state to judge their values.

Values go from the file's bytes to texts without being converted in between: what a DS or IS says is kept to the letter,
and a value that breaks its VR reaches :func:`state.values.flat_item`, which repairs or empties it and counts that.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from state.attributes import SPECIFIC_CHARACTER_SET, Attribute
from state.values import Item, Repairs, Value, flat_value
from state.vr import BYTES, is_uid
from writers.canonical import EncodedDataSet
from writers.decoding import decode_text, is_sequence
from writers.scanning import Element, elements, items

_NUMBERS: Final = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
_EXPANDABLE: Final = frozenset(["LO", "LT", "PN", "SH", "ST", "UC", "UT"])  # in the character sets of (0008,0005)
_SINGLE: Final = frozenset(["LT", "ST", "UR", "UT"])  # a backslash is a letter of the one value (PS3.5 6.2)
_PLAIN: Final = frozenset(["AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UI", "UL", "US"])
_CACHED_LENGTH: Final = 64  # bytes; longer values seldom come twice
_CHARACTER_SET: Final = int(SPECIFIC_CHARACTER_SET, 16)
_REPLACED: Final = "\ufffd"


def read_item(
    item: EncodedDataSet, table: Mapping[int, Attribute], below: int, repairs: Repairs
) -> tuple[Item, list[EncodedDataSet]]:
    """The attributes of an Item that ``table`` names, in the state's flat form; the Items of its sequence ``below``.

    ``repairs`` counts values that had to be mended or emptied.

    Raises:
        Malformed: the bytes are no Data Elements.
    """
    flat: Item = {}
    children: list[EncodedDataSet] = []
    data, character_sets = item.data, item.character_sets
    for element in elements(data, item.start, item.stop, item.implicit, item.depth):
        tag = element.tag
        attribute = table.get(tag)
        if attribute is not None:
            raw = data[element.start : element.stop]
            if attribute.vr == "UI" and (uid := raw.rstrip(b"\0").decode("ascii", "replace")) and is_uid(uid):
                flat[attribute.tag] = uid
            elif attribute.vr in _PLAIN and len(raw) <= _CACHED_LENGTH and raw.isascii() and b"\x1b" not in raw:
                value, repaired, emptied = _plain_value(attribute.vr, attribute.vm, element.vr, element.undefined, raw)
                repairs.repaired += repaired
                repairs.emptied += emptied
                flat[attribute.tag] = value
            else:
                said = _json_element(item, element, attribute, character_sets, repairs)
                flat[attribute.tag] = flat_value(said, attribute, repairs)
        elif tag == below and is_sequence(element):
            children = _children(item, element, character_sets)
        elif tag == _CHARACTER_SET:
            character_sets = _terms(item, element)
    return flat, children


@lru_cache(maxsize=1 << 12)
def _plain_value(vr: str, vm: str, stated_vr: bytes, undefined: bool, raw: bytes) -> tuple[Value, int, int]:
    """A value of letters that every character set has, and what was repaired and emptied: most come again and again."""
    repairs = Repairs()
    attribute = Attribute("", "", vr, vm, "")
    element = Element(0, stated_vr, 0, len(raw), undefined, False)
    said = _json_element(EncodedDataSet(raw, 0, len(raw), False, (), 1), element, attribute, (), repairs)
    value = flat_value(said, attribute, repairs)
    return value, repairs.repaired, repairs.emptied


def json_item(item: EncodedDataSet, table: Mapping[str, Attribute], repairs: Repairs) -> dict[str, Any]:
    """The attributes of an Item that ``table`` names, as JSON elements of the table's own VRs.

    ``repairs`` counts what cannot be expressed: a sequence that is none, or bytes that are no numbers.

    Raises:
        Malformed: the bytes are no Data Elements.
    """
    found: dict[str, Any] = {}
    character_sets = item.character_sets
    for element in elements(item.data, item.start, item.stop, item.implicit, item.depth):
        tag = f"{element.tag:08X}"
        if tag == SPECIFIC_CHARACTER_SET:
            character_sets = _terms(item, element)
        attribute = table.get(tag)
        if attribute is not None:
            found[tag] = _json_element(item, element, attribute, character_sets, repairs)
    return found


def _json_element(
    item: EncodedDataSet, element: Element, attribute: Attribute, character_sets: tuple[str, ...], repairs: Repairs
) -> dict[str, Any]:
    if element.start == element.stop:
        return {}
    if attribute.vr == "SQ" and is_sequence(element):
        children = _children(item, element, character_sets)
        return {"Value": [json_item(child, attribute.children, repairs) for child in children]}
    raw = item.data[element.start : element.stop]
    if attribute.vr in BYTES and not is_sequence(element):
        return {"InlineBinary": b64encode(raw).decode("ascii")}
    values = None
    if attribute.vr != "SQ" and not is_sequence(element):
        # The value of a UN is encoded as in Implicit VR Little Endian (PS3.5 6.2.2): by the attribute's own VR.
        vr = attribute.vr if element.vr in (b"", b"UN") else element.vr.decode("ascii")
        values = _values(raw, vr, character_sets)
    if values is None:
        repairs.emptied += 1
        return {}
    repairs.repaired += any(_REPLACED in value for value in values)
    return {"Value": values}


def _terms(item: EncodedDataSet, element: Element) -> tuple[str, ...]:
    terms = item.data[element.start : element.stop].decode("ascii", "replace")
    return tuple(term.strip(" \0") for term in terms.split("\\"))


def _children(item: EncodedDataSet, sequence: Element, character_sets: tuple[str, ...]) -> list[EncodedDataSet]:
    depth = item.depth + 1
    return [
        EncodedDataSet(item.data, begin, end, sequence.implicit, character_sets, depth)
        for begin, end in items(item.data, sequence, depth)
    ]


def _values(raw: bytes, vr: str, character_sets: tuple[str, ...]) -> list[str] | None:
    """The values as texts, numbers in decimals; None for bytes that hold none of the VR."""
    if vr in _NUMBERS:
        size = struct.calcsize(_NUMBERS[vr])
        if len(raw) % size:
            return None
        numbers = struct.unpack(f"<{len(raw) // size}{_NUMBERS[vr]}", raw)
        return [repr(number) for number in numbers]
    if vr == "AT":
        if len(raw) % 4:
            return None
        return [f"{group:04X}{number:04X}" for group, number in struct.iter_unpack("<HH", raw)]
    if raw.isascii() and b"\x1b" not in raw:
        text = raw.decode("ascii")
    elif vr in _EXPANDABLE:
        text = decode_text(raw, vr, character_sets)
    else:
        return None
    text = text.rstrip("\0")
    return [text] if vr in _SINGLE else text.split("\\")
