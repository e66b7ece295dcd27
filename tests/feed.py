"""Events published to a deployment's topic, the journal of them all, and the program that follows them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event as Flag
from typing import Any, Final

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import CoordinatorNotAvailableError

from consumers.membership import group_id
from consumers.source import Source
from consumers.topics import describe_topics
from state.attributes import Level
from state.times import MICROSECONDS, to_iso
from tests.harness import PATIENCE, Deployment, wait_for
from tests.oracle.adversary import BEGIN, CT
from tests.oracle.events import Json, moment
from tests.oracle.journal import Journal

ROOT: Final = Path(__file__).parents[1]
PARTITIONS: Final = 4


class Feed:
    """What was published, and whether it is applied. A topic made anew is followed after :meth:`renew`."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.journal = Journal(Level.INSTANCE)
        self.ends: dict[int, int] = {}
        self.events = 0
        self._clock = BEGIN
        self._topics = -1
        self.renew()

    def renew(self) -> None:
        """Look which topic there is now; nothing has been published to it yet."""
        [topic] = describe_topics(self.deployment.settings.kafka, [self.deployment.topic])
        self.topic_id = topic.id
        self.ends = {}
        self._topics += 1

    def publish(self, events: list[Json]) -> None:
        timed = []
        for event in events:
            self._clock = max(self._clock, moment(event["time"]) if "time" in event else 0)
            timed.append((event, self._clock))
        for (event, _), sent in zip(timed, self.deployment.publish(timed), strict=True):
            self.journal.add(event, sent.timestamp, sent.partition + 1000 * self._topics, sent.offset)
            self.ends[sent.partition] = max(sent.offset, self.ends.get(sent.partition, -1))
        self.events += len(events)
        self.deployment.clock.now = self._clock

    def applied(self) -> bool:
        """Whether every shard has applied everything published to the topic that there is."""
        wanted = {f"{self.topic_id}:{partition}".encode(): end for partition, end in self.ends.items()}
        return all(
            int(offsets.get(field, -1)) >= end for offsets in self.deployment.offsets() for field, end in wanted.items()
        )

    def wait(self, patience: float = PATIENCE) -> None:
        wait_for(self.applied, "all applied", patience)

    def check(self) -> None:
        """An inventory made now shows what the events come to."""
        manifest = self.deployment.produce("baseline", force=True)
        self.journal.start = manifest.scope_begin
        self.journal.check_present(self.deployment.path(manifest))


def ct(study: int, instance: int, second: int) -> Json:
    """The store of an instance, so many seconds after the beginning."""
    values = {"0020000D": f"1.2.{study}", "0020000E": f"1.2.{study}.1", "00080018": f"1.2.{study}.1.{instance}"}
    dataset = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in (values | {"00080016": CT}).items()}
    return {"action": "store", "time": to_iso(BEGIN + second * MICROSECONDS), "dataset": dataset}


class Program:
    """``stocktake consume`` as a process of its own, as the chart runs it; what it logs goes to a file."""

    def __init__(self, process: subprocess.Popen[bytes], log_file: Path) -> None:
        self._process = process
        self._log_file = log_file

    @property
    def log(self) -> str:
        return self._log_file.read_text(encoding="utf-8")

    def logs(self, text: str, times: int = 1, patience: float = PATIENCE) -> None:
        """Wait until it has logged ``text`` so often."""
        wait_for(lambda: self.log.count(text) >= times, f"{text!r} in the log", patience)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def exit_code(self, patience: float = PATIENCE) -> int:
        """Wait for its end."""
        return self._process.wait(patience)

    @property
    def runs(self) -> bool:
        return self._process.poll() is None


@contextmanager
def stocktake_consume(deployment: Deployment, **given: str) -> Iterator[Program]:
    """The program for the time of a block; ``given``: more settings as environment variables."""
    folder = deployment.settings.inventory.dir.parent
    log_file = folder / f"consume-{len(list(folder.glob('consume-*.log')))}.log"
    environ = os.environ | deployment.environ | {f"STOCKTAKE_{name}": value for name, value in given.items()}
    with log_file.open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "stocktake", "consume"], cwd=ROOT, env=environ, stderr=log)
    try:
        yield Program(process, log_file)
    finally:
        process.kill()
        process.wait()


def hold_back(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Keep consumers of this process from polling until the function that this returns is called.

    What they have asked the broker for is answered before this returns; a broker keeps a fetch for half a second.
    """
    poll = Source.poll
    gone_on = Flag()

    def wait(self: Source, timeout: float) -> Any:
        gone_on.wait(PATIENCE)
        return poll(self, timeout)

    monkeypatch.setattr(Source, "poll", wait)
    time.sleep(1.0)
    return gone_on.set


@contextmanager
def broker_admin(deployment: Deployment) -> Iterator[KafkaAdminClient]:
    with closing(KafkaAdminClient(bootstrap_servers=list(deployment.settings.kafka.bootstrap_servers))) as admin:
        yield admin


def members(deployment: Deployment) -> dict[str, list[TopicPartition]]:
    """The members of the deployment's consumer group and what they hold; none while the group is in a rebalance."""
    group = group_id(deployment.settings.kafka, deployment.name)
    try:
        with broker_admin(deployment) as admin:
            found: Any = admin.describe_groups([group])[group]
    except CoordinatorNotAvailableError:  # the broker's first group
        return {}
    if found["group_state"] != "Stable":
        return {}
    return {
        member["member_id"]: [
            TopicPartition(topic["topic"], number)
            for topic in member["member_assignment"]["assigned_partitions"]
            for number in topic["partitions"]
        ]
        for member in found["members"]
    }
