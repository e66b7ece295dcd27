"""Data Elements found in encoded bytes by their headers alone (PS3.5 chapter 7), without decoding a value.

:func:`elements` and :func:`items` walk bytes in memory; what does not fit is refused with :class:`Malformed`.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator
from typing import Final, NamedTuple

ITEM: Final = 0xFFFEE000
ITEM_DELIMITATION: Final = 0xFFFEE00D
SEQUENCE_DELIMITATION: Final = 0xFFFEE0DD
UNDEFINED: Final = 0xFFFFFFFF
DELIMITERS: Final = 0xFFFE  # the group of these three
MAX_DEPTH: Final = 64  # sequences within sequences; an Inventory of a deep tree stays well below

SHORT_VRS: Final = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()  # PS3.5 7.1.2: 16-bit length
)
LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # 32-bit length; later ones have it too
_HEADER: Final = struct.Struct("<6sH")
_PASSED, _TAKEN, _LONG, _OTHER = range(4)
_MOST_KINDS: Final = 1 << 12
EXPLICIT: Final = struct.Struct("<HH2sH")
IMPLICIT: Final = struct.Struct("<HHI")
LENGTH: Final = struct.Struct("<I")


class Malformed(ValueError):
    """Bytes that are no Data Elements. ``offset`` is where, in the bytes or the stream that were given."""

    def __init__(self, offset: int, text: str) -> None:
        super().__init__(text)
        self.offset = offset


class Element(NamedTuple):
    """One element: its value is ``data[start:stop]``, without the delimiter of an undefined length.

    ``vr`` is empty in Implicit VR. ``implicit`` tells how the Items of a sequence are encoded: inside a UN of
    undefined length they are in Implicit VR also in an explicit file (PS3.5 6.2.2).
    """

    tag: int
    vr: bytes
    start: int
    stop: int
    undefined: bool
    implicit: bool


def elements(data: bytes, start: int, stop: int, implicit: bool, depth: int = 0) -> Iterator[Element]:
    """The elements of one data set that lies in ``data[start:stop]``; ``depth`` sequences are around it.

    Raises:
        Malformed: when a header or value goes past ``stop``, a VR is none, or sequences nest too deep.
    """
    position = start
    vr = b""
    while position < stop:
        if implicit and stop - position >= 8:  # as _head does it
            group, number, length = IMPLICIT.unpack_from(data, position)
            tag, begin = group << 16 | number, position + 8
        else:
            tag, vr, length, begin = _head(data, position, stop, implicit)
        if tag >> 16 == DELIMITERS:
            raise Malformed(position, f"{show(tag)} where an element was expected")
        if length == UNDEFINED:
            inner = implicit or vr == b"UN"
            end, after = _sequence_end(data, begin, stop, vr, inner, depth + 1)
            yield Element(tag, vr, begin, end, True, inner)
            position = after
        else:
            end = begin + length
            if end > stop:
                raise Malformed(position, f"{show(tag)} has length {length}, {end - stop} more than there is")
            yield Element(tag, vr, begin, end, False, implicit)
            position = end


class Wanted(dict[bytes, int]):
    """Which elements are wanted, by tag and VR as they are encoded in Explicit VR; filled as they are met."""

    def __init__(self, tags: Container[int]) -> None:
        super().__init__()
        self.tags = tags

    def __missing__(self, header: bytes) -> int:
        tag, vr = _tag(header), header[4:]
        kind = _OTHER
        if tag >> 16 != DELIMITERS:
            if vr in SHORT_VRS:
                kind = _TAKEN if tag in self.tags else _PASSED
            elif vr in LONG_VRS and tag not in self.tags:
                kind = _LONG
        if len(self) < _MOST_KINDS:
            self[header] = kind
        return kind


def explicit_values(data: bytes, wanted: Wanted, depth: int = 0) -> dict[int, bytes]:
    """By tag the values of those elements of a whole data set in Explicit VR that are wanted.

    Every header is looked at, as :func:`elements` does it, in a quarter of the time.

    Raises:
        Malformed: as for :func:`elements`.
    """
    found: dict[int, bytes] = {}
    position, stop, header = 0, len(data), _HEADER.unpack_from
    try:
        while position < stop:
            element, length = header(data, position)
            kind = wanted[element]
            if kind == _PASSED:
                position += 8 + length
            elif kind == _TAKEN:
                found[_tag(element)] = data[position + 8 : position + 8 + length]
                position += 8 + length
            elif kind == _LONG:
                [length] = LENGTH.unpack_from(data, position + 8)
                if length == UNDEFINED:
                    vr = element[4:]
                    _, position = _sequence_end(data, position + 12, stop, vr, vr == b"UN", depth + 1)
                else:
                    position += 12 + length
            else:
                break
    except struct.error:
        pass  # it ends within a header
    if position == stop:
        return found
    every = elements(data, 0, stop, False, depth)
    return {one.tag: data[one.start : one.stop] for one in every if one.tag in wanted.tags}


def implicit_values(data: bytes, tags: Container[int], depth: int = 0) -> dict[int, bytes]:
    """The same for a data set in Implicit VR.

    Raises:
        Malformed: as for :func:`elements`.
    """
    found: dict[int, bytes] = {}
    position, stop, header = 0, len(data), IMPLICIT.unpack_from
    while position + 8 <= stop:
        group, number, length = header(data, position)
        begin = position + 8
        if length == UNDEFINED or group == DELIMITERS or begin + length > stop:
            break
        tag = group << 16 | number
        position = begin + length
        if tag in tags:
            found[tag] = data[begin:position]
    every = elements(data, position, stop, True, depth)
    return found | {one.tag: data[one.start : one.stop] for one in every if one.tag in tags}


def _tag(header: bytes) -> int:
    return header[1] << 24 | header[0] << 16 | header[3] << 8 | header[2]


def items(data: bytes, sequence: Element, depth: int) -> Iterator[tuple[int, int]]:
    """The Items of a sequence as (start, stop) of the data set in each. ``depth`` counts this sequence.

    Raises:
        Malformed: as for :func:`elements`.
    """
    if depth > MAX_DEPTH:
        raise Malformed(sequence.start, f"sequences are nested more than {MAX_DEPTH} deep")
    position, stop = sequence.start, sequence.stop
    while position < stop:
        tag, _, length, begin = _head(data, position, stop, True)
        if tag != ITEM:
            raise Malformed(position, f"{show(tag)} where an Item was expected")
        if length == UNDEFINED:
            end, position = _item_end(data, begin, stop, sequence.implicit, depth)
        else:
            end = position = begin + length
            if end > stop:
                raise Malformed(begin, f"an Item has length {length}, {end - stop} more than there is")
        yield begin, end


def _head(data: bytes, position: int, stop: int, implicit: bool) -> tuple[int, bytes, int, int]:
    """Tag, VR, length and where the value begins."""
    if stop - position < 8:
        raise Malformed(position, "ends within an element's header")
    if implicit or data[position : position + 2] == b"\xfe\xff":
        group, number, length = IMPLICIT.unpack_from(data, position)
        return group << 16 | number, b"", length, position + 8
    group, number, vr, length = EXPLICIT.unpack_from(data, position)
    tag = group << 16 | number
    if vr in SHORT_VRS:
        return tag, vr, length, position + 8
    check_vr(vr, tag, position)
    if stop - position < 12:
        raise Malformed(position, "ends within an element's header")
    return tag, vr, LENGTH.unpack_from(data, position + 8)[0], position + 12


def check_vr(vr: bytes, tag: int, position: int) -> None:
    # A VR of a later edition has a 32-bit length (PS3.5 7.1.2), so any two capital letters will do.
    if not (vr.isalpha() and vr.isupper()):
        raise Malformed(position, f"{show(tag)} has no VR where Explicit VR needs one")


def check_sequence(vr: bytes, depth: int, position: int) -> None:
    if vr not in (b"", b"SQ", b"UN"):
        raise Malformed(position, f"undefined length with VR {vr.decode('ascii')}")
    if depth > MAX_DEPTH:
        raise Malformed(position, f"sequences are nested more than {MAX_DEPTH} deep")


def _sequence_end(data: bytes, position: int, stop: int, vr: bytes, implicit: bool, depth: int) -> tuple[int, int]:
    """Where the Items of an undefined-length sequence end, and where its delimiter ends."""
    check_sequence(vr, depth, position)
    while True:
        tag, _, length, begin = _head(data, position, stop, True)
        if tag == SEQUENCE_DELIMITATION:
            return position, begin
        if tag != ITEM:
            raise Malformed(position, f"{show(tag)} where an Item was expected")
        if length == UNDEFINED:
            _, position = _item_end(data, begin, stop, implicit, depth)
        elif begin + length > stop:
            raise Malformed(begin, f"an Item has length {length}, more than there is")
        else:
            position = begin + length


def _item_end(data: bytes, position: int, stop: int, implicit: bool, depth: int) -> tuple[int, int]:
    """Where the elements of an undefined-length Item end, and where its delimiter ends."""
    while True:
        tag, vr, length, begin = _head(data, position, stop, implicit)
        if tag == ITEM_DELIMITATION:
            return position, begin
        if tag >> 16 == 0xFFFE:
            raise Malformed(position, f"{show(tag)} where an element was expected")
        if length == UNDEFINED:
            _, position = _sequence_end(data, begin, stop, vr, implicit or vr == b"UN", depth + 1)
        elif begin + length > stop:
            raise Malformed(position, f"{show(tag)} has length {length}, more than there is")
        else:
            position = begin + length


def show(tag: int) -> str:
    """A tag as the standard writes it, ``(0008,0423)``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
