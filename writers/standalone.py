"""A stand-alone delta: the studies updated in a range, outside the chain. Its Scope is exactly that range."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Final

from state.studies import ReadStudy, Studies
from state.times import to_iso
from writers import iod, slices, terms
from writers.assembly import write_file
from writers.files import Written
from writers.plan import new_uid
from writers.policy import InventoryPolicy
from writers.records import Limits, Records, RunFiles, page_of, write_records

_UNLIMITED: Final = Limits(sys.maxsize, sys.maxsize)


@dataclass(frozen=True, slots=True)
class Range:
    """Study Update DateTime from ``begin`` to ``end``, both inclusive, UTC microseconds; None: open."""

    begin: int | None
    end: int | None

    def holds(self, read: ReadStudy) -> bool:
        """Whether a study, as it was read, lies in the range: it may have been updated since it was listed."""
        time = read.record.update_time
        return (self.begin is None or time >= self.begin) and (self.end is None or time <= self.end)


def write_standalone(
    studies: Studies,
    wanted: Range,
    content: int,
    output: Path,
    policy: InventoryPolicy,
    zone: tzinfo,
    software: str,
    progress: Callable[[int], None] = lambda records: None,
) -> tuple[Written, Records]:
    """Write the inventory to ``output``, replacing what stands there only when it is whole.

    ``content`` is the watermark: every event up to it is in the state.
    """
    uid = new_uid(policy.uid_root)
    transaction = new_uid(policy.uid_root) if policy.write_transaction_uid else ""
    files = RunFiles(output.parent, f".{output.name}")
    try:
        uids = (uid for _, uid in slices.updated(studies, wanted.begin, wanted.end))
        reads = filter(wanted.holds, studies.read(uids, page_of(policy.level)))
        records = write_records(reads, policy.level, content, files, _UNLIMITED, progress=progress)
        begin, end = (None if bound is None else to_iso(bound) for bound in (wanted.begin, wanted.end))
        description = f"Stand-alone delta: studies updated from {begin or 'the beginning'} to {end or 'now'}"
        heading = iod.Heading(uid, content, (wanted.begin, wanted.end), policy.level, description, [])
        trailer = iod.trailer(terms.COMPLETE, records.own, records.own, policy, software, transaction)
        written = write_file(output.with_name(f".{output.name}.part"), heading, records.segments, trailer, policy, zone)
        written.path.replace(output)
    finally:
        files.body(0).unlink(missing_ok=True)
        files.revs.unlink(missing_ok=True)
    return written, records
