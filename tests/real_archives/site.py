"""Orthanc and all of Stocktake's processes that follow it: bridge, consumer, enricher; inventories when asked for."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final
from uuid import uuid4

import orjson
from kafka import KafkaConsumer, TopicPartition

from tests.harness import Deployment, wait_for
from tests.servers.kafka_broker import KafkaBroker, run_kafka
from tests.servers.orthanc import Orthanc, run_orthanc
from tests.servers.redis_server import RedisServer, run_redis
from tests.soak.program import Program, program, settings_file

PARTITIONS: Final = 3
PATIENCE: Final = 240.0  # seconds

Triple = tuple[str, str, str]  # Study, Series, SOP Instance UID


@dataclass(frozen=True)
class Inventoried:
    """What the head says: instances that are there, and removed ones."""

    live: set[Triple]
    removed: set[Triple]


@dataclass
class Site:
    """One repository on real servers. ``killed`` counts what was killed, by name."""

    orthanc: Orthanc
    deployment: Deployment
    settings: Path
    programs: dict[str, Program]
    killed: dict[str, int] = field(default_factory=dict)
    written: int = 0

    def start(self) -> None:
        for one in self.programs.values():
            one.start()

    def end(self) -> list[str]:
        """Ask all to end; what is wrong with how they did."""
        return [wrong for one in self.programs.values() if (wrong := one.end()) is not None]

    def kill(self, name: str) -> None:
        """SIGKILL of a process or of Orthanc, and start it again."""
        self.killed[name] = self.killed.get(name, 0) + 1
        if name == "orthanc":
            self.orthanc.kill()
            self.orthanc.start()
        else:
            self.programs[name].kill()
            self.programs[name].start()

    def command(self, *words: str | Path, patience: float = PATIENCE) -> subprocess.CompletedProcess[bytes]:
        """Run a command of the program to its end."""
        given = [sys.executable, "-m", "stocktake", *map(str, words)]
        return subprocess.run(given, capture_output=True, timeout=patience, check=False)

    def write(self) -> bool:
        """Write the chain's next inventory; whether there was a watermark to write it for."""
        ran = self.command("write", "--once", "--config", self.settings)
        self.written += ran.returncode == 0
        return ran.returncode == 0

    def settled(self) -> bool:
        """Whether nothing is owed a look."""
        return self.deployment.opened.debts.count() == 0

    def write_the_end(self) -> None:
        """When Orthanc is at rest: write an inventory that has everything in it."""
        self.orthanc.settle()
        self._wait_for_heartbeats(self.deployment.opened.connection.now())
        wait_for(self._settled_for_good, "nothing is owed", PATIENCE)
        self._wait_for_heartbeats(self.deployment.opened.connection.now())
        assert self.write()

    def _settled_for_good(self) -> bool:
        if not self.settled():
            return False
        time.sleep(2.5)  # StableStudy comes a second after the last instance, and asks for one more look
        return self.settled()

    def _wait_for_heartbeats(self, moment: int) -> None:
        """Until everything up to that moment is applied, as heartbeats have it."""

        def applied() -> bool:
            progress = self.deployment.opened.repository.progress().values()
            return bool(progress) and all(one is not None and one.heartbeat >= moment for one in progress)

        wait_for(applied, "heartbeats later than the last change", PATIENCE)

    def inventoried(self) -> Inventoried:
        """What the head resolves to."""
        folder = self.deployment.folder
        uids = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
        columns = ",".join(
            [*uids, *(f"{level}.RemovedFromOperationalUse" for level in ("Study", "Series", "Instance"))]
        )
        words = ("resolve", folder, "--format", "csv", "--level", "INSTANCE", "--removed", "--columns", columns)
        ran = self.command(*words)
        assert ran.returncode == 0, ran.stderr.decode()
        live: set[Triple] = set()
        removed: set[Triple] = set()
        for row in list(csv.reader(io.StringIO(ran.stdout.decode())))[1:]:
            (removed if "Y" in row[3:] else live).add((row[0], row[1], row[2]))
        return Inventoried(live, removed)

    def told(self) -> set[Triple]:
        """Every instance that a message of the topic has stored."""
        found: set[Triple] = set()
        broker = self.deployment.settings.kafka.bootstrap_servers
        with closing(KafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False)) as consumer:
            parts = [TopicPartition(self.deployment.topic, number) for number in range(PARTITIONS)]
            consumer.assign(parts)
            consumer.seek_to_beginning(*parts)
            ends = consumer.end_offsets(parts)
            while any(consumer.position(part) < ends[part] for part in parts):
                for records in consumer.poll(timeout_ms=500).values():
                    for record in records:
                        found.update(_stored(orjson.loads(record.value)))
        return found

    def verify(self) -> None:
        """The chain breaks no rule."""
        ran = self.command("verify", self.deployment.folder)
        assert ran.returncode == 0, ran.stdout.decode()[-3000:]

    def counters(self) -> dict[str, int]:
        return self.deployment.opened.repository.counters()


def _stored(message: dict[str, Any]) -> Iterator[Triple]:
    if message["action"] == "store":
        for dataset in message.get("datasets") or [message["dataset"]]:
            study, series, instance = (dataset[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
            yield study, series, instance


@contextmanager
def open_servers() -> Iterator[tuple[Path, KafkaBroker, RedisServer]]:
    """A broker, a Redis, and a folder, for a command of the tests."""
    with tempfile.TemporaryDirectory() as name:
        for part in ("kafka", "redis"):
            (Path(name) / part).mkdir()
        with run_kafka(Path(name) / "kafka") as broker, run_redis(Path(name) / "redis") as redis:
            yield Path(name), broker, redis


@contextmanager
def open_site(
    folder: Path,
    broker: KafkaBroker,
    redis: RedisServer,
    bridge: Sequence[str] = (),
    **configured: Any,
) -> Iterator[Site]:
    """A site whose processes are not started yet; ``bridge``: more words for it, ``configured``: for Orthanc."""
    repository = "r" + uuid4().hex[:8]
    topic = f"stocktake-test-{uuid4().hex}"
    broker.create_topic(topic, PARTITIONS, {})
    with run_orthanc(folder, **configured) as orthanc:
        deployment = Deployment(
            folder,
            redis.url,
            repository,
            broker.bootstrap_servers,
            topic,
            KAFKA__SESSION_TIMEOUT="6s",  # a member that was killed holds its partitions for so long
            **orthanc.settings(repository),
            **{f"REPOSITORIES__{repository.upper()}__HEARTBEATS": "true"},
        )
        settings = settings_file(folder, deployment)
        follow = ("bridge", "orthanc", "--poll", "100ms", "--heartbeat", "500ms", *bridge)
        programs = {
            "bridge": program("bridge", settings, folder, *follow),
            "consumer": program("consumer", settings, folder, "consume"),
            "enricher": program("enricher", settings, folder, "enrich"),
        }
        site = Site(orthanc, deployment, settings, programs)
        try:
            yield site
        finally:
            for one in programs.values():
                one.kill()
            deployment.close()


def at_random(rng: Random, kills: int, steps: int, names: Sequence[str]) -> Callable[[int], str | None]:
    """Which process to kill after which step: each name in turn, at moments spread over all steps."""
    moments = sorted(rng.sample(range(1, steps), kills))
    turn = {moment: names[number % len(names)] for number, moment in enumerate(moments)}
    return turn.get


def report(**figures: Any) -> None:
    """One line of JSON."""
    print(orjson.dumps(figures).decode(), flush=True)
