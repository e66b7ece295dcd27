"""All paths over the same events, in turn and several times, so that what disturbs the machine disturbs all of them."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from redis import Redis

from consumers.publish import Publisher
from tests.benchmarks.events import INSTANCES, Message, instance_events, study_events
from tests.benchmarks.measuring import Measured, in_own_process
from tests.benchmarks.paths import PARTITIONS, Servers, apply, apply_naively, poll
from tests.benchmarks.workers import consume_together
from tests.servers.kafka_broker import KafkaBroker

REPETITIONS: Final = 3

_INSTANCE_EVENTS: Final = "stocktake.bench.instances"
_STUDY_EVENTS: Final = "stocktake.bench.studies"

Run = Callable[[], Measured]


class Comparison:
    """The paths of :data:`tests.benchmarks.report.PATHS`. Empties the Redis before each; files go to ``folder``.

    ``count`` is of each kind of event. The naive path gets a tenth of them, the workers half: a rate needs no more.
    """

    def __init__(self, servers: Servers, broker: KafkaBroker, folder: Path, count: int) -> None:
        self._servers = servers
        self._broker = broker
        self._folder = folder
        self._count = count

    def run(self) -> dict[str, list[Measured]]:
        """Every path as often as :data:`REPETITIONS`, by key."""
        self._fill(_INSTANCE_EVENTS, instance_events(self._count // INSTANCES))
        self._fill(_STUDY_EVENTS, study_events(self._count))
        found: dict[str, list[Measured]] = defaultdict(list)
        for repetition in range(REPETITIONS):
            for key, path in self._paths(repetition).items():
                with Redis.from_url(self._servers.settings.redis.url) as client:
                    client.flushall()
                measured = path()
                found[key].append(measured)
                sys.stderr.write(f"{repetition + 1}/{REPETITIONS} {key}: {measured.per_second:,.0f} events/s\n")
        return found

    def _paths(self, repetition: int) -> dict[str, Run]:
        servers, count = self._servers, self._count
        studies = count // INSTANCES
        return {
            "poll": lambda: in_own_process(poll, servers, _INSTANCE_EVENTS, count),
            "apply": lambda: in_own_process(apply, servers, _INSTANCE_EVENTS, count, studies),
            "decode": lambda: in_own_process(poll, servers, _INSTANCE_EVENTS, count, decode=True),
            "naive": lambda: in_own_process(apply_naively, servers, _INSTANCE_EVENTS, count // 10),
            "poll_study_events": lambda: in_own_process(poll, servers, _STUDY_EVENTS, count),
            "study_events": lambda: in_own_process(apply, servers, _STUDY_EVENTS, count, count),
            "workers_1": lambda: self._workers(1, repetition),
            "workers_2": lambda: self._workers(2, repetition),
        }

    def _workers(self, workers: int, repetition: int) -> Measured:
        topic = f"workers-{workers}-{repetition}"
        self._broker.create_topic(topic, PARTITIONS, {})
        events = instance_events(self._count // 2 // INSTANCES)
        measured = consume_together(self._servers, self._folder, topic, events, workers)
        self._broker.delete_topics([topic])
        return measured

    def _fill(self, topic: str, messages: Iterable[Message]) -> None:
        self._broker.create_topic(topic, PARTITIONS, {})
        with Publisher(self._servers.settings.kafka, topic) as publisher:
            for key, value in messages:
                publisher.send(key, value)
