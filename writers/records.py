"""An inventory's own records: studies read from the state a page at a time, encoded and written as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from state.attributes import Level
from state.studies import ReadStudy, Studies, batches
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
        for page in batches(filter(accept, studies.read(study_instance_uids, PAGE)), PAGE):
            records = [(read.record, max(read.read_at, earliest)) for read in page]
            bodies.write(items.encode_all(records))
            notes.writelines([f"{one.study_instance_uid} {one.in_state.rev.hex()}\n" for one, _ in records])
            newest = max(newest or 0, *(one.update_time for one, _ in records))
            last = max(last, *(item_time for _, item_time in records))
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
