"""What an Inventory says of those that it incorporates: Incorporated Inventory Instance Sequence (0008,0422)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from writers.decoding import items_of
from writers.study_item import InvalidInventory

_END_POINTS: Final = "InventoryAccessEndPointsSequence"
# PS3.3 Table C.38.2-3 has File Access URI in the reference itself; others may put it where study records have it.
_FILE_ACCESS: Final = ("FileAccessSequence", "FileSetAccessSequence")


@dataclass(frozen=True, slots=True)
class Location:
    """Where a file is said to be, as it is written.

    ``uri`` is File Access URI (0008,0409), ``base`` the Stored Instance Base URI (0008,0407) that applies, empty where
    there is none.
    """

    uri: str
    base: str


@dataclass(frozen=True, slots=True)
class Reference:
    """One Item of (0008,0422), with the copy of the member's own, and where it says that the member's file is."""

    sop_instance_uid: str
    incorporates: tuple[Reference, ...]
    locations: tuple[Location, ...] = ()


def references(header: Dataset, path: Path) -> tuple[Reference, ...]:
    """What an Inventory's header says it incorporates, recursively.

    The base of a File Access URI is that of the reference's own Inventory Access End Points (0008,0420), else of the
    reference around it, else of the Inventory (PS3.3 C.38.2.3). File Access URI may also stand in a File Access or File
    Set Access Sequence of the reference, and the base beside it.

    Raises:
        InvalidInventory: a reference without Referenced SOP Instance UID.
    """
    return _references(header, path, _base_of(header, ""))


def outline(below: Sequence[Reference]) -> dict[str, int]:
    """The UIDs in depth-first order, each with the least depth at which it stands; the first level is 1."""
    depths: dict[str, int] = {}
    for reference, depth in _walk(below, 1):
        known = depths.setdefault(reference.sop_instance_uid, depth)
        depths[reference.sop_instance_uid] = min(known, depth)
    return depths


def locations(below: Sequence[Reference]) -> dict[str, tuple[Location, ...]]:
    """Where each member's file is said to be, by UID in the order of :func:`outline`; each place once."""
    found: dict[str, dict[Location, None]] = {}
    for reference, _ in _walk(below, 1):
        found.setdefault(reference.sop_instance_uid, {}).update(dict.fromkeys(reference.locations))
    return {uid: tuple(places) for uid, places in found.items()}


def _references(header: Dataset, path: Path, base: str) -> tuple[Reference, ...]:
    found = []
    for item in items_of(header, "IncorporatedInventoryInstanceSequence"):
        uid = item.get("ReferencedSOPInstanceUID")
        if not isinstance(uid, str) or not uid:
            raise InvalidInventory(path, "a reference in (0008,0422) without Referenced SOP Instance UID")
        own = _base_of(item, base)
        found.append(Reference(str(uid), _references(item, path, own), tuple(_locations(item, own))))
    return tuple(found)


def _walk(below: Sequence[Reference], depth: int) -> Iterator[tuple[Reference, int]]:
    for reference in below:
        yield reference, depth
        yield from _walk(reference.incorporates, depth + 1)


def _base_of(dataset: Dataset, around: str) -> str:
    """The base that a data set states; ``around`` is what applies if it states none."""
    stated = (_text(one, "StoredInstanceBaseURI") for one in (*items_of(dataset, _END_POINTS), dataset))
    return next(filter(None, stated), around)


def _locations(item: Dataset, base: str) -> Iterator[Location]:
    for one in (item, *(inner for name in (*_FILE_ACCESS, _END_POINTS) for inner in items_of(item, name))):
        if uri := _text(one, "FileAccessURI"):
            yield Location(uri, _text(one, "StoredInstanceBaseURI") or base)


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return value.strip(" \0") if isinstance(value, str) else ""
