"""How a repository stands: lag, watermark, backlog and head, from the state and the broker's last offsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from monitor.partitions import BrokerPartitions, Hold, PartitionStatus, Patience, partition_statuses, seconds_since
from monitor.policy import Pace
from monitor.sinks import SinkStatus, sink_statuses
from state.chain import Chain
from state.debts import Debts
from state.deliveries import Deliveries
from state.memory import Memory
from state.repository import Repository, Verified
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
class VerifiedStatus:
    """The inventory that was verified last; ``is_head`` says whether it is still the head."""

    sop_instance_uid: str
    findings: int
    time: str
    age: float
    is_head: bool


@dataclass(frozen=True, slots=True)
class Status:
    """A repository now. Times are ISO 8601, ages seconds; None is what is not there or not known.

    ``backlog`` counts studies that changed since they were inventoried; ``oldest_debt`` is how many cuts were taken
    since the oldest of them changed. ``lag`` is in messages, over all partitions. ``head_age`` is the age of the
    moment that the head stands for. ``owed_looks`` counts what is to be looked up in the archive, ``given_up_looks``
    what was looked up in vain too often. ``heartbeat_age`` is that of the oldest of the partitions' latest heartbeats,
    None where no bridge is to send any. ``led``: a writer holds the lease. ``cut_since`` and ``cut_age`` tell of the
    cut that was begun and is not published. ``memory`` is that of Redis, in a cluster of its fullest server. ``pace``
    is what the settings let expect.
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
    led: bool = False
    cut_since: str | None = None
    cut_age: float | None = None
    verified: VerifiedStatus | None = None
    memory: Memory | None = None
    pace: Pace | None = None

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
    memory: Memory | None,
    pace: Pace | None = None,
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
    begun = chain.begun()
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
        led=chain.is_led(),
        cut_since=None if begun is None else to_iso(begun),
        cut_age=None if begun is None else max(0.0, seconds_since(begun, now)),
        verified=_verified(repository.verified(), head, now),
        memory=memory,
        pace=pace,
    )


def _verified(found: Verified | None, head: dict[str, Any] | None, now: int) -> VerifiedStatus | None:
    if found is None:
        return None
    return VerifiedStatus(
        sop_instance_uid=found.sop_instance_uid,
        findings=found.findings,
        time=to_iso(found.time),
        age=seconds_since(found.time, now),
        is_head=head is not None and head["sop_instance_uid"] == found.sop_instance_uid,
    )
