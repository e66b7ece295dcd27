"""How a repository stands: lag, watermark, backlog and head, from the state and the broker's last offsets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from state.chain import Chain
from state.repository import Repository
from state.studies import NO_OFFSET, Studies
from state.times import MICROSECONDS, to_iso


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition: what is applied, what the broker holds, and how many messages lie between."""

    partition: str
    applied_offset: int
    last_offset: int
    lag: int
    watermark: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """A repository now. Times are ISO 8601, ``watermark_age`` seconds; ``backlog`` counts studies not inventoried."""

    repository: str
    studies: int
    backlog: int
    lag: int | None
    watermark: str | None
    watermark_age: float | None
    held_back_by: tuple[str, ...]
    stopped: str | None
    head: dict[str, Any] | None
    partitions: tuple[PartitionStatus, ...]
    counters: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


_HEAD = ("sop_instance_uid", "sequence", "kind", "status", "watermark", "own_records", "total_records", "file")


def status(
    repository: Repository, studies: Studies, chain: Chain, last_offsets: Mapping[str, int] | None, now: int
) -> Status:
    """Put the status together. ``now`` is UTC microseconds.

    ``last_offsets`` are the broker's, by partition; None if it was not asked: then no lag is known.
    """
    progress = repository.progress()
    watermark = repository.watermark()
    head = chain.head()
    partitions = []
    for partition, last in sorted((last_offsets or {}).items()):
        found = progress.get(partition)
        applied = NO_OFFSET if found is None else found.offset
        partitions.append(
            PartitionStatus(
                partition, applied, last, max(0, last - applied), None if found is None else to_iso(found.watermark)
            )
        )
    return Status(
        repository=repository.name,
        studies=studies.count(),
        backlog=studies.owed(),
        lag=None if last_offsets is None else sum(one.lag for one in partitions),
        watermark=None if watermark.time is None else to_iso(watermark.time),
        watermark_age=None if watermark.time is None else round((now - watermark.time) / MICROSECONDS, 3),
        held_back_by=watermark.missing,
        stopped=repository.stopped(),
        head=None if head is None else {name: head[name] for name in _HEAD},
        partitions=tuple(partitions),
        counters=repository.counters(),
    )
