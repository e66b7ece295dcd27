"""One repository of the tests on real servers: events onto its topic, consumers in threads, a producer, a clock.

The clock stands still unless the test moves it: it is the archive's, and simulated events are neither early nor late.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Final
from zoneinfo import ZoneInfo

import orjson
from kafka import KafkaProducer
from redis import Redis

from consumers.apply import Applier
from consumers.counts import Counts
from consumers.dead_letters import DeadLetterTopic
from consumers.formats.native import NativeFormat
from consumers.grouping import Decoded
from consumers.health import Health
from consumers.intake import Intake
from consumers.loop import Clock, Consumer
from consumers.owing import Owing
from consumers.publish import event_key
from consumers.source import Source
from state.chain import Lease
from state.keys import RepositoryKeys, ShardKeys
from state.repository import Progress, partition_field
from stocktake.settings import Settings, load
from stocktake.wiring import OpenRepository, open_producer, open_repository
from tests.oracle.events import Json
from tests.servers.redis_server import open_client
from writers.manifest import Manifest
from writers.produce import Producer

PATIENCE: Final = 60.0  # seconds for anything that should happen soon


def wait_for(happened: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Wait until it has; the test fails if it does not."""
    deadline = time.monotonic() + patience
    while not happened():
        assert time.monotonic() < deadline, f"not within {patience:g} seconds: {what}"
        time.sleep(0.02)


@dataclass
class TestClock:
    """``now`` is UTC microseconds and stands still; ``monotonic`` is the machine's."""

    __test__ = False  # no test class, whatever its name

    now: int

    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, monotonic=time.monotonic)


@dataclass(frozen=True)
class Sent:
    """Where a message went: the record's place and timestamp (UTC microseconds)."""

    partition: int
    offset: int
    timestamp: int


@dataclass
class Running:
    """A consumer in its thread."""

    thread: Thread
    stopping: Flag
    counts: Counts
    errors: list[BaseException] = field(default_factory=list)

    def stop(self) -> None:
        """As SIGTERM would; raises what ended the consumer, if anything did."""
        self.stopping.set()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "the consumer did not stop"
        if self.errors:
            raise self.errors[0]

    def failed(self) -> BaseException:
        """Wait for the error that ends it."""
        self.thread.join(PATIENCE)
        assert self.errors, "the consumer did not fail"
        return self.errors[0]


class Deployment:
    """A repository: its settings, its state, and what works on them. ``given``: settings as environment variables."""

    def __init__(
        self,
        folder: Path,
        redis_url: str,
        repository: str,
        kafka: str = "127.0.0.1:1",
        topic: str = "none",
        **given: str,
    ) -> None:
        self.name = repository
        self.topic = topic
        self.environ = {
            "STOCKTAKE_KAFKA__BOOTSTRAP_SERVERS": kafka,
            "STOCKTAKE_REDIS__URL": redis_url,
            "STOCKTAKE_REDIS__TIMEOUT": "2s",
            "STOCKTAKE_STATE__SHARDS": "8",
            "STOCKTAKE_CONSUMER__WATERMARK_INTERVAL": "50ms",
            "STOCKTAKE_INVENTORY__DIR": str(folder / "inventories"),
            f"STOCKTAKE_REPOSITORIES__{repository.upper()}__TOPICS": topic,
        } | {f"STOCKTAKE_{name}": value for name, value in given.items()}
        self.settings: Settings = load(None, self.environ)
        self.folder = self.settings.inventory.dir / repository
        self.clock = TestClock(0)
        self.opened: OpenRepository = open_repository(self.settings, self.name)
        self._client = open_client(self.settings.redis)
        self.also_open: list[OpenRepository] = []

    def close(self) -> None:
        for opened in (self.opened, *self.also_open):
            opened.close()
        self._client.close()

    # --- events ------------------------------------------------------------------------------------------------

    @contextmanager
    def kafka_producer(self) -> Iterator[KafkaProducer]:
        with closing(
            KafkaProducer(
                bootstrap_servers=self.settings.kafka.bootstrap_servers[0], linger_ms=5, max_request_size=10**7
            )
        ) as producer:
            yield producer

    def publish(self, events: Iterable[tuple[Json, int]]) -> list[Sent]:
        """Send events with their records' timestamps (UTC microseconds), keyed by study; where each went."""
        return self.publish_raw((event_key(event), orjson.dumps(event), timestamp) for event, timestamp in events)

    def publish_raw(self, messages: Iterable[tuple[bytes | None, bytes | None, int]]) -> list[Sent]:
        """The same for keys and values as they are."""
        with self.kafka_producer() as producer:
            sent = [
                producer.send(self.topic, value, key, timestamp_ms=timestamp // 1000)
                for key, value, timestamp in messages
            ]
            producer.flush(timeout=PATIENCE)
            found = [future.get(timeout=PATIENCE) for future in sent]
        return [Sent(one.partition, one.offset, one.timestamp * 1000) for one in found]

    # --- consumers ---------------------------------------------------------------------------------------------

    def start_consumer(self, *, until_caught_up: bool = False) -> Running:
        """A consumer that owns its own connections, in a thread."""
        stopping = Flag()
        counts: Counts = Counter()
        running = Running(Thread(target=lambda: self._consume(running, until_caught_up)), stopping, counts)
        running.thread.start()
        return running

    @contextmanager
    def consuming(self) -> Iterator[Running]:
        """A consumer for the time of a block; its error, if it fails, is raised at the end."""
        running = self.start_consumer()
        try:
            yield running
        except BaseException:
            running.stopping.set()
            running.thread.join(PATIENCE)
            raise
        running.stop()

    def consume_all(self) -> Counts:
        """Consume what the topic holds now; what was counted."""
        running = self.start_consumer(until_caught_up=True)
        running.thread.join(PATIENCE)
        running.stop()
        return running.counts

    def _consume(self, running: Running, until_caught_up: bool) -> None:
        try:
            opened = open_repository(self.settings, self.name)
            with closing(opened):
                source = Source(self.settings.kafka, opened.policy)
                letters = DeadLetterTopic(self.settings.kafka)
                try:
                    native = NativeFormat(self.settings.consumer, ZoneInfo(opened.policy.timezone), running.counts)
                    consumer = Consumer(
                        source,
                        Applier(opened.studies, opened.patients, Owing(opened.debts, follows=True), running.counts),
                        Intake(opened.policy.name, native, self.settings.consumer, running.counts),
                        letters,
                        opened.repository,
                        self.settings.consumer,
                        running.counts,
                        self.clock.clock(),
                        Health(None, self.clock.clock()),
                    )
                    consumer.run(running.stopping, until_caught_up=until_caught_up)
                finally:
                    source.close(5.0)
                    letters.close()
        except BaseException as error:
            running.errors.append(error)

    @property
    def topic_id(self) -> str:
        """The topic's id, as the consumers saw it."""
        found: bytes = self.redis.hget(self.keys.topics, self.topic)  # type: ignore[assignment]
        return str(orjson.loads(found)["id"])

    def caught_up(self) -> bool:
        """Whether a consumer has published that every partition is applied to the end as of the clock's present."""
        watermark = self.opened.repository.watermark().time
        late = round(self.settings.consumer.max_out_of_order * 1_000_000)
        return watermark is not None and watermark >= self.clock.now - late

    # --- without Kafka -----------------------------------------------------------------------------------------

    def apply(self, events: Sequence[tuple[Json, int]], first_offset: int = 0) -> int:
        """Apply events as one batch of one partition and publish the progress; the next offset."""
        counts: Counts = Counter()
        applier = Applier(self.opened.studies, self.opened.patients, Owing(self.opened.debts, follows=True), counts)
        decoder = NativeFormat(self.settings.consumer, ZoneInfo("UTC"), counts)
        partition = partition_field("by-hand", 0)
        applier.assign(partition)
        applier.apply(
            [
                Decoded(partition, first_offset + number, decoder.decode(orjson.dumps(event), timestamp))
                for number, (event, timestamp) in enumerate(events)
            ]
        )
        last = first_offset + len(events) - 1
        self.publish_progress(applier, last)
        return last + 1

    def publish_progress(self, applier: Applier, last: int) -> None:
        """Say that the one partition is applied up to ``last``, as of the clock's present."""
        [partition] = applier.partitions
        if last >= 0:
            applier.advance({partition: last})
        self.opened.repository.set_topics({"by-hand": ("by-hand", 1)})
        self.opened.repository.publish_progress({partition: Progress(self.clock.now, last, self.clock.now)})

    # --- inventories -------------------------------------------------------------------------------------------

    def open_producer(self) -> tuple[Producer, Lease]:
        """A producer with its own connections; it has not taken the lease."""
        opened = open_repository(self.settings, self.name)
        self.also_open.append(opened)
        return open_producer(self.settings, opened)

    @contextmanager
    def producing(self) -> Iterator[Producer]:
        """A producer that holds the lease for the time of a block."""
        producer, lease = self.open_producer()
        assert lease.take()
        try:
            yield producer
        finally:
            lease.release()

    def produce(self, kind: str = "next", *, force: bool = False) -> Manifest:
        with self.producing() as producer:
            return producer.produce(kind, force=force)

    def path(self, manifest: Manifest) -> Path:
        return self.folder / manifest.file

    # --- Redis -------------------------------------------------------------------------------------------------

    @property
    def redis(self) -> Redis:
        return self._client

    @property
    def keys(self) -> RepositoryKeys:
        return RepositoryKeys(self.name)

    @property
    def shard_keys(self) -> list[ShardKeys]:
        return [ShardKeys(self.name, shard) for shard in range(self.settings.state.shards)]

    def dump_shards(self) -> list[dict[bytes, bytes]]:
        """What each shard holds, key by key."""
        found = []
        for shard in range(self.settings.state.shards):
            keys: list[bytes] = self.redis.keys(f"st:{{{shard}}}:{self.name}:*")  # type: ignore[assignment]
            found.append({key: value for key in keys if (value := self.redis.dump(key)) is not None})
        return found

    def lose(self, shard: int, before: Mapping[bytes, bytes]) -> None:
        """Put a shard back to what it held, all at once: what a server loses that fails over."""
        pipeline = self.redis.pipeline(transaction=True)
        for key in self.redis.keys(f"st:{{{shard}}}:{self.name}:*"):
            pipeline.delete(key)
        for key, value in before.items():
            pipeline.restore(key, 0, value)
        pipeline.execute()

    def forget_offsets(self) -> None:
        """Lower every shard's offsets to nothing, so that the whole topic is applied again."""
        for keys in self.shard_keys:
            self.redis.delete(keys.offsets)

    def offsets(self) -> list[Mapping[bytes, bytes]]:
        """The offsets of each shard."""
        return [self.redis.hgetall(keys.offsets) for keys in self.shard_keys]  # type: ignore[misc]
