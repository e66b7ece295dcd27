"""One Item of the Inventoried Studies Sequence as it stands in a file, and the error of a file that has none."""

from __future__ import annotations

from datetime import tzinfo
from pathlib import Path
from typing import Final, NamedTuple

from pydicom.dataset import Dataset

from state.times import parse_time
from writers.decoding import decode, python_encodings
from writers.scanning import Malformed, Wanted, explicit_values, implicit_values
from writers.terms import REMOVED

_STUDY_INSTANCE_UID: Final = 0x0020000D
_ITEM_INVENTORY_DATETIME: Final = 0x00080404
_REMOVED_FROM_OPERATIONAL_USE: Final = 0x00080405
_STUDY_UPDATE_DATETIME: Final = 0x0008041F
WANTED: Final = frozenset(  # what is read of an Item before anybody asks for more
    {_STUDY_INSTANCE_UID, _ITEM_INVENTORY_DATETIME, _REMOVED_FROM_OPERATIONAL_USE, _STUDY_UPDATE_DATETIME}
)


class InvalidInventory(Exception):
    """A file that cannot be read as an Inventory. The text names the file, the fault and the offset if known.

    ``offset`` counts bytes of the file; of the inflated data set for the part of a file that is deflated.
    """

    def __init__(self, path: Path, text: str, offset: int | None = None) -> None:
        super().__init__(f"{path}: {text}" if offset is None else f"{path}: at offset {offset}: {text}")
        self.path = path
        self.text = text
        self.offset = offset


class StudyItem(NamedTuple):
    """One Item of the Inventoried Studies Sequence (0008,0423).

    ``study_instance_uid`` is empty if the Item has none. ``inventoried`` and ``updated`` are Item Inventory DateTime
    and Study Update DateTime as they are written; without an offset they are in ``zone``, that of the file. ``removed``
    is Removed from Operational Use = Y at study level. ``data`` is the Item's elements as encoded, without tag and
    length of the Item, ``offset`` where they begin, ``character_sets`` what the Item inherits from the file
    (0008,0005).
    """

    study_instance_uid: str
    inventoried: str
    updated: str
    zone: tzinfo
    removed: bool
    data: bytes
    implicit: bool
    path: Path
    offset: int
    character_sets: tuple[str, ...]

    @property
    def item_inventory_datetime(self) -> int | None:
        """UTC microseconds, None when it is empty, absent or no DT."""
        return _moment(self.inventoried, self.zone)

    @property
    def study_update_datetime(self) -> int | None:
        """UTC microseconds, None when it is empty, absent or no DT."""
        return _moment(self.updated, self.zone)

    def dataset(self) -> Dataset:
        """The Item decoded, all of it. A value that breaks its VR is kept as text or bytes.

        Raises:
            InvalidInventory: something inside the Item is no Data Element.
        """
        try:
            return decode(self.data, self.implicit, python_encodings(self.character_sets))
        except Malformed as error:
            raise InvalidInventory(self.path, str(error), self.offset + error.offset) from None


def read_study_item(
    data: bytes,
    implicit: bool,
    wanted: Wanted,
    zone: tzinfo,
    path: Path,
    offset: int,
    character_sets: tuple[str, ...],
) -> StudyItem:
    """The Item whose encoded elements are ``data``; only their headers are scanned. ``wanted`` is of :data:`WANTED`.

    Raises:
        Malformed: they do not fit.
    """
    found = implicit_values(data, WANTED, depth=1) if implicit else explicit_values(data, wanted, depth=1)
    return StudyItem(
        _text(found, _STUDY_INSTANCE_UID),
        _text(found, _ITEM_INVENTORY_DATETIME),
        _text(found, _STUDY_UPDATE_DATETIME),
        zone,
        _text(found, _REMOVED_FROM_OPERATIONAL_USE) == REMOVED,
        data,
        implicit,
        path,
        offset,
        character_sets,
    )


def _text(found: dict[int, bytes], tag: int) -> str:
    value = found.get(tag)
    return "" if value is None else value.decode("ascii", "replace").strip(" \0")


def _moment(text: str, zone: tzinfo) -> int | None:
    if not text:
        return None
    try:
        return parse_time(text, zone)
    except ValueError:
        return None
