"""Flat values to Explicit VR Little Endian bytes, table-driven from the standard's attribute tables (PS3.5 chapter 7).

pydicom is the authority: what is written here, it reads as the same elements and values, and writes to the same bytes.

An archive says the same attributes of every study. So what follows from them alone, order, headers, and what is empty,
is worked out once for each set of attributes, its *shape*. While an Item is put together, its bytes are held as text,
one letter of Latin-1 for each byte: most values are texts already, and become bytes all at once.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from operator import itemgetter
from typing import Any, Final

import orjson

from state.attributes import Attribute
from state.values import Value

_LONG_FORM: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_LONGEST_SHORT: Final = 0xFFFE  # bytes; the length field of most VRs has 16 bits
_LETTERS: Final = "latin-1"
_ITEM: Final = b"\xfe\xff\x00\xe0".decode(_LETTERS)
_UINT32: Final = struct.Struct("<I")
_UINT16: Final = struct.Struct("<H")
_BINARY: Final = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
_KEPT: Final = 1 << 12  # bytes; headers of longer values and Items are made each time
_MOST_SHAPES: Final = 1 << 10
_MOST_KEPT: Final = 1 << 12  # values of one sequence
_LONGEST_KEPT: Final = 1000  # bytes of such a value as JSON

ToLetters = Callable[[Any], str]


def encode_header(attribute: Attribute) -> bytes:
    """Tag and VR, and the two reserved bytes where the VR has them; the length follows."""
    tag = int(attribute.tag, 16)
    header = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, attribute.vr.encode("ascii"))
    return header + b"\x00\x00" if attribute.vr in _LONG_FORM else header


def to_bytes(letters: str) -> bytes:
    """The bytes that letters stand for."""
    return letters.encode(_LETTERS)


class _TooLong(Exception):
    """A value of more bytes than its length field can tell."""


class _Headers(dict[int, str]):
    """By the length of a value what stands before it: elements without a value that come first, and its own header."""

    def __init__(self, before: str, attribute: Attribute) -> None:
        super().__init__()
        self._before = before + encode_header(attribute).decode(_LETTERS)
        self._long = attribute.vr in _LONG_FORM

    def __missing__(self, length: int) -> str:
        even = length + (length & 1)
        if not self._long and even > _LONGEST_SHORT:
            raise _TooLong
        header = self._before + (_UINT32 if self._long else _UINT16).pack(even).decode(_LETTERS)
        if length < _KEPT:
            self[length] = header
        return header


class _ItemHeaders(dict[int, str]):
    """By the length of an Item of defined length its tag and length."""

    def __missing__(self, length: int) -> str:
        header = _ITEM + _UINT32.pack(length).decode(_LETTERS)
        if length < _KEPT:
            self[length] = header
        return header


class _Shape:
    """A set of attributes: which values are taken in which order, and what is around them."""

    def __init__(self, attributes: Sequence[Attribute], converters: Mapping[str, ToLetters]) -> None:
        self.tags: list[str] = []
        headers, pads = [], []
        empty = ""
        for attribute in attributes:
            if attribute.tag not in converters:
                empty += _Headers("", attribute)[0]  # of Type 2, and not given
                continue
            self.tags.append(attribute.tag)
            headers.append(_Headers(empty, attribute))
            pads.append(("", "\x00" if attribute.vr == "UI" else " "))
            empty = ""
        self._after = empty
        self._around = tuple(zip(headers, pads, strict=True))
        self._get: Callable[[Mapping[str, Any]], Sequence[Any]] = (
            itemgetter(*self.tags) if len(self.tags) > 1 else lambda values: tuple(values[tag] for tag in self.tags)
        )
        places = [(place, converters[tag]) for place, tag in enumerate(self.tags)]
        self._converted = [(place, convert) for place, convert in places if convert is not _text]

    def many(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """The letters of several Items of this shape, a column at a time. Raises _TooLong."""
        converters = dict(self._converted)
        columns: list[Iterable[str]] = []
        for place, column in enumerate(zip(*map(self._get, rows), strict=True)):
            around = self._around[place]
            convert = converters.get(place)
            if convert is not None:
                columns.append(_elements([convert(value) for value in column], around))
                continue
            different = [*set(column)]
            alike = len(different) * 2 < len(column)
            values = different if alike else column
            elements = _elements(values if "".join(values).isascii() else map(_text, values), around)
            columns.append(map(dict(zip(different, elements, strict=True)).__getitem__, column) if alike else elements)
        return map("".join, zip(*columns, repeat(self._after, len(rows)), strict=True))


def _elements(values: Iterable[str], around: tuple[_Headers, tuple[str, str]]) -> list[str]:
    headers, pads = around
    return [headers[size := len(value)] + value + pads[size & 1] for value in values]


class ItemEncoder:
    """Encodes Items that may hold the attributes of one table, in ascending order of tag.

    The value of a sequence may also be letters: then they are its Items as they are to be written. Attributes of Type 2
    that are not given are written empty, what is not in the table is left out. ``too_long`` counts values that their
    length field could not hold and that were emptied.
    """

    def __init__(self, table: Mapping[str, Attribute]) -> None:
        self._too_long = 0
        self._nested: list[ItemEncoder] = []
        self._table = table
        self._converters: dict[str, ToLetters] = {}
        self._shapes: dict[tuple[str, ...], _Shape] = {}
        self._item_headers = _ItemHeaders()

    @property
    def too_long(self) -> int:
        return self._too_long + sum(nested.too_long for nested in self._nested)

    def encode(self, values: Mapping[str, Value]) -> bytes:
        """The elements of one Item, without the Item's own tag and length."""
        [letters] = self._alike(tuple(values), [values])
        return to_bytes(letters)

    def items(self, rows: Sequence[Mapping[str, Value]]) -> list[str]:
        """The letters of each of several Items. Those that have the same attributes are encoded together."""
        shapes: dict[tuple[str, ...], list[int]] = {}
        for place, row in enumerate(rows):
            shapes.setdefault(tuple(row), []).append(place)
        found = [""] * len(rows)
        for tags, places in shapes.items():
            some = [rows[place] for place in places]
            for place, letters in zip(places, self._alike(tags, some), strict=True):
                found[place] = self._item_headers[len(letters)] + letters
        return found

    def _alike(self, tags: tuple[str, ...], rows: Sequence[Mapping[str, Value]]) -> Iterable[str]:
        shape = self._shape_of(tags)
        try:
            return shape.many(rows)
        except _TooLong:
            return shape.many([self._without_too_long(row, shape.tags) for row in rows])

    def _shape_of(self, tags: tuple[str, ...]) -> _Shape:
        shape = self._shapes.get(tags)
        if shape is None:
            if len(self._shapes) >= _MOST_SHAPES:
                self._shapes.clear()
            shape = self._shapes[tags] = self._shape(frozenset(tags))
        return shape

    def _shape(self, given: frozenset[str]) -> _Shape:
        rows = [self._table[tag] for tag in sorted(self._table) if tag in given or self._table[tag].type == "2"]
        return _Shape(rows, {row.tag: self._converter(row) for row in rows if row.tag in given})

    def _converter(self, attribute: Attribute) -> ToLetters:
        # Made when first it is needed: sequences are within sequences, and most are in no record.
        found = self._converters.get(attribute.tag)
        if found is None:
            found = self._converters[attribute.tag] = self._new_converter(attribute)
        return found

    def _new_converter(self, attribute: Attribute) -> ToLetters:
        if attribute.vr == "SQ":
            self._nested.append(ItemEncoder(attribute.children))
            return _sequence(self._nested[-1])
        if attribute.vr in _BINARY:
            return _binary(_BINARY[attribute.vr])
        if attribute.vr == "AT":
            return _attribute_tags
        return _bytes if attribute.vr in {"OB", "UN"} else _text

    def _without_too_long(self, values: Mapping[str, Value], tags: Sequence[str]) -> dict[str, Value]:
        mended = dict(values)
        for tag in tags:
            if self._table[tag].vr not in _LONG_FORM and len(self._converters[tag](values[tag])) > _LONGEST_SHORT:
                mended[tag] = ""
                self._too_long += 1
        return mended


def _sequence(items: ItemEncoder) -> ToLetters:
    known: dict[bytes, str] = {}  # codes come again and again

    def letters(value: Value) -> str:
        if isinstance(value, str):
            return value
        key = orjson.dumps(value)
        found = known.get(key)
        if found is None:
            found = "".join(items.items(value))
            if len(key) <= _LONGEST_KEPT:
                if len(known) >= _MOST_KEPT:
                    known.clear()
                known[key] = found
        return found

    return letters


def _text(value: str) -> str:
    return value.encode("utf-8").decode(_LETTERS)


def _bytes(value: str) -> str:
    content = base64.b64decode(value)
    return (content + b"\x00" if len(content) & 1 else content).decode(_LETTERS)


def _binary(code: str) -> ToLetters:
    number = float if code in "df" else int

    @lru_cache(maxsize=_MOST_KEPT)  # the instances of a series have the same rows and columns
    def letters(value: str) -> str:
        numbers = [number(one) for one in value.split("\\") if one]
        return struct.pack(f"<{len(numbers)}{code}", *numbers).decode(_LETTERS)

    return letters


def _attribute_tags(value: str) -> str:
    tags = [int(one, 16) for one in value.split("\\") if one]
    return b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in tags).decode(_LETTERS)
