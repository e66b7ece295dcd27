"""An inventory's own records: studies read from the state a page at a time, encoded and written as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from state.attributes import Level
from state.studies import ReadStudy, Studies
from writers.study_items import StudyItems

PAGE: Final = 100  # studies in one round trip: a page of large studies must fit in memory


@dataclass(frozen=True, slots=True)
class Records:
    """What was written. Times are UTC microseconds; ``newest_update`` is None if nothing was."""

    own: int
    newest_update: int | None
    last_item_time: int
    counts: dict[str, int]


def write_records(
    studies: Studies,
    study_instance_uids: Iterable[str],
    level: Level,
    earliest: int,
    body: Path,
    revs: Path,
    *,
    accept: Callable[[ReadStudy], bool] = lambda read: True,
    progress: Callable[[int], None] = lambda records: None,
) -> Records:
    """Encode the studies that ``accept`` takes into ``body``, and note in ``revs`` what was written of each.

    Item Inventory DateTime is when a study was read by the state server's clock, but not before ``earliest``.
    ``progress`` is told how many are written, once a page.
    """
    items = StudyItems(level)
    newest: int | None = None
    last = earliest
    with body.open("wb") as bodies, revs.open("w", encoding="ascii") as notes:
        for read in studies.read(study_instance_uids, PAGE):
            if not accept(read):
                continue
            item_time = max(read.read_at, earliest)
            bodies.write(items.encode(read.record, item_time))
            notes.write(f"{read.record.study_instance_uid} {read.record.in_state.rev.hex()}\n")
            newest = max(read.record.update_time, newest or 0)
            last = max(item_time, last)
            if items.counts.studies % PAGE == 0:
                progress(items.counts.studies)
    progress(items.counts.studies)
    counts = asdict(items.counts) | {"too_long_values": items.too_long}
    return Records(items.counts.studies, newest, last, counts)


def read_revs(revs: Path) -> Iterator[tuple[str, bytes]]:
    """What :func:`write_records` noted: Study Instance UID and the rev that was written."""
    with revs.open(encoding="ascii") as notes:
        for line in notes:
            uid, rev = line.split()
            yield uid, bytes.fromhex(rev)
