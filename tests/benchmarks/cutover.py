"""What it costs to compare two repositories as their events come: both followed with the comparison, and without."""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final

from consumers.publish import Publisher
from monitor.policy import CutoverPolicy
from state.comparison import Place
from state.pair import Pair
from state.policy import ComparisonPolicy
from stocktake.settings import Settings
from stocktake.wiring import open_repository
from tests.benchmarks.events import INSTANCES, Message, instance_events, study_events
from tests.benchmarks.measuring import Measured, in_own_process
from tests.benchmarks.paths import PARTITIONS, Servers, apply
from tests.benchmarks.report import Figures
from tests.benchmarks.servers import own_redis, process_id
from tests.servers.kafka_broker import KafkaBroker, run_kafka

_REPETITIONS: Final = 3
_SIDES: Final = ("source", "target")
_RULES: Final = ComparisonPolicy(*_SIDES, ("PatientID", "StudyDate", "AccessionNumber"), (), "", "", None, {}, {})
POLICY: Final = CutoverPolicy(_RULES, 900.0, 600.0, 300.0, 3600.0)


def measure_cutover(settings: Settings, count: int) -> Figures:
    """``cutover_cost`` (instance events) and ``cutover_cost_study_events``: the time with the comparison to the time
    without; ``count`` events of each kind and side.
    """
    kinds: dict[str, tuple[Callable[[], Iterable[Message]], int]] = {
        "cutover_cost": (lambda: instance_events(count // INSTANCES), count // INSTANCES),
        "cutover_cost_study_events": (lambda: study_events(count), count),
    }
    seconds: dict[tuple[str, bool], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name, run_kafka(Path(name)) as broker:
        kafka = replace(settings.kafka, bootstrap_servers=tuple(broker.bootstrap_servers.split(",")))
        settings = replace(settings, kafka=kafka)
        for key, (events, _) in kinds.items():
            _fill(settings, broker, key, events())
        for repetition in range(_REPETITIONS):
            for key, (_, studies) in kinds.items():
                # In turn with what it is compared with, so that what disturbs the machine disturbs both.
                for compared in (False, True):
                    with own_redis(settings) as redis:
                        given = replace(redis.settings, cutover=POLICY if compared else None)
                        servers = Servers(given, {"broker": process_id(broker), "redis": redis.pid})
                        runs = [in_own_process(_follow, servers, side, key, count, studies) for side in _SIDES]
                        if compared:
                            _check(given, studies)
                    seconds[key, compared].append(sum(count / one.per_second for one in runs))
                    told = f"{count * 2 / seconds[key, compared][-1]:,.0f} events/s"
                    sys.stderr.write(
                        f"{repetition + 1}/{_REPETITIONS} {key} {'with' if compared else 'without'}: {told}\n"
                    )
    return {key: median(seconds[key, True]) / median(seconds[key, False]) for key in kinds}


def _follow(servers: Servers, side: str, topic: str, count: int, studies: int) -> Measured:
    return apply(servers, topic, count, studies, side)


def _check(settings: Settings, studies: int) -> None:
    """All of it was compared, and agrees."""
    policies = tuple(replace(settings.repositories[0], name=side) for side in _SIDES)
    opened = open_repository(replace(settings, repositories=policies), "source")
    try:
        in_sync = Pair(opened.connection, _RULES, settings.state.shards).standing().places[Place.IN_SYNC]
    finally:
        opened.close()
    if in_sync != studies:
        raise RuntimeError(f"{in_sync} studies are in sync, not {studies}")


def _fill(settings: Settings, broker: KafkaBroker, topic: str, messages: Iterable[Message]) -> None:
    broker.create_topic(topic, PARTITIONS, {})
    with Publisher(settings.kafka, topic) as publisher:
        for key, value in messages:
            publisher.send(key, value)
