"""Study records compared by content, whatever their encoding: digests of encoded bytes without decoding Datasets.

Equal digests mean the same attributes, values and parts. Not told apart: transfer syntax, lengths, padding,
character set, and the order of series and of instances. VRs come from the standard's dictionary where it has
the tag.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from writers.decoding import character_sets_of, decode_text, is_sequence, known_vr
from writers.scanning import Element, elements, items

SERIES: Final = 0x00080424
INSTANCES: Final = 0x00080425

_CHARACTER_SET: Final = 0x00080005
_IGNORED: Final = frozenset({_CHARACTER_SET, 0x00080404, 0x0008041F})  # when it was recorded, when updated
_UNORDERED: Final = frozenset({SERIES, INSTANCES})
_BINARY: Final = frozenset(
    ["AT", "FD", "FL", "OB", "OD", "OF", "OL", "OV", "OW", "SL", "SQ", "SS", "SV", "UL", "UN", "US", "UV"]
) | {"", "US or SS"}
_EXPANDABLE: Final = frozenset(["LO", "LT", "PN", "SH", "ST", "UC", "UT"])
_LEADING_SPACES_COUNT: Final = frozenset(["LT", "ST", "UT", "UC", "UR"])
_SIZE: Final = 16


@dataclass(frozen=True, slots=True)
class EncodedDataSet:
    """A data set that lies in ``data[start:stop]``, with what applies around it; ``depth`` sequences are around it."""

    data: bytes
    start: int
    stop: int
    implicit: bool
    character_sets: tuple[str, ...]
    depth: int

    def attributes(self) -> dict[int, bytes]:
        """The digest of each attribute that counts, by tag.

        Raises:
            Malformed: the bytes are no Data Elements.
        """
        character_sets = self.character_sets
        found = {}
        for element in elements(self.data, self.start, self.stop, self.implicit, self.depth):
            if element.tag == _CHARACTER_SET:
                character_sets = character_sets_of(self.data[element.start : element.stop])
            if element.tag not in _IGNORED:
                found[element.tag] = self._digest(element, character_sets)
        return found

    def digest(self) -> bytes:
        """One digest of all :meth:`attributes`.

        Raises:
            Malformed: the bytes are no Data Elements.
        """
        total = hashlib.blake2b(digest_size=_SIZE)
        for tag, digest in self.attributes().items():
            total.update(tag.to_bytes(4, "big") + digest)
        return total.digest()

    def items(self, tag: int) -> Iterator[EncodedDataSet]:
        """The Items of the sequence ``tag``; none if it is not there.

        Raises:
            Malformed: the bytes are no Data Elements.
        """
        character_sets = self.character_sets
        for element in elements(self.data, self.start, self.stop, self.implicit, self.depth):
            if element.tag == _CHARACTER_SET:
                character_sets = character_sets_of(self.data[element.start : element.stop])
            if element.tag == tag and is_sequence(element):
                yield from self._items(element, character_sets)

    def text(self, tag: int) -> str:
        """The value of a UID; empty if it is not there.

        Raises:
            Malformed: the bytes are no Data Elements.
        """
        for element in elements(self.data, self.start, self.stop, self.implicit, self.depth):
            if element.tag == tag:
                return self.data[element.start : element.stop].decode("ascii", "replace").strip(" \0")
        return ""

    def _items(self, sequence: Element, character_sets: tuple[str, ...]) -> Iterator[EncodedDataSet]:
        depth = self.depth + 1
        for begin, end in items(self.data, sequence, depth):
            yield EncodedDataSet(self.data, begin, end, sequence.implicit, character_sets, depth)

    def _digest(self, element: Element, character_sets: tuple[str, ...]) -> bytes:
        total = hashlib.blake2b(digest_size=_SIZE)
        if is_sequence(element):
            parts = [item.digest() for item in self._items(element, character_sets)]
            if element.tag in _UNORDERED:
                parts.sort()
            total.update(b"".join(parts))
        else:
            total.update(_value(self.data, element, character_sets))
        return total.digest()


def _value(data: bytes, element: Element, character_sets: tuple[str, ...]) -> bytes:
    value = data[element.start : element.stop]
    vr = known_vr(element.tag) or element.vr.decode("ascii", "replace")
    if vr in _BINARY:
        return value
    if vr in _EXPANDABLE and not (value.isascii() and b"\x1b" not in value):
        value = decode_text(value, vr, character_sets).encode()
    if vr in _LEADING_SPACES_COUNT:
        return value.rstrip(b" \0")
    if vr == "PN":
        # "Doe^Jane^^^" and "Doe^Jane" are one name (PS3.5 6.2, note on trailing delimiters).
        value = b"\\".join(
            b"=".join(group.rstrip(b"^ \0") for group in name.split(b"=")).rstrip(b"=") for name in value.split(b"\\")
        )
    return b"\\".join(part.strip(b" \0") for part in value.split(b"\\"))
