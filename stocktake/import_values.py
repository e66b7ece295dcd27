"""Encoded Items of an Inventory in the DICOM JSON Model, of any writer, for the state to judge their values.

Values go from the file's bytes to texts without being converted in between: what a DS or IS says is kept to the letter,
and a value that breaks its VR reaches :func:`state.values.flat_item`, which repairs or empties it and counts that.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final

from state.attributes import SPECIFIC_CHARACTER_SET, Attribute
from state.values import Repairs
from state.vr import BYTES
from writers.canonical import EncodedDataSet
from writers.decoding import decode_text, is_sequence
from writers.scanning import Element, elements, items

_NUMBERS: Final = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
_EXPANDABLE: Final = frozenset(["LO", "LT", "PN", "SH", "ST", "UC", "UT"])  # in the character sets of (0008,0005)
_SINGLE: Final = frozenset(["LT", "ST", "UR", "UT"])  # a backslash is a letter of the one value (PS3.5 6.2)
_REPLACED: Final = "\ufffd"


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
            terms = item.data[element.start : element.stop].decode("ascii", "replace")
            character_sets = tuple(term.strip(" \0") for term in terms.split("\\"))
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
        depth = item.depth + 1
        children = [
            EncodedDataSet(item.data, begin, end, element.implicit, character_sets, depth)
            for begin, end in items(item.data, element, depth)
        ]
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
