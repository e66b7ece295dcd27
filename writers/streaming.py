"""Data Elements taken one after another off a stream whose end is not known (PS3.5 chapter 7).

No length is trusted: memory is used for bytes that are there, never for bytes that are claimed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from writers.scanning import (
    DELIMITERS,
    EXPLICIT,
    IMPLICIT,
    ITEM,
    ITEM_DELIMITATION,
    LENGTH,
    LONG_VRS,
    SEQUENCE_DELIMITATION,
    SHORT_VRS,
    UNDEFINED,
    Malformed,
    check_sequence,
    check_vr,
    show,
)

_CHUNK: Final = 1 << 18


class ByteStream:
    """Bytes taken in order, exactly as many as asked for. ``offset`` counts them, from ``offset`` on.

    ``read`` and ``at_end`` raise :class:`Malformed` when the bytes end too early or cannot be inflated.
    """

    def __init__(self, chunks: Iterator[bytes], offset: int) -> None:
        self._chunks = chunks
        self._chunk = b""
        self._at = 0
        self.offset = offset

    def read(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._chunk):
            return self._gather(size)
        found = self._chunk[self._at : end]
        self._at = end
        self.offset += size
        return found

    def plain_elements(self, implicit: bool, most: int) -> bytes:
        """The next elements with defined lengths, those that are at hand already and are at most ``most`` bytes.

        Nothing is refused here: what is not plain, or no element, is left to be read by itself.
        """
        chunk, position = self._chunk, self._at
        stop = min(len(chunk), position + most)
        while position + 12 <= stop:
            if implicit:
                group, _, length = IMPLICIT.unpack_from(chunk, position)
                end = position + 8 + length
            else:
                group, _, vr, length = EXPLICIT.unpack_from(chunk, position)
                end = position + 8 + length
                if vr in LONG_VRS:
                    [length] = LENGTH.unpack_from(chunk, position + 8)
                    end = position + 12 + length
                elif vr not in SHORT_VRS:
                    break
            if end > stop or length == UNDEFINED or group == DELIMITERS:
                break
            position = end
        found = chunk[self._at : position]
        self._at = position
        self.offset += len(found)
        return found

    def at_end(self) -> bool:
        return self._at == len(self._chunk) and not self._refill()

    def _refill(self) -> bool:
        try:
            self._chunk = next(self._chunks, b"")
        except zlib.error as error:
            raise Malformed(self.offset, f"cannot be inflated: {error}") from None
        self._at = 0
        return bool(self._chunk)

    def _gather(self, size: int) -> bytes:
        parts = [self._chunk[self._at :]]
        missing = size - len(parts[0])
        while missing:
            if not self._refill():
                raise Malformed(self.offset, f"ends too early: {missing} of {size} bytes are missing")
            parts.append(self._chunk[:missing])
            self._at = len(parts[-1])
            missing -= self._at
        self.offset += size
        return b"".join(parts)


def plain_chunks(file: BinaryIO) -> Iterator[bytes]:
    """The rest of a file as it is, in pieces that are never empty."""
    while chunk := file.read(_CHUNK):
        yield chunk


def inflated_chunks(file: BinaryIO) -> Iterator[bytes]:
    """The rest of a file inflated (PS3.5 A.5: a raw deflate stream), in pieces that are never empty.

    Raises:
        zlib.error: no deflate stream, one that is cut off, or more than one byte of padding after it.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    while not inflater.eof:
        given = inflater.unconsumed_tail or file.read(_CHUNK)
        chunk = inflater.decompress(given, _CHUNK)
        if chunk:
            yield chunk
        elif not given and not inflater.eof:
            raise zlib.error("the deflate stream is cut off")
    if len(inflater.unused_data + file.read(2)) > 1:
        raise zlib.error("bytes after the end of the deflate stream")


class Head(NamedTuple):
    """An element's header taken off a stream; ``encoded`` is the header as it stood."""

    tag: int
    vr: bytes
    length: int
    encoded: bytes


def read_head(stream: ByteStream, implicit: bool) -> Head:
    """The next element's or Item's header.

    Raises:
        Malformed: the stream ends within it, or it has no VR where Explicit VR needs one.
    """
    position = stream.offset
    encoded = stream.read(8)
    if implicit or encoded[:2] == b"\xfe\xff":
        group, number, length = IMPLICIT.unpack(encoded)
        return Head(group << 16 | number, b"", length, encoded)
    group, number, vr, length = EXPLICIT.unpack(encoded)
    tag = group << 16 | number
    if vr in SHORT_VRS:
        return Head(tag, vr, length, encoded)
    check_vr(vr, tag, position)
    encoded += stream.read(4)
    return Head(tag, vr, LENGTH.unpack_from(encoded, 8)[0], encoded)


def copy_value(stream: ByteStream, head: Head, sink: bytearray, implicit: bool, limit: int, depth: int = 0) -> None:
    """Append the element that ``head`` begins to ``sink``; ``depth`` sequences are around it.

    Raises:
        Malformed: as for :func:`elements`, or when ``sink`` would exceed ``limit`` bytes.
    """
    _append(stream, head.encoded, head.length, sink, limit)
    if head.length != UNDEFINED:
        return
    check_sequence(head.vr, depth + 1, stream.offset)
    inner = implicit or head.vr == b"UN"
    while True:
        position = stream.offset
        item = read_head(stream, True)
        if item.tag == SEQUENCE_DELIMITATION:
            sink += item.encoded
            return
        if item.tag != ITEM:
            raise Malformed(position, f"{show(item.tag)} where an Item was expected")
        _append(stream, item.encoded, item.length, sink, limit)
        if item.length == UNDEFINED:
            sink += copy_item(stream, sink, inner, limit, depth + 1)


def copy_item(stream: ByteStream, sink: bytearray, implicit: bool, limit: int, depth: int) -> bytes:
    """Append the elements of an undefined-length Item to ``sink``; returns its delimiter, not appended.

    Raises:
        Malformed: as for :func:`copy_value`.
    """
    while True:
        sink += stream.plain_elements(implicit, limit - len(sink))
        position = stream.offset
        head = read_head(stream, implicit)
        if head.tag == ITEM_DELIMITATION:
            return head.encoded
        if head.tag >> 16 == 0xFFFE:
            raise Malformed(position, f"{show(head.tag)} where an element was expected")
        copy_value(stream, head, sink, implicit, limit, depth)


def _append(stream: ByteStream, encoded: bytes, length: int, sink: bytearray, limit: int) -> None:
    defined = 0 if length == UNDEFINED else length
    if len(sink) + len(encoded) + defined > limit:
        raise Malformed(stream.offset, f"more than {limit} bytes where fewer are expected")
    sink += encoded
    sink += stream.read(defined)
