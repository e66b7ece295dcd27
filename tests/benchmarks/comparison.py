"""All paths over the same events, in turn and several times, so that what disturbs the machine disturbs all of them."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from consumers.publish import Publisher
from stocktake.settings import Settings
from tests.benchmarks.events import INSTANCES, Message, instance_events, study_events
from tests.benchmarks.measuring import Measured, in_own_process
from tests.benchmarks.paths import PARTITIONS, Servers, apply, apply_naively, poll
from tests.benchmarks.servers import own_redis
from tests.benchmarks.workers import consume_together
from tests.servers.kafka_broker import KafkaBroker

REPETITIONS: Final = 3

_INSTANCE_EVENTS: Final = "stocktake.bench.instances"
_STUDY_EVENTS: Final = "stocktake.bench.studies"

Run = Callable[[Servers], Measured]


class Comparison:
    """The paths of :data:`tests.benchmarks.report.PATHS`, each with a Redis of its own; files go to ``folder``.

    ``count`` is of each kind of event. The naive path gets a tenth of them, the workers half: a rate needs no more.
    """

    def __init__(self, settings: Settings, broker: KafkaBroker, broker_pid: int, folder: Path, count: int) -> None:
        self._settings = settings
        self._broker = broker
        self._broker_pid = broker_pid
        self._folder = folder
        self._count = count

    def run(self) -> dict[str, list[Measured]]:
        """Every path as often as :data:`REPETITIONS`, by key."""
        self._fill(_INSTANCE_EVENTS, instance_events(self._count // INSTANCES))
        self._fill(_STUDY_EVENTS, study_events(self._count))
        found: dict[str, list[Measured]] = defaultdict(list)
        for repetition in range(REPETITIONS):
            for key, path in self._paths(repetition).items():
                with own_redis(self._settings) as redis:
                    measured = path(Servers(redis.settings, {"broker": self._broker_pid, "redis": redis.pid}))
                found[key].append(measured)
                sys.stderr.write(f"{repetition + 1}/{REPETITIONS} {key}: {measured.per_second:,.0f} events/s\n")
        return found

    def _paths(self, repetition: int) -> dict[str, Run]:
        count = self._count
        studies = count // INSTANCES
        return {
            "poll": lambda servers: in_own_process(poll, servers, _INSTANCE_EVENTS, count),
            "apply": lambda servers: in_own_process(apply, servers, _INSTANCE_EVENTS, count, studies),
            "tuned_poll": lambda servers: in_own_process(poll, servers, _INSTANCE_EVENTS, count, tuned=True),
            "decode": lambda servers: in_own_process(poll, servers, _INSTANCE_EVENTS, count, decode=True),
            "naive": lambda servers: in_own_process(apply_naively, servers, _INSTANCE_EVENTS, count // 10),
            "poll_study_events": lambda servers: in_own_process(poll, servers, _STUDY_EVENTS, count),
            "tuned_poll_study_events": lambda servers: in_own_process(poll, servers, _STUDY_EVENTS, count, tuned=True),
            "study_events": lambda servers: in_own_process(apply, servers, _STUDY_EVENTS, count, count),
            "workers_1": lambda servers: self._workers(servers, 1, repetition),
            "workers_2": lambda servers: self._workers(servers, 2, repetition),
        }

    def _workers(self, servers: Servers, workers: int, repetition: int) -> Measured:
        topic = f"workers-{workers}-{repetition}"
        self._broker.create_topic(topic, PARTITIONS, {})
        events = instance_events(self._count // 2 // INSTANCES)
        measured = consume_together(servers, self._folder, topic, events, workers)
        self._broker.delete_topics([topic])
        return measured

    def _fill(self, topic: str, messages: Iterable[Message]) -> None:
        self._broker.create_topic(topic, PARTITIONS, {})
        with Publisher(self._settings.kafka, topic) as publisher:
            for key, value in messages:
                publisher.send(key, value)
