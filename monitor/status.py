"""How a repository stands: lag, watermark, backlog and head, from the state and the broker's last offsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from monitor.partitions import BrokerPartitions, Hold, PartitionStatus, Patience, partition_statuses, seconds_since
from monitor.sinks import SinkStatus, sink_statuses
from state.chain import Chain
from state.debts import Debts
from state.deliveries import Deliveries
from state.repository import Repository
from state.studies import Studies
from state.times import parse_time, to_iso

HEAD_FIELDS: Final = (
    "sop_instance_uid",
    "sequence",
    "kind",
    "status",
    "watermark",
    "own_records",
    "total_records",
    "file",
)


@dataclass(frozen=True, slots=True)
class Status:
    """A repository now. Times are ISO 8601, ages seconds; None is what is not there or not known.

    ``backlog`` counts studies that changed since they were inventoried; ``oldest_debt`` is how many cuts were taken
    since the oldest of them changed. ``lag`` is in messages, over all partitions. ``head_age`` is the age of the
    moment that the head stands for. ``owed_looks`` counts what is to be looked up in the archive, ``given_up_looks``
    what was looked up in vain too often. ``heartbeat_age`` is that of the oldest of the partitions' latest heartbeats,
    None where no bridge is to send any.
    """

    repository: str
    studies: int
    backlog: int
    oldest_debt: int | None
    lag: int | None
    watermark: str | None
    watermark_age: float | None
    held_back_by: tuple[Hold, ...]
    stopped: str | None
    head: dict[str, Any] | None
    head_age: float | None
    partitions: tuple[PartitionStatus, ...]
    sinks: tuple[SinkStatus, ...]
    counters: dict[str, int]
    owed_looks: int = 0
    given_up_looks: int = 0
    heartbeat_age: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def status(
    repository: Repository,
    studies: Studies,
    chain: Chain,
    ends: BrokerPartitions | None,
    now: int,
    patience: Patience,
    deliveries: Deliveries,
    sinks: Sequence[str],
    debts: Debts,
) -> Status:
    """Put the status together. ``now`` is UTC microseconds; ``ends`` is None if the broker did not tell: no lag then.
    ``sinks`` are the names of those that the repository has.

    Raises:
        StateUnreachable: the state does not answer.
    """
    marks = repository.watermark()
    watermark = marks.time
    head = chain.head()
    given_up = debts.count_given_up()
    partitions, holds = partition_statuses(repository, studies, ends, now, patience)
    return Status(
        repository=repository.name,
        studies=studies.count(),
        backlog=studies.owed(),
        oldest_debt=studies.oldest_debt(),
        lag=None if ends is None else sum(one.lag or 0 for one in partitions),
        watermark=None if watermark is None else to_iso(watermark),
        watermark_age=None if watermark is None else seconds_since(watermark, now),
        held_back_by=tuple(holds),
        stopped=repository.stopped(),
        head=None if head is None else {name: head[name] for name in HEAD_FIELDS},
        head_age=None if head is None else seconds_since(parse_time(head["watermark"]), now),
        partitions=tuple(partitions),
        sinks=tuple(sink_statuses(sinks, deliveries.all(), head, now)) if sinks else (),
        counters=repository.counters(),
        owed_looks=debts.count() - given_up,
        given_up_looks=given_up,
        heartbeat_age=None if marks.heartbeat is None else seconds_since(marks.heartbeat, now),
    )
