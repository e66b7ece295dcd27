"""What the state costs as it grows, without a broker: time for an event in a large series, for a study among a
million, and memory for each kind of UID.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from statistics import median
from time import perf_counter, process_time, sleep, time_ns
from typing import Any, Final
from zoneinfo import ZoneInfo

from kafka import TopicPartition
from redis import Redis

from consumers.apply import Applier
from consumers.counts import Counts
from consumers.formats.native import NativeFormat
from consumers.intake import Intake, in_parts
from consumers.owing import Owing
from consumers.records import Record
from consumers.topics import Topic
from state.attributes import Level
from state.keys import ShardKeys
from state.studies import batches
from stocktake.memory import spare_the_collector
from stocktake.settings import Settings
from stocktake.wiring import OpenRepository, open_repository
from tests.benchmarks.events import INSTANCES, Message, instance_events, study_events
from tests.benchmarks.measuring import peak_memory
from tests.benchmarks.uids import KINDS, Uid

Figures = dict[str, float]

_REPOSITORY: Final = "growth"
_YARDSTICK: Final = "1"  # another database of the same server
_TOPIC: Final = Topic("by-hand", "by-hand", 1, compacted=False)
_POLL: Final = 8000  # records: what a fetch brings
_WARM_UP: Final = 200  # studies, or instances of one, that come first and are not measured
_WINDOW: Final = 1000  # instances at the beginning and at the end whose cost is compared
_SERIES: Final = 3  # series grown one after the other; the median counts


@dataclass(frozen=True, slots=True)
class Spent:
    """What applying some batches took: seconds, and processor time of this process and of Redis together."""

    seconds: float
    cpu: float

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.seconds + other.seconds, self.cpu + other.cpu)

    def __truediv__(self, other: Spent) -> tuple[float, float]:
        return self.seconds / other.seconds, self.cpu / other.cpu


class Feeder:
    """Takes messages in as the consumer does, from one partition that no broker has."""

    def __init__(self, settings: Settings, opened: OpenRepository, client: Redis) -> None:
        counts: Counts = Counter()
        decoder = NativeFormat(settings.consumer, ZoneInfo("UTC"), counts, settings.inventory.level)
        self._intake = Intake(_REPOSITORY, decoder, settings.consumer, counts)
        self._applier = Applier(opened.studies, opened.patients, Owing(opened.debts, follows=False), counts)
        self._client = client
        self._next = self._applier.assign(_TOPIC.field(0)) + 1

    def feed(self, messages: Iterable[Message], size: int) -> Spent:
        """Decode and apply them in polls of ``size``; making them is not in what that took."""
        seconds = cpu = 0.0
        redis_before = self._redis_cpu()
        for batch in batches(messages, size):
            records = self._records(batch)
            begun, cpu_begun = perf_counter(), process_time()
            self._take(records)
            cpu += process_time() - cpu_begun
            seconds += perf_counter() - begun
        return Spent(seconds, cpu + self._redis_cpu() - redis_before)

    def _records(self, messages: Sequence[Message]) -> list[Record]:
        now = time_ns() // 1_000_000
        first = self._next
        self._next += len(messages)
        return [Record(first + number, now, key, value, ()) for number, (key, value) in enumerate(messages)]

    def _take(self, records: list[Record]) -> None:
        """What :class:`consumers.loop.Consumer` does with a poll."""
        parts = in_parts({TopicPartition(_TOPIC.name, 0): records})
        following = [self._intake.begin(part, {_TOPIC.name: _TOPIC}) for part in parts]
        for taking, then in zip_longest(following, following[1:]):
            self._applier.begin(taking.taken().batch, None if then is None else then.some)
        self._applier.settle()

    def _redis_cpu(self) -> float:
        cpu: Any = self._client.info("cpu")
        return float(cpu["used_cpu_user"] + cpu["used_cpu_sys"])


def grow_series(settings: Settings, instances: int) -> Figures:
    """Series that grow by one instance at a time, each event a batch of its own."""
    ratios, totals = [], []
    with _feeder(settings) as (feeder, _):
        feeder.feed(instance_events(1, _WARM_UP), 1)
        for study in range(1, _SERIES + 1):
            events = instance_events(1, instances, series_length=instances, first=study)
            first = feeder.feed(islice(events, _WINDOW), 1)
            between = feeder.feed(islice(events, instances - 2 * _WINDOW), 1)
            last = feeder.feed(events, 1)
            ratios.append(last / first)
            totals.append(first.seconds + between.seconds + last.seconds)
    return {
        "growth_instances": instances,
        "growth_last_vs_first": median(seconds for seconds, _ in ratios),
        "growth_last_vs_first_by_cpu": median(cpu for _, cpu in ratios),
        "growth_seconds": median(totals),
        "growth_ms_per_event": 1000 * median(totals) / instances,
    }


def grow_studies(settings: Settings, studies: int) -> Figures:
    """So many studies, told at study level, in batches: rate at the beginning and at the end, memory at the end."""
    with _feeder(settings) as (feeder, client):
        feeder.feed(study_events(_WARM_UP, first=studies), _POLL)
        before = _memory(client)
        events, tenth = study_events(studies), studies // 10
        first, beside_first = _feed_beside_yardstick(settings, feeder, islice(events, tenth))
        between = feeder.feed(islice(events, studies - 2 * tenth), _POLL)
        last, beside_last = _feed_beside_yardstick(settings, feeder, events)
        owed = _memory(client) - before
        _settle(settings, client)
        settled = _memory(client) - before
    seconds, cpu = first / last
    slower, slower_cpu = beside_last / beside_first  # the machine
    return {
        "studies": studies,
        "studies_per_second": studies / (first.seconds + between.seconds + last.seconds),
        "studies_last_vs_first": seconds,
        "studies_last_vs_first_by_cpu": cpu,
        "studies_last_vs_first_by_yardstick": seconds * slower,
        "studies_last_vs_first_by_yardstick_cpu": cpu * slower_cpu,
        "studies_bytes_each": owed / studies,
        "studies_settled_bytes_each": settled / studies,
        "studies_peak_mb": peak_memory(os.getpid()) / 1e6,
    }


def _feed_beside_yardstick(settings: Settings, feeder: Feeder, messages: Iterator[Message]) -> tuple[Spent, Spent]:
    """Feed all messages, and after each batch one of the same size to an empty state, which is what the machine can do.

    Machines change their speed by a third from minute to minute; the yardstick's time changes with it.
    """
    ours = yardstick = Spent(0.0, 0.0)
    url = settings.redis.url.rpartition("/")[0] + "/" + _YARDSTICK
    elsewhere = replace(settings, redis=replace(settings.redis, url=url))
    with Redis.from_url(url) as client:
        for batch in batches(messages, _POLL):
            ours += feeder.feed(batch, _POLL)
            with _opened(elsewhere) as opened:
                yardstick += Feeder(elsewhere, opened, client).feed(study_events(_POLL), _POLL)
            client.flushdb()
    return ours, yardstick


def sizes(settings: Settings, studies: int) -> Figures:
    """Memory of a study of 100 instances, told one by one, at each level and with each kind of UID.

    One shard holds them all, so that its indexes have the form that they have in a large state.
    """
    figures: Figures = {}
    for level in (Level.STUDY, Level.INSTANCE):
        inventory = replace(settings.inventory, level=level)
        one_shard = replace(settings, inventory=inventory, state=replace(settings.state, shards=1))
        for kind, uid in KINDS.items():
            each = _bytes_each(one_shard, studies, uid)
            figures[f"bytes_per_study_{level.lower()}_{kind}"] = each
            figures[f"bytes_per_instance_{level.lower()}_{kind}"] = each / INSTANCES
    return figures


def _bytes_each(settings: Settings, studies: int, uid: Uid) -> float:
    with _feeder(settings) as (feeder, client):
        feeder.feed(instance_events(_WARM_UP, uid=uid), _POLL)
        _settle(settings, client)
        before = _memory(client)
        feeder.feed(instance_events(studies, first=_WARM_UP, uid=uid), _POLL)
        _settle(settings, client)
        return (_memory(client) - before) / studies


@contextmanager
def _feeder(settings: Settings) -> Iterator[tuple[Feeder, Redis]]:
    """A feeder of an empty state, and a client of the same server."""
    spare_the_collector()
    with Redis.from_url(settings.redis.url) as client:
        client.flushall()
        with _opened(settings) as opened:
            yield Feeder(settings, opened, client), client


@contextmanager
def _opened(settings: Settings) -> Iterator[OpenRepository]:
    policy = replace(settings.repositories[0], name=_REPOSITORY, topics=("by-hand",))
    opened = open_repository(replace(settings, repositories=(policy,)), None)
    try:
        yield opened
    finally:
        opened.close()


def _settle(settings: Settings, client: Redis) -> None:
    """Forget what is owed, as a baseline does that has everything."""
    client.delete(*(ShardKeys(_REPOSITORY, shard).changed for shard in range(settings.state.shards)))


def _memory(client: Redis) -> int:
    """Bytes that the data takes: without the buffers of clients and of the append-only file."""
    memory: Any = client.info("memory")
    while memory["lazyfree_pending_objects"]:  # what was deleted is freed in the background
        sleep(0.01)
        memory = client.info("memory")
    return int(memory["used_memory"] - memory["mem_clients_normal"] - memory["mem_aof_buffer"])
