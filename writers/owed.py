"""What a sink is owed: which published inventories it does not have yet, in the chain's order."""

from __future__ import annotations

import logging
from datetime import date, timedelta
from pathlib import PurePosixPath
from typing import Final

from state.deliveries import Delivered
from writers.files import InventoryFolder
from writers.manifest import Manifest, Member

log = logging.getLogger(__name__)

_SLACK: Final = timedelta(days=1)  # a day's folder is named in the repository's time zone, which may have been changed


def owed(folder: InventoryFolder, head: Manifest, delivered: Delivered) -> list[Member]:
    """Inventories up to ``head`` that the sink does not have, by sequence.

    Of those that were there when the sink came, only what the head of then reached; all that was published since, also
    what a rollup has replaced meanwhile.
    """
    if head.sequence <= delivered.sequence:
        return []
    start = folder.manifest(delivered.start) or head
    first = [one for one in start.members if delivered.sequence < one.sequence <= delivered.start_sequence]
    have = max(delivered.sequence, delivered.start_sequence)
    if head.sequence > have + 1:
        return first + _published(folder, head, have, delivered.file or delivered.start)
    return first + [head.members[-1]] * (head.sequence > have)


def _published(folder: InventoryFolder, head: Manifest, have: int, since: str) -> list[Member]:
    """All inventories of the head's chain after sequence ``have``, from the folder of the day of the file ``since``."""
    found: dict[int, Manifest] = {}
    for one in folder.manifests(_day_before(since)):
        ours = one.repository == head.repository and one.members and have < one.sequence <= head.sequence
        # Of two with one sequence, which takes a Redis that lost its tail, the later one was planned above the other's
        # cut: it is the one that the chain went on with.
        if ours and (one.sequence not in found or found[one.sequence].cut < one.cut):
            found[one.sequence] = one
    found[head.sequence] = head
    for sequence in range(have + 1, head.sequence):
        if sequence not in found:
            log.warning("%s: inventory %d of the chain is not there any more; going on without", folder.path, sequence)
    return [found[sequence].members[-1] for sequence in sorted(found)]


def _day_before(file: str) -> str:
    year, month, day, _ = PurePosixPath(file).parts
    return f"{date(int(year), int(month), int(day)) - _SLACK:%Y/%m/%d}"
