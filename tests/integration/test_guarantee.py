"""The guarantee (design, section 6): resolving the head shows, for each study, a state that it really had, with every
event up to the cut in it; no study is missing, none invented; and when the stream is quiet it shows the state.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from threading import Semaphore, Thread
from typing import Any
from zlib import crc32

import orjson
import pytest

import state.record
import state.studies
from consumers.publish import event_key
from consumers.simulate import simulate
from state.attributes import Level
from state.times import MICROSECONDS, to_iso
from tests.harness import Deployment, wait_for
from tests.mix import EVERYTHING
from tests.oracle.adversary import BEGIN, CT, Universe, random_events
from tests.oracle.events import Json, moment
from tests.oracle.journal import Journal, own_records
from tests.servers.kafka_broker import KafkaBroker
from writers.manifest import Manifest
from writers.verify import verify

PARTITIONS = 4
CHUNK = 200  # events sent before the clock moves on
INVENTORIES = 8  # taken while the events arrive


@pytest.fixture
def deploy(
    tmp_path: Path, redis_url: str, repository: str, kafka_broker: KafkaBroker, topic: str
) -> Iterator[Callable[..., Deployment]]:
    """Makes the test's deployment, with more settings if need be."""
    made: list[Deployment] = []

    def make(**given: str) -> Deployment:
        made.append(Deployment(tmp_path, redis_url, repository, kafka_broker.bootstrap_servers, topic, **given))
        return made[-1]

    yield make
    for deployment in made:
        deployment.close()


class Stream:
    """Simulated events on their way to the topic, in a thread, and the journal of them all."""

    def __init__(self, deployment: Deployment, events: list[Json], level: Level = Level.INSTANCE) -> None:
        self.deployment = deployment
        self.journal = Journal(level)
        self.total = len(events)
        self.sent = 0
        self._messages: list[tuple[int, bytes, bytes, int]] = []
        offsets: defaultdict[int, int] = defaultdict(int)
        timestamp = 0
        for event in events:
            # The record's time is the archive's clock: what came before, and this event's if it is not late.
            timestamp = max(timestamp, moment(event["time"]) if "time" in event else 0) // 1000 * 1000
            key = event_key(event)
            partition = crc32(key) % PARTITIONS
            self.journal.add(event, timestamp, partition, offsets[partition])
            offsets[partition] += 1
            self._messages.append((partition, key, orjson.dumps(event), timestamp))
        self.thread = Thread(target=self._send)
        self._gate = Semaphore(0)

    def send_more(self) -> None:
        """Let the next part of the events be sent, in the background."""
        for _ in range(-(-self.total // CHUNK // INVENTORIES) + 1):
            self._gate.release()

    def _send(self) -> None:
        with self.deployment.kafka_producer() as producer:
            while self.sent < self.total:
                self._gate.acquire()
                chunk = self._messages[self.sent : self.sent + CHUNK]
                for partition, key, value, timestamp in chunk:
                    producer.send(
                        self.deployment.topic, value, key, partition=partition, timestamp_ms=timestamp // 1000
                    )
                producer.flush()
                self.deployment.clock.now = chunk[-1][3]
                self.sent += len(chunk)

    def applied(self) -> bool:
        """Whether every shard has applied everything."""
        return all(
            int(offsets.get(field, -1)) >= offset
            for offsets in self.deployment.offsets()
            for partition, offset in self.journal.last_offsets().items()
            for field in [f"{self.deployment.topic_id}:{partition}".encode()]
        )

    def produce(self) -> Manifest:
        """The next inventory, held to the guarantee."""
        watermark = self.deployment.opened.repository.watermark()
        applied = {int(field.rpartition(":")[2]): offset for field, offset in watermark.offsets.items()}
        manifest = self.deployment.produce()
        self.journal.start = manifest.scope_begin
        self.journal.check(self.deployment.path(manifest), applied, manifest.watermark)
        return manifest

    def produce_present(self) -> Manifest:
        """The next inventory when everything is applied: it shows the state, and breaks no rule of the standard."""
        manifest = self.produce()
        path = self.deployment.path(manifest)
        self.journal.check_present(path)
        assert [finding for finding in verify(path) if finding.severity == "error"] == []
        return manifest


def follow(stream: Stream) -> list[Manifest]:
    """Consume while events arrive, take inventories meanwhile, stop and start the consumer, end quiet."""
    deployment = stream.deployment
    stream.thread.start()
    stream.send_more()
    manifests = []
    with deployment.consuming():
        wait_for(lambda: deployment.opened.repository.watermark().time is not None, "a watermark")
        while stream.sent < stream.total // 2:
            stream.send_more()
            manifests.append(stream.produce())
    stream.send_more()
    manifests.append(stream.produce())  # while nobody consumes
    with deployment.consuming():
        while stream.thread.is_alive():
            stream.send_more()
            manifests.append(stream.produce())
        stream.thread.join()
        wait_for(deployment.caught_up, "everything applied")
        manifests.append(stream.produce_present())
    return manifests


def replay(stream: Stream) -> None:
    """The whole topic again; what is seen before it has caught up is not judged."""
    stream.deployment.forget_offsets()
    with stream.deployment.consuming():
        stream.deployment.produce()
        wait_for(stream.applied, "the topic applied again")
    stream.produce_present()


def test_of_300_studies_every_inventory_keeps_the_guarantee(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(CHAIN__ROLLUP_FANOUT="3")
    stream = Stream(deployment, list(simulate(300, 11, max_instances=80, mix=EVERYTHING)))
    manifests = follow(stream)
    assert {manifest.kind for manifest in manifests} == {"baseline", "delta", "rollup"}
    for _ in range(2):
        replay(stream)


@pytest.mark.parametrize(
    ("level", "given"),
    [
        (Level.STUDY, {"INVENTORY__LEVEL": "STUDY"}),
        (Level.SERIES, {"INVENTORY__LEVEL": "SERIES"}),
        (Level.INSTANCE, {"INVENTORY__TRANSFER_SYNTAX": "DEFLATED", "CHAIN__ROLLUP_FANOUT": "2"}),
        (Level.INSTANCE, {"CHAIN__ORIGIN": "empty", "KAFKA__MAX_POLL_RECORDS": "7"}),
    ],
)
def test_the_guarantee_holds_at_each_level_and_in_each_form(
    deploy: Callable[..., Deployment], level: Level, given: dict[str, str]
) -> None:
    stream = Stream(deploy(**given), list(simulate(60, 5, max_instances=30, mix=EVERYTHING)), level)
    follow(stream)
    replay(stream)


# --- events made to meet every rule, without Kafka -----------------------------------------------------------------


@pytest.fixture
def by_hand(tmp_path: Path, redis_url: str, repository: str) -> Iterator[Callable[..., Deployment]]:
    """Makes a deployment whose events are applied by hand."""
    made: list[Deployment] = []

    def make(**given: str) -> Deployment:
        made.append(Deployment(tmp_path, redis_url, repository, **given))
        return made[-1]

    yield make
    for deployment in made:
        deployment.close()


@pytest.mark.parametrize("seed", range(6))
def test_studies_of_many_chunks_are_read_in_part_and_stay_whole(
    by_hand: Callable[..., Deployment], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks so small that a study has many; batches of one event and of several."""
    for module in (state.record, state.studies):
        monkeypatch.setattr(module, "CHUNK_TARGET", 3)
    rng = Random(seed)
    deployment, journal = by_hand(CHAIN__ROLLUP_FANOUT="3"), Journal(Level.INSTANCE)
    events = random_events(rng, Universe(studies=3, series=3, instances=40))
    offset = 0
    for _ in range(12):
        for _ in range(8):
            batch = [(event, BEGIN + 10_000 * MICROSECONDS) for event in islice(events, rng.choice((1, 1, 5)))]
            deployment.clock.now = max(moment(event["time"]) for event, _ in batch)
            for number, (event, timestamp) in enumerate(batch):
                journal.add(event, timestamp, 0, offset + number)
            offset = deployment.apply(batch, offset)
        manifest = deployment.produce()
        journal.start = manifest.scope_begin
        journal.check_present(deployment.path(manifest))


def ct(study: int, instance: int, second: int, **changes: Any) -> tuple[Json, int]:
    """The store of an instance, and its record's timestamp."""
    time = BEGIN + second * MICROSECONDS
    values = {"0020000D": f"1.2.{study}", "0020000E": f"1.2.{study}.1", "00080018": f"1.2.{study}.1.{instance}"}
    dataset = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in (values | {"00080016": CT}).items()}
    return {"action": "store", "time": to_iso(time), "dataset": dataset} | changes, time


def test_a_series_store_revives_a_removed_study_of_several_chunks(by_hand: Callable[..., Deployment]) -> None:
    deployment, journal = by_hand(), Journal(Level.INSTANCE)
    stored = [ct(1, number, 1) for number in range(400)]
    [study, series] = [ct(1, 0, 2 + number)[0] for number in range(2)]
    study["action"], study["level"], series["level"] = "delete", "STUDY", "SERIES"
    offset = 0
    for batch in (stored, [(study, BEGIN)], [(series, BEGIN)]):
        for event, timestamp in batch:
            journal.add(event, timestamp)
        offset = deployment.apply(batch, offset)
    deployment.clock.now = BEGIN + 10 * MICROSECONDS
    manifest = deployment.produce()
    journal.start = manifest.scope_begin
    journal.check_present(deployment.path(manifest))


def test_a_late_study_is_among_the_next_deltas_own_records(by_hand: Callable[..., Deployment]) -> None:
    deployment = by_hand()
    deployment.clock.now = BEGIN + 100 * MICROSECONDS
    offset = deployment.apply([ct(1, 1, 50), ct(2, 1, 60)])
    first = deployment.produce()
    offset = deployment.apply([ct(1, 2, 20), ct(3, 1, 55)], offset)  # both before the cut that was taken
    second = deployment.produce()
    assert own_records(deployment.path(first)) == {"1.2.1", "1.2.2"}
    assert own_records(deployment.path(second)) == {"1.2.1", "1.2.3"}
    assert [finding for finding in verify(deployment.path(second)) if finding.severity == "error"] == []


def test_a_study_that_changes_without_pause_is_in_every_delta(by_hand: Callable[..., Deployment]) -> None:
    deployment = by_hand()
    deployment.clock.now = BEGIN + 10_000 * MICROSECONDS
    deployment.apply([ct(1, 0, 0)])
    deployment.produce()
    changing = by_hand()
    changing.clock.now = deployment.clock.now
    going, changes = Semaphore(1), 0

    def change() -> None:
        nonlocal changes
        offset = 1
        while going.acquire(blocking=False):
            going.release()
            changes += 1
            offset = changing.apply([ct(1, changes % 50, changes), ct(2, changes % 50, changes)], offset)

    busy = Thread(target=change)
    busy.start()
    try:
        for _ in range(20):
            wait_for(lambda seen=changes: changes > seen, "a change")  # type: ignore[misc]
            manifest = deployment.produce()
            assert own_records(deployment.path(manifest)) == {"1.2.1", "1.2.2"}
    finally:
        going.acquire()
        busy.join()
