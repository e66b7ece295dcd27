"""Two trees of Inventories compared by what they say of each study now (see ``writers.resolve``).

When a record was taken (0008,0404) and when the study was updated (0008,041F) do not count: two archives that
hold the same studies differ in both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, tzinfo
from typing import IO, Any, Final

from pydicom.datadict import keyword_for_tag

from writers.canonical import INSTANCES, SERIES, EncodedDataSet
from writers.resolve import resolve
from writers.scanning import Malformed, show
from writers.study_item import InvalidInventory, StudyItem
from writers.tree import Tree

_SERIES_INSTANCE_UID: Final = 0x0020000E
_SOP_INSTANCE_UID: Final = 0x00080018


@dataclass(frozen=True, slots=True)
class Parts:
    """How the series, or the instances, of a study differ, by UID: ``missing`` are in A only, ``extra`` in B only.

    ``attributes`` are those that differ in any that both have, by keyword or tag.
    """

    missing: int = 0
    extra: int = 0
    different: int = 0
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StudyDifference:
    """One study that differs. ``kind``: ``missing`` (in A only), ``extra`` (in B only) or ``different``.

    ``removed_in_a`` and ``removed_in_b`` are None where the study is not there. ``attributes`` are the
    study's own, by keyword or tag.
    """

    study_instance_uid: str
    kind: str
    removed_in_a: bool | None
    removed_in_b: bool | None
    attributes: tuple[str, ...] = ()
    series: Parts = field(default_factory=Parts)
    instances: Parts = field(default_factory=Parts)

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> StudyDifference:
        """The difference that :meth:`to_json` made."""
        series, instances = (
            Parts(**{**found[name], "attributes": tuple(found[name]["attributes"])}) for name in ("series", "instances")
        )
        attributes = tuple(found["attributes"])
        return cls(**{**found, "attributes": attributes, "series": series, "instances": instances})


@dataclass(slots=True)
class Counts:
    """Studies, counted while :func:`diff` runs; ``removed_in_one`` are among ``different``."""

    in_a: int = 0
    in_b: int = 0
    same: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    removed_in_one: int = 0

    def to_json(self) -> dict[str, int]:
        """The same as a JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Spooled:
    """Where a record of B that differs lies in the temporary file, and how it is encoded."""

    offset: int
    size: int
    implicit: bool
    character_sets: tuple[str, ...]
    removed: bool


def _nothing() -> None:
    """No progress is wanted."""


def diff(
    a: Tree, b: Tree, counts: Counts, zone: tzinfo = UTC, progress: Callable[[], None] = _nothing
) -> Iterator[StudyDifference]:
    """The studies whose effective records differ: first those in B only, then those in A only, then the different.

    Kept in memory: a digest for each study of A; records of B that differ lie in an unnamed temporary file.
    ``counts`` is complete when this is exhausted. ``progress`` is called for each record read.

    Raises:
        InvalidInventory: a file of either tree is malformed or cut off.
        OSError: a file cannot be read.
    """
    in_a: dict[str, tuple[bytes, bool]] = {}
    for effective in resolve(a, zone, progress):
        in_a[effective.item.study_instance_uid] = digest_of(effective.item), effective.item.removed
    counts.in_a = len(in_a)
    differing: dict[str, _Spooled] = {}
    with tempfile.TemporaryFile() as spool:
        for effective in resolve(b, zone, progress):
            item = effective.item
            uid = item.study_instance_uid
            counts.in_b += 1
            held = in_a.pop(uid, None)
            if held is None:
                counts.extra += 1
                yield StudyDifference(uid, "extra", None, item.removed)
            elif held[0] == digest_of(item):
                counts.same += 1
            else:
                differing[uid] = _spool(item, spool)
        for uid, (_, removed) in in_a.items():
            counts.missing += 1
            yield StudyDifference(uid, "missing", removed, None)
        if not differing:
            return
        for effective in resolve(a, zone, progress):
            if (spooled := differing.get(effective.item.study_instance_uid)) is not None:
                counts.different += 1
                counts.removed_in_one += effective.item.removed != spooled.removed
                yield difference_of(effective.item, _unspool(spooled, spool), spooled.removed)


def _spool(item: StudyItem, spool: IO[bytes]) -> _Spooled:
    offset = spool.tell()
    spool.write(item.data)
    return _Spooled(offset, len(item.data), item.implicit, item.character_sets, item.removed)


def _unspool(spooled: _Spooled, spool: IO[bytes]) -> EncodedDataSet:
    spool.seek(spooled.offset)
    data = spool.read(spooled.size)
    return EncodedDataSet(data, 0, len(data), spooled.implicit, spooled.character_sets, 1)


def difference_of(item: StudyItem, b: EncodedDataSet, removed_in_b: bool) -> StudyDifference:
    """How the record of A differs from that of B, which is of the same study.

    Raises:
        InvalidInventory: the record of A is malformed.
    """
    a = _encoded(item)
    with _named(item):
        series_a, series_b = _by_uid(a, SERIES, _SERIES_INSTANCE_UID), _by_uid(b, SERIES, _SERIES_INSTANCE_UID)
        return StudyDifference(
            study_instance_uid=item.study_instance_uid,
            kind="different",
            removed_in_a=item.removed,
            removed_in_b=removed_in_b,
            attributes=_keywords(_differing(a, b, SERIES)),
            series=_parts(series_a, series_b, INSTANCES),
            instances=_parts(_instances(series_a), _instances(series_b), None),
        )


def _parts(a: Mapping[str, EncodedDataSet], b: Mapping[str, EncodedDataSet], apart: int | None) -> Parts:
    tags: set[int] = set()
    different = 0
    for uid in a.keys() & b.keys():
        found = _differing(a[uid], b[uid], apart)
        different += bool(found)
        tags |= found
    return Parts(len(a.keys() - b.keys()), len(b.keys() - a.keys()), different, _keywords(tags))


def _differing(a: EncodedDataSet, b: EncodedDataSet, apart: int | None) -> set[int]:
    """The tags whose values differ; ``apart`` is the sequence that is compared on its own."""
    digests_a, digests_b = a.attributes(), b.attributes()
    tags = digests_a.keys() | digests_b.keys()
    return {tag for tag in tags if tag != apart and digests_a.get(tag) != digests_b.get(tag)}


def _by_uid(data_set: EncodedDataSet, sequence: int, uid: int) -> dict[str, EncodedDataSet]:
    return {item.text(uid): item for item in data_set.items(sequence)}


def _instances(series: Mapping[str, EncodedDataSet]) -> dict[str, EncodedDataSet]:
    found: dict[str, EncodedDataSet] = {}
    for each in series.values():
        found |= _by_uid(each, INSTANCES, _SOP_INSTANCE_UID)
    return found


def _keywords(tags: set[int]) -> tuple[str, ...]:
    return tuple(keyword_for_tag(tag) or show(tag) for tag in sorted(tags))


def digest_of(item: StudyItem) -> bytes:
    """What two records have in common that do not differ.

    Raises:
        InvalidInventory: the record is malformed.
    """
    with _named(item):
        return _encoded(item).digest()


def _encoded(item: StudyItem) -> EncodedDataSet:
    return EncodedDataSet(item.data, 0, len(item.data), item.implicit, item.character_sets, 1)


@contextmanager
def _named(item: StudyItem) -> Iterator[None]:
    try:
        yield
    except Malformed as error:
        raise InvalidInventory(item.path, str(error), item.offset + error.offset) from None
