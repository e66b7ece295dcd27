"""Flat values to Explicit VR Little Endian bytes, table-driven from the standard's attribute tables (PS3.5 chapter 7).

pydicom is the authority: what is written here, it reads as the same elements and values, and writes to the same bytes.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Mapping
from typing import Final

from state.attributes import Attribute
from state.values import Value

_LONG_FORM: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_LONGEST_SHORT: Final = 0xFFFE  # bytes; the length field of most VRs has 16 bits
_ITEM: Final = b"\xfe\xff\x00\xe0"
_UINT32: Final = struct.Struct("<I")
_UINT16: Final = struct.Struct("<H")
_BINARY: Final = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}

ElementEncoder = Callable[[Value], bytes]


def encode_header(attribute: Attribute) -> bytes:
    """Tag and VR, and the two reserved bytes where the VR has them; the length follows."""
    tag = int(attribute.tag, 16)
    header = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, attribute.vr.encode("ascii"))
    return header + b"\x00\x00" if attribute.vr in _LONG_FORM else header


def encode_item(content: bytes) -> bytes:
    """An Item of defined length around encoded elements."""
    return _ITEM + _UINT32.pack(len(content)) + content


class ItemEncoder:
    """Encodes Items that may hold the attributes of one table, in ascending order of tag.

    A value may also be bytes: then they are the value field as it is to be written. Attributes of Type 2 that are not
    given are written empty. ``too_long`` counts values that their length field could not hold and that were emptied.
    """

    def __init__(self, table: Mapping[str, Attribute]) -> None:
        self.too_long = 0
        self._rows: list[tuple[str, ElementEncoder, bytes | None]] = []
        for tag in sorted(table):
            attribute = table[tag]
            encode = self._element_encoder(attribute)
            self._rows.append((tag, encode, encode("") if attribute.type == "2" else None))

    def encode(self, values: Mapping[str, Value | bytes]) -> bytes:
        """The elements of one Item, without the Item's own tag and length."""
        parts = []
        for tag, encode, empty in self._rows:
            value = values.get(tag)
            if value is not None:
                parts.append(encode(value))  # type: ignore[arg-type]  # bytes are taken by every encoder
            elif empty is not None:
                parts.append(empty)
        return b"".join(parts)

    def _element_encoder(self, attribute: Attribute) -> ElementEncoder:
        header = encode_header(attribute)
        to_bytes = self._value_encoder(attribute)
        if attribute.vr in _LONG_FORM:

            def long_form(value: Value | bytes) -> bytes:
                content = value if isinstance(value, bytes) else to_bytes(value)
                return header + _UINT32.pack(len(content)) + content

            return long_form

        def short_form(value: Value | bytes) -> bytes:
            content = value if isinstance(value, bytes) else to_bytes(value)
            if len(content) > _LONGEST_SHORT:
                self.too_long += 1
                content = b""
            return header + _UINT16.pack(len(content)) + content

        return short_form

    def _value_encoder(self, attribute: Attribute) -> ElementEncoder:
        if attribute.vr == "SQ":
            items = ItemEncoder(attribute.children)

            def sequence(value: Value) -> bytes:
                return b"".join(encode_item(items.encode(item)) for item in value if isinstance(item, dict))

            return sequence
        if attribute.vr in _BINARY:
            return _binary(_BINARY[attribute.vr])
        if attribute.vr == "AT":
            return _attribute_tags
        if attribute.vr in {"OB", "UN"}:
            return _bytes
        return _uids if attribute.vr == "UI" else _text


def _text(value: Value) -> bytes:
    content = str(value).encode("utf-8")
    return content + b" " if len(content) & 1 else content


def _uids(value: Value) -> bytes:
    content = str(value).encode("ascii")
    return content + b"\x00" if len(content) & 1 else content


def _bytes(value: Value) -> bytes:
    content = base64.b64decode(str(value))
    return content + b"\x00" if len(content) & 1 else content


def _binary(code: str) -> ElementEncoder:
    number = float if code in "df" else int

    def encode(value: Value) -> bytes:
        numbers = [number(one) for one in str(value).split("\\") if one]
        return struct.pack(f"<{len(numbers)}{code}", *numbers)

    return encode


def _attribute_tags(value: Value) -> bytes:
    tags = [int(one, 16) for one in str(value).split("\\") if one]
    return b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in tags)
