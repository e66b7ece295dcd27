"""An inventory's own records: studies read from the state a page at a time, encoded and written as they come.

What is written is cut into *segments* that are small enough for an inventory each; several may go into one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from state.attributes import Level
from state.record import StudyRecord
from state.studies import ReadStudy
from writers.policy import InventoryPolicy
from writers.study_items import StudyItems

_PAGES: Final = {Level.STUDY: 400, Level.SERIES: 200, Level.INSTANCE: 100}
_TOGETHER: Final = 100  # studies encoded together ...
_WEIGHT: Final = 50  # ... or fewer, if they are large: so many instances weigh as much as a study


def page_of(level: Level) -> int:
    """How many studies are read in one round trip: packed, a page of large ones must fit in memory."""
    return _PAGES[level]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one inventory may hold at most: records, and bytes of them; one record that is larger stands alone."""

    records: int
    bytes: int

    @classmethod
    def of(cls, policy: InventoryPolicy) -> Limits:
        return cls(policy.max_records_per_instance, policy.max_bytes_per_instance)

    def hold(self, records: int, size: int) -> bool:
        return records <= self.records and size <= self.bytes


@dataclass(slots=True)
class Segment:
    """Encoded records in a file. Times are UTC microseconds; ``newest_update`` is None if there are none."""

    body: Path
    records: int = 0
    bytes: int = 0
    newest_update: int | None = None
    last_item_time: int = 0

    def add(self, records: Sequence[tuple[StudyRecord, int]], size: int) -> None:
        self.records += len(records)
        self.bytes += size
        if records:
            self.newest_update = max([self.newest_update or 0, *[record.update_time for record, _ in records]])
            self.last_item_time = max([self.last_item_time, *[item_time for _, item_time in records]])


@dataclass(slots=True)
class Records:
    """Segments in order, and what is in all of them, by name."""

    segments: list[Segment] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, more: Records) -> None:
        """Append what comes next."""
        self.segments += more.segments
        for name, count in more.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count

    @property
    def own(self) -> int:
        return sum(one.records for one in self.segments)

    @property
    def newest_update(self) -> int | None:
        return max((one.newest_update for one in self.segments if one.newest_update is not None), default=None)

    @property
    def last_item_time(self) -> int:
        return max((one.last_item_time for one in self.segments), default=0)


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Where one run of records is written: its segments, and notes of what was written of each study."""

    folder: Path
    stem: str

    def body(self, number: int) -> Path:
        return self.folder / f"{self.stem}.{number:04}.body"

    @property
    def revs(self) -> Path:
        return self.folder / f"{self.stem}.revs"


def write_records(
    reads: Iterable[ReadStudy],
    level: Level,
    earliest: int,
    files: RunFiles,
    limits: Limits,
    *,
    progress: Callable[[int], None] = lambda records: None,
) -> Records:
    """Encode studies in their order into segments within ``limits``, at least one.

    Item Inventory DateTime is when a study was read by the state server's clock, but not before ``earliest``.
    ``progress`` is told how many are written, once a page.
    """
    items = StudyItems(level)
    with _Segments(files, limits, earliest) as segments, files.revs.open("w", encoding="ascii") as notes:
        for page in encoded_together(reads):
            records = [(read.record, max(read.read_at, earliest)) for read in page]
            segments.write(records, items.encode_all(records))
            notes.writelines([f"{one.study_instance_uid} {one.in_state.rev.hex()}\n" for one, _ in records])
            progress(items.counts.studies)
    progress(items.counts.studies)
    return Records(segments.found, asdict(items.counts) | {"too_long_values": items.too_long})


def encoded_together(reads: Iterable[ReadStudy]) -> Iterator[list[ReadStudy]]:
    """Studies to be encoded together, in their order: all of them are unpacked at the same time."""
    page: list[ReadStudy] = []
    weight = 0
    for read in reads:
        page.append(read)
        weight += 1 + read.record.known_instances // _WEIGHT
        if weight >= _TOGETHER:
            yield page
            page, weight = [], 0
    if page:
        yield page


def read_revs(revs: Path) -> Iterator[tuple[str, bytes]]:
    """What :func:`write_records` noted: Study Instance UID and the rev that was written."""
    with revs.open(encoding="ascii") as notes:
        for line in notes:
            uid, rev = line.split()
            yield uid, bytes.fromhex(rev)


class _Segments:
    """Writes records one after another, and begins the next segment where one is full."""

    def __init__(self, files: RunFiles, limits: Limits, earliest: int) -> None:
        self._files = files
        self._limits = limits
        self._earliest = earliest
        self.found: list[Segment] = []
        self._opened = self._begin()

    def __enter__(self) -> _Segments:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def _begin(self) -> BinaryIO:
        self.found.append(Segment(self._files.body(len(self.found)), last_item_time=self._earliest))
        return self.found[-1].body.open("wb")

    def write(self, records: Sequence[tuple[StudyRecord, int]], encoded: Sequence[bytes]) -> None:
        size = sum(map(len, encoded))
        if self._fits(len(records), size):
            self._append(records, encoded, size)
            return
        for record, item in zip(records, encoded, strict=True):
            if not self._fits(1, len(item)) and self.found[-1].records:
                self._opened.close()
                self._opened = self._begin()
            self._append([record], [item], len(item))

    def _fits(self, records: int, size: int) -> bool:
        last = self.found[-1]
        return self._limits.hold(last.records + records, last.bytes + size)

    def _append(self, records: Sequence[tuple[StudyRecord, int]], encoded: Sequence[bytes], size: int) -> None:
        self._opened.writelines(encoded)
        self.found[-1].add(records, size)
