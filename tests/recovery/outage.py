"""Redis or Kafka away for some minutes while events arrive: what the metrics say, and that all is made good unaided."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from kafka import KafkaProducer
from kafka.errors import KafkaError

from stocktake.embedded import ServerProcess, free_ports
from tests.harness import Deployment, wait_for
from tests.recovery.recording import Recording, Scraper, scrape
from tests.servers.kafka_broker import KafkaBroker
from tests.servers.redis_server import node_process
from tests.soak.archive import Archive
from tests.soak.inventories import judge
from tests.soak.program import Program, program, settings_file
from tests.soak.truth import Truth
from tests.soak.watch import Watch
from writers.files import InventoryFolder

REDIS_PAUSED: Final = "redis-paused"
REDIS_KILLED: Final = "redis-killed"
KAFKA_KILLED: Final = "kafka-killed"
KINDS: Final = (REDIS_PAUSED, REDIS_KILLED, KAFKA_KILLED)

_PARTITIONS: Final = 4
_SHARDS: Final = 16
_PATIENCE: Final = 180.0  # seconds for what should happen soon, also while other things run on the machine
_LOG_APPEND_TIME: Final = {"message.timestamp.type": "LogAppendTime"}  # what could not be sent in time is late


@dataclass(frozen=True, slots=True)
class Course:
    """How an outage goes; seconds. ``rate`` is events a second, ``scrape_every`` what Prometheus would do."""

    before: float
    away: float
    after: float
    rate: float
    scrape_every: float
    inventory_interval: float


def course_of(seconds: float) -> Course:
    """The course of an outage of so many seconds; what is around it grows with it, to 17 minutes in all for 300."""
    return Course(
        before=0.4 * seconds,
        away=seconds,
        after=2.0 * seconds,
        rate=20.0,
        scrape_every=min(5.0, seconds / 8),
        inventory_interval=min(60.0, seconds / 4),
    )


@dataclass
class Outcome:
    """What came of it. ``caught_up`` and ``inventory`` are the seconds from the server's return until all that had
    been published by then was applied, and until the next inventory was there.
    """

    recording: Recording
    caught_up: float
    inventory: float
    figures: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


class PatientArchive(Archive):
    """An archive that keeps its events for as long as the broker is away."""

    def _producer(self) -> KafkaProducer:
        while True:
            try:
                return super()._producer()
            except KafkaError:  # the broker has not answered for two minutes
                continue


@dataclass
class Server:
    """A server that goes away and comes back."""

    process: ServerProcess
    paused: bool

    def go(self) -> None:
        if self.paused:
            assert self.process.pid is not None
            os.kill(self.process.pid, signal.SIGSTOP)
        else:
            self.process.kill()

    def come_back(self) -> None:
        if self.paused:
            assert self.process.pid is not None
            os.kill(self.process.pid, signal.SIGCONT)
        else:
            self.process.start()


def run_outage(folder: Path, broker: KafkaBroker, kind: str, course: Course, seed: int) -> Outcome:
    """One outage of this broker, or of a Redis of its own; data and logs are below ``folder``."""
    with ExitStack() as stack:
        [redis_port, http_port] = free_ports(2)
        redis = node_process(folder / "redis", redis_port)
        stack.callback(redis.kill)
        redis.start()
        topic = f"outage-{uuid4().hex}"
        broker.create_topic(topic, _PARTITIONS, _LOG_APPEND_TIME)
        deployment = Deployment(
            folder,
            f"redis://127.0.0.1:{redis_port}/0",
            "pacs",
            broker.bootstrap_servers,
            topic,
            REDIS__TIMEOUT="5s",
            KAFKA__GROUP_ID=topic,
            STATE__SHARDS=str(_SHARDS),
            CONSUMER__WATERMARK_INTERVAL="1s",
            INVENTORY__INTERVAL=f"{course.inventory_interval:g}s",
            HTTP__LISTEN=f"127.0.0.1:{http_port}",
        )
        stack.callback(deployment.close)
        assert isinstance(broker.process, ServerProcess), "the broker is not ours to stop"
        process = broker.process if kind == KAFKA_KILLED else redis
        server = Server(process, paused=kind == REDIS_PAUSED)
        return _Trial(folder, deployment, broker.bootstrap_servers, http_port, course, seed).run(kind, server)


class _Trial:
    def __init__(
        self, folder: Path, deployment: Deployment, bootstrap: str, http_port: int, course: Course, seed: int
    ) -> None:
        self._deployment = deployment
        self._course = course
        self._http_port = http_port
        settings = settings_file(folder, deployment)
        self._programs = [
            program("consumer", settings, folder, "consume", "--workers", "2"),
            program("writer", settings, folder, "write"),
            program("service", settings, folder, "serve"),
        ]
        self._watch = Watch(deployment)
        self._truth = Truth(bootstrap, deployment.topic, _PARTITIONS)
        self._archive = PatientArchive(bootstrap, deployment.topic, seed, course.rate)

    def run(self, kind: str, server: Server) -> Outcome:
        course = self._course
        with self._running():
            self._archive.start()
            self._wait(lambda: self._sequence() > 0 and scrape(self._http_port) is not None, "an inventory")
            scraper = Scraper(kind, self._http_port, course.scrape_every)
            scraper.start()
            time.sleep(course.before)
            begun = scraper.now
            server.go()
            self._sleep(course.away)
            sequence = self._sequence()
            back = time.monotonic()
            scraper.recording.away = (round(begun, 1), round(scraper.now, 1))
            server.come_back()
            ended = back + course.after
            self._wait(lambda: self._watch.look(self._archive.ends()), "everything applied again")
            caught_up = time.monotonic() - back
            self._wait(lambda: self._sequence() > sequence, "an inventory after the outage")
            inventory = time.monotonic() - back
            self._sleep(ended - time.monotonic())
            self._archive.stop()
            self._wait(lambda: self._watch.look(self._archive.ends()), "everything applied")
            recording = scraper.stop()
            failures = self._ended() + [problem for one in self._programs if (problem := one.end())]
        figures, wrong = judge(self._deployment, self._truth, self._archive)
        return Outcome(recording, round(caught_up, 1), round(inventory, 1), figures, failures + wrong)

    @contextmanager
    def _running(self) -> Iterator[None]:
        try:
            for one in self._programs:
                one.start()
            yield
        finally:
            for one in self._programs:
                one.kill()

    def _sleep(self, seconds: float) -> None:
        """Wait, and see that no process ends: nobody starts one again here."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._look()
            time.sleep(min(0.5, left))

    def _wait(self, happened: Callable[[], bool], what: str) -> None:
        wait_for(lambda: self._look() or happened(), what, _PATIENCE)

    def _look(self) -> bool:
        """False; the trial fails if a process has ended."""
        assert not (ended := self._ended()), f"ended by itself: {ended}"
        return False

    def _ended(self) -> list[str]:
        return [_ending(one) for one in self._programs if one.exit_code is not None]

    def _sequence(self) -> int:
        head = InventoryFolder(self._deployment.settings.inventory.dir, self._deployment.name).head()
        return 0 if head is None else head.sequence


def _ending(one: Program) -> str:
    return f"{one.name} with {one.exit_code}: {one.last_words()}"
