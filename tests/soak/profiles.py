"""How long and how hard a soak is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

CONSUMER_KILLED: Final = "consumer killed"
CONSUMER_STOPPED: Final = "consumer stopped"
REDIS_CUT: Final = "redis cut"
FAILED_OVER: Final = "redis failed over"
BROKER_KILLED: Final = "broker killed"
WRITER_KILLED: Final = "writer killed"


@dataclass(frozen=True, slots=True)
class Profile:
    """Times are seconds.

    ``faults`` is how many there are of each kind; ``events`` is the least that is published meanwhile. ``failovers``
    and ``failover_events`` are the same for the part on a cluster. ``session`` is the consumers' session timeout. An
    inventory is held to the oracle each ``check_every`` faults. ``churn`` is how long consumers join and leave,
    ``churn_rate`` how many events a second are published meanwhile.
    """

    events: int
    faults: Mapping[str, int]
    failover_events: int
    failovers: Mapping[str, int]
    consumers: int
    partitions: int
    shards: int
    session: float
    check_every: int
    churn: float
    churn_rate: int


PROFILES: Final = {
    "full": Profile(
        events=50_000,
        faults=MappingProxyType(
            {CONSUMER_KILLED: 102, CONSUMER_STOPPED: 102, REDIS_CUT: 102, BROKER_KILLED: 102, WRITER_KILLED: 30}
        ),
        failover_events=6_000,
        failovers=MappingProxyType(
            {FAILED_OVER: 40, CONSUMER_KILLED: 10, CONSUMER_STOPPED: 10, BROKER_KILLED: 5, WRITER_KILLED: 5}
        ),
        consumers=4,
        partitions=8,
        shards=16,
        session=4.0,
        check_every=40,
        churn=60.0,
        churn_rate=200,
    ),
    "short": Profile(
        events=1_000,
        faults=MappingProxyType(
            {CONSUMER_KILLED: 2, CONSUMER_STOPPED: 1, REDIS_CUT: 2, BROKER_KILLED: 1, WRITER_KILLED: 1}
        ),
        failover_events=400,
        failovers=MappingProxyType({FAILED_OVER: 1, CONSUMER_KILLED: 1}),
        consumers=3,
        partitions=4,
        shards=8,
        session=2.0,
        check_every=10,
        churn=6.0,
        churn_rate=100,
    ),
}
