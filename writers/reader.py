"""One Inventory SOP Instance (PS3.3 A.88), of any writer, read as a stream: memory holds one study Item.

Only element headers are scanned; pydicom decodes the elements around the Inventoried Studies Sequence, and
each Item when it is asked for. Implicit VR, Explicit VR and Deflated Explicit VR Little Endian are read, with
defined and undefined lengths at every depth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, timedelta, timezone, tzinfo
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from writers.decoding import decode, python_encodings
from writers.file_meta import read_file_meta
from writers.scanning import ITEM, SEQUENCE_DELIMITATION, UNDEFINED, Malformed, Wanted, show
from writers.streaming import (
    ByteStream,
    Head,
    copy_item,
    copy_value,
    inflated_chunks,
    plain_chunks,
    read_head,
)
from writers.study_item import WANTED, InvalidInventory, StudyItem, read_study_item
from writers.terms import INVENTORY_STORAGE

__all__ = ["InvalidInventory", "InventoryFile", "StudyItem"]


_STUDIES: Final = 0x00080423
_BEYOND: Final = 1 << 32  # above every tag
_MAX_AROUND: Final = 1 << 28  # bytes before, and after, the sequence: the copies of 0008,0422 can be large
_MAX_ITEM: Final = 1 << 31  # bytes of one study; about ten million instances
_ZONE: Final = re.compile(r"([+-])(\d\d)(\d\d)", re.ASCII)


class InventoryFile:
    """An Inventory opened for one pass: ``header`` at once, then :meth:`studies`, then ``trailer``.

    ``header`` holds every element before (0008,0423), with the File Meta Information in ``header.file_meta``;
    ``header_data`` the same as encoded. ``zone`` is the zone of times that carry no offset where the file has
    no valid Timezone Offset From UTC (0008,0201). ``has_studies`` tells whether the sequence is there, empty
    or not.

    Raises:
        InvalidInventory: no DICOM file, not an Inventory, or one that breaks off.
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path, zone: tzinfo = UTC) -> None:
        self.path = path
        self.zone = zone
        self._started = False
        self._trailer: Dataset | None = None
        self._trailer_data = b""
        self._pending: Head | None = None
        self._file = path.open("rb")
        try:
            with self._named():
                self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        self.meta = read_file_meta(self._file)
        syntax = self.meta.transfer_syntax_uid
        if syntax not in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
            raise InvalidInventory(self.path, f"transfer syntax {syntax!r} is not supported")
        if self.meta.sop_class_uid != INVENTORY_STORAGE:
            raise InvalidInventory(self.path, f"not an Inventory: its SOP Class is {self.meta.sop_class_uid!r}")
        self.implicit = syntax == ImplicitVRLittleEndian
        if syntax == DeflatedExplicitVRLittleEndian:
            self._stream = ByteStream(inflated_chunks(self._file), 0)
        else:
            self._stream = ByteStream(plain_chunks(self._file), self._file.tell())
        self.header_offset = self._stream.offset
        self._last_tag = 0x0002FFFF  # what follows the File Meta Information is above its group
        self.header_data = self._copy_elements(below=_STUDIES)
        self.has_studies = self._pending is not None and self._pending.tag == _STUDIES
        with self._shifted(self.header_offset):
            self.header = decode(self.header_data, self.implicit, python_encodings(()))
        self.header.file_meta = FileMetaDataset(decode(self.meta.data, False, python_encodings(())))
        self.character_sets = _texts(self.header, "SpecificCharacterSet")
        self.stated_zone = _zone_of(self.header)
        self.zone = self.stated_zone or self.zone

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def sop_instance_uid(self) -> str:
        """(0008,0018); the File Meta Information's where the data set has none."""
        return "".join(_texts(self.header, "SOPInstanceUID")[:1]) or self.meta.sop_instance_uid

    @property
    def trailer(self) -> Dataset:
        """The elements after (0008,0423), decoded.

        Raises:
            RuntimeError: :meth:`studies` is not exhausted yet.
        """
        if self._trailer is None:
            raise RuntimeError("what follows the studies is known when studies() is exhausted")
        return self._trailer

    @property
    def trailer_data(self) -> bytes:
        """The elements after (0008,0423) as encoded; empty until :meth:`studies` is exhausted."""
        return self._trailer_data

    def studies(self) -> Iterator[StudyItem]:
        """The study Items in the order of the file, once.

        Raises:
            InvalidInventory: the file breaks off or is malformed; what was yielded before is sound.
            RuntimeError: called a second time.
        """
        if self._started:
            raise RuntimeError("studies() streams a file once; open it again")
        self._started = True
        return self._studies()

    def check_whole(self, records: int) -> None:
        """After :meth:`studies`: is this what the writer meant to write, with ``records`` study Items?

        A file may be cut off between two elements, which its structure does not show; its counts do.

        Raises:
            InvalidInventory: the sequence or a count is missing, or (0008,0427) is not ``records``.
        """
        stated = self.trailer.get("NumberOfStudyRecordsInInstance")
        if not self.has_studies or stated is None or "TotalNumberOfStudyRecords" not in self.trailer:
            raise InvalidInventory(self.path, "ends before its number of study records: cut off")
        if stated != records:
            raise InvalidInventory(self.path, f"holds {records} study records but states {stated}")

    def _studies(self) -> Iterator[StudyItem]:
        with self._named():
            if self.has_studies and (sequence := self._next_head()) is not None:
                yield from self._items(sequence)
            self.trailer_offset = self._stream.offset - (len(self._pending.encoded) if self._pending else 0)
            self._trailer_data = self._copy_elements(below=_BEYOND)
            with self._shifted(self.trailer_offset):
                encodings = python_encodings(self.character_sets)
                self._trailer = decode(self._trailer_data, self.implicit, encodings)

    def _items(self, sequence: Head) -> Iterator[StudyItem]:
        stream = self._stream
        wanted = Wanted(WANTED)
        undefined = sequence.length == UNDEFINED
        implicit = self.implicit or sequence.vr == b"UN"
        end = stream.offset + sequence.length
        while undefined or stream.offset < end:
            position = stream.offset
            head = read_head(stream, True)
            if head.tag == SEQUENCE_DELIMITATION and undefined:
                return
            if head.tag != ITEM:
                raise Malformed(position, f"{show(head.tag)} where an Item was expected")
            offset = stream.offset
            if head.length == UNDEFINED:
                sink = bytearray()
                copy_item(stream, sink, implicit, _MAX_ITEM, 1)
                data = bytes(sink)
            elif head.length > _MAX_ITEM:
                raise Malformed(position, f"an Item of {head.length} bytes")
            else:
                data = stream.read(head.length)
            if not undefined and stream.offset > end:
                raise Malformed(position, f"an Item goes past the end of {show(_STUDIES)}")
            try:
                item = read_study_item(data, implicit, wanted, self.zone, self.path, offset, self.character_sets)
            except Malformed as error:
                raise Malformed(offset + error.offset, str(error)) from None
            yield item

    def _copy_elements(self, below: int) -> bytes:
        """The elements with tags below ``below``; the first that is not stays in ``_pending``."""
        sink = bytearray()
        while (head := self._next_head()) is not None:
            if head.tag >= below:
                self._pending = head
                break
            copy_value(self._stream, head, sink, self.implicit, _MAX_AROUND)
        return bytes(sink)

    def _next_head(self) -> Head | None:
        """The header of the data set's next element, None at its end."""
        if self._pending is not None:
            head, self._pending = self._pending, None
            return head
        if self._stream.at_end():
            return None
        position = self._stream.offset
        head = read_head(self._stream, self.implicit)
        if head.tag <= self._last_tag or head.tag >> 16 == 0xFFFE:
            raise Malformed(position, f"{show(head.tag)} is not in ascending order")
        self._last_tag = head.tag
        return head

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except Malformed as error:
            raise InvalidInventory(self.path, str(error), error.offset) from None

    @contextmanager
    def _shifted(self, base: int) -> Iterator[None]:
        try:
            yield
        except Malformed as error:
            raise Malformed(base + error.offset, str(error)) from None


def _texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    value = dataset.get(keyword)
    if value is None or value == "" or isinstance(value, bytes):
        return ()
    return (value,) if isinstance(value, str) else tuple(str(part) for part in value)


def _zone_of(header: Dataset) -> tzinfo | None:
    match = _ZONE.fullmatch("".join(_texts(header, "TimezoneOffsetFromUTC")))
    if match is None:
        return None
    minutes = int(match[2]) * 60 + int(match[3])
    if minutes >= 24 * 60:
        return None
    return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))
