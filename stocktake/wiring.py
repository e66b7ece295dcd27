"""The parts of the program put together from the settings."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from zoneinfo import ZoneInfo

from consumers.apply import Applier
from consumers.clock import Clock, Deadline
from consumers.counts import Counts
from consumers.dead_letters import DeadLetterTopic
from consumers.formats.native import NativeFormat
from consumers.formats.recognise import event_format
from consumers.health import Health
from consumers.intake import Intake
from consumers.loop import Consumer
from consumers.owing import Owing
from consumers.policy import RepositoryPolicy
from consumers.source import Source
from state.chain import Lease
from state.comparison import Comparison
from state.connection import Connection
from state.debts import Debts
from state.patients import Patients
from state.repository import Repository
from state.studies import Studies
from state.times import MICROSECONDS
from stocktake import __version__
from stocktake.encoding import prepare_encoder
from stocktake.members import Member
from stocktake.settings import Settings
from writers.produce import Producer
from writers.runs import Slices

SOFTWARE = f"Stocktake {__version__}"


def system_clock() -> Clock:
    """The machine's clock."""
    return Clock(now=lambda: time.time_ns() * MICROSECONDS // 1_000_000_000, monotonic=time.monotonic)


@dataclass(frozen=True, slots=True)
class OpenRepository:
    """One repository's state, its fixed settings claimed or checked."""

    connection: Connection
    policy: RepositoryPolicy
    repository: Repository
    studies: Studies
    patients: Patients
    debts: Debts

    def close(self) -> None:
        self.connection.close()


def open_repository(settings: Settings, name: str | None) -> OpenRepository:
    """Connect to the state of a repository.

    Raises:
        StateUnreachable: the server does not answer.
        StateMismatch: it is not set up as the state needs it, or the state was made with other settings.
    """
    policy = settings.repository(name)
    connection = Connection(settings.redis)
    connection.check()
    repository = Repository(connection, policy.name)
    repository.claim(settings.state.shards, settings.inventory.level)
    studies = Studies(connection, policy.name, settings.state.shards, comparison_of(settings, policy.name))
    patients = Patients(connection, policy.name, settings.state.shards)
    debts = Debts(connection, policy.name, settings.state.shards)
    return OpenRepository(connection, policy, repository, studies, patients, debts)


def comparison_of(settings: Settings, repository: str) -> Comparison | None:
    """How a repository is compared with the other one of the cutover; None if it is in none."""
    if settings.cutover is None or repository not in (settings.cutover.rules.source, settings.cutover.rules.target):
        return None
    return Comparison(settings.cutover.rules, repository, settings.state.shards)


@dataclass(frozen=True, slots=True)
class OpenConsumer:
    """A consumer, what it works with, and what has to be closed after it."""

    consumer: Consumer
    applier: Applier
    source: Source
    dead_letters: DeadLetterTopic
    counts: Counts

    def close(self, timeout: float) -> None:
        """Close all within what the consumer has left of its time to end; within ``timeout`` seconds if it failed."""
        deadline = self.consumer.deadline or Deadline.after(timeout, time.monotonic)
        self.source.close(deadline.left)
        self.dead_letters.close(deadline.left)


def open_health(settings: Settings, member: Member) -> Health:
    """The health file of a member; it does nothing if ``health.file`` is not set."""
    path = settings.health.file
    return Health(None if path is None else member.file(path), system_clock())


def open_consumer(settings: Settings, opened: OpenRepository, *, worker: int = 1) -> OpenConsumer:
    """Join the consumer group of a repository's topics, as this worker.

    Raises:
        BrokerUnreachable, TopicUnusable: see :mod:`consumers.errors`.
    """
    counts: Counts = Counter()
    asks = settings.archive(opened.policy.name) is not None
    owing = Owing(opened.debts, follows=asks or opened.debts.count() > 0)
    source = Source(settings.kafka, opened.policy)
    dead_letters = DeadLetterTopic(settings.kafka)
    zone = ZoneInfo(opened.policy.timezone)
    native = NativeFormat(settings.consumer, zone, counts, settings.inventory.level, asks=asks)
    applier = Applier(opened.studies, opened.patients, owing, counts)
    consumer = Consumer(
        source,
        applier,
        Intake(opened.policy.name, event_format(opened.policy.format, native, counts), settings.consumer, counts),
        dead_letters,
        opened.repository,
        settings.consumer,
        counts,
        system_clock(),
        open_health(settings, Member("consumer", opened.policy.name, worker)),
        bridged=opened.policy.heartbeats,
    )
    return OpenConsumer(consumer, applier, source, dead_letters, counts)


def open_producer(
    settings: Settings,
    opened: OpenRepository,
    progress: Callable[[int], None] = lambda records: None,
    alive: Callable[[], None] = lambda: None,
) -> tuple[Producer, Lease]:
    """A producer of a repository's chain and the lease that it needs.

    Raises:
        FolderUnusable: ``inventory.dir`` cannot be written.
    """
    lease = Lease(opened.connection, opened.policy.name, settings.inventory.lease)
    producer = Producer(
        opened.connection,
        Slices(
            opened.studies,
            settings.redis,
            settings.inventory,
            partial(prepare_encoder, settings.log, opened.policy.name),
        ),
        opened.repository,
        lease,
        settings.inventory,
        settings.chain,
        ZoneInfo(opened.policy.timezone),
        SOFTWARE,
        progress,
        alive,
    )
    producer.folder.prepare()
    return producer, lease
