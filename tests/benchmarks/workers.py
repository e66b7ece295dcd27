"""Several consumers of one group at once: ``stocktake consume --workers N``, timed from a standing start.

The events are published in a transaction that is committed when every worker has its partitions and waits. So all of
them start at the same moment with everything there, and no publisher takes processor time from them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import CoordinatorNotAvailableError

from consumers.topics import describe_topics
from state.studies import Studies
from stocktake.settings import Settings
from stocktake.wiring import open_repository
from tests.benchmarks.events import Message
from tests.benchmarks.measuring import Measured, Stopwatch, family
from tests.benchmarks.paths import Servers

_LOOK: Final = 0.02  # seconds between two looks at how far they are
_INTERVAL: Final = 0.1  # seconds between two looks at the group
_SETTLE: Final = 1.0  # seconds in which each worker acts on what the group decided
_PATIENCE: Final = 120.0
_TRANSACTION_MS: Final = 600_000
_BATCH_BYTES: Final = 128 * 1024
_UNCONFIRMED: Final = 10_000  # messages


def consume_together(servers: Servers, folder: Path, topic: str, messages: Iterable[Message], workers: int) -> Measured:
    """The messages, put on a new topic, consumed by so many workers; log and settings file are in ``folder``."""
    settings = servers.following(topic, topic)
    with ExitStack() as stack:
        opened = open_repository(settings, None)
        stack.callback(opened.close)
        [described] = describe_topics(settings.kafka, [topic])
        fields = [described.field(number) for number in range(described.partitions)]
        producer, count = _publish_uncommitted(settings, topic, messages)
        stack.callback(producer.close)
        program = stack.enter_context(_consuming(settings, folder, workers))
        _wait_for_group(settings, program, workers)
        watch = Stopwatch(servers.roles(*family(program.pid)))
        producer.commit_transaction()
        watch.start()
        _wait(lambda: _applied(opened.studies, fields) >= count, program, "everything is applied", _LOOK)
        return watch.stop(count)


def _applied(studies: Studies, fields: list[str]) -> int:
    """How many events are applied: a partition has come as far as the furthest of its shards."""
    return sum(max(studies.offsets(field)) + 1 for field in fields)


def _publish_uncommitted(settings: Settings, topic: str, messages: Iterable[Message]) -> tuple[KafkaProducer, int]:
    """A producer that has sent the messages and can commit them, and how many they are."""
    producer = KafkaProducer(
        bootstrap_servers=list(settings.kafka.bootstrap_servers),
        transactional_id=topic,
        transaction_timeout_ms=_TRANSACTION_MS,
        linger_ms=20,
        batch_size=_BATCH_BYTES,
    )
    producer.init_transactions()
    producer.begin_transaction()
    count = 0
    for key, value in messages:
        producer.send(topic, value, key=key)
        count += 1
        if count % _UNCONFIRMED == 0:
            producer.flush()  # it buffers without limit
    producer.flush()
    return producer, count


@contextmanager
def _consuming(settings: Settings, folder: Path, workers: int) -> Iterator[subprocess.Popen[bytes]]:
    """The program with so many workers, ended in order when the block ends."""
    [policy] = settings.repositories
    config = folder / f"{policy.name}.toml"
    config.write_text(
        f'[kafka]\nbootstrap_servers = "{",".join(settings.kafka.bootstrap_servers)}"\n'
        f'[redis]\nurl = "{settings.redis.url}"\n'
        f'[repositories.{policy.name}]\ntopics = ["{policy.topics[0]}"]\nformat = "{policy.format}"\n',
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "stocktake", "consume", "--config", str(config), "--workers", str(workers)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STOCKTAKE_")}
    with config.with_suffix(".log").open("wb") as log:
        program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    try:
        yield program
    finally:
        program.send_signal(signal.SIGTERM)
        program.wait()


def _wait_for_group(settings: Settings, program: subprocess.Popen[bytes], workers: int) -> None:
    """Wait until the group is at rest with all workers, each with partitions, and has been for a while."""
    group = f"{settings.kafka.group_id}.{settings.repositories[0].name}"
    with closing(KafkaAdminClient(bootstrap_servers=list(settings.kafka.bootstrap_servers))) as admin:

        def at_rest() -> bool:
            try:
                found = admin.describe_groups([group])[group]
            except CoordinatorNotAvailableError:
                return False  # the first group that this broker has
            members = [member for member in found["members"] if member["member_assignment"]]
            return found["group_state"] == "Stable" and len(members) == workers

        for _ in range(2):
            _wait(at_rest, program, "the group has every worker")
            time.sleep(_SETTLE)


def _wait(
    happened: Callable[[], bool], program: subprocess.Popen[bytes], what: str, interval: float = _INTERVAL
) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not happened():
        if program.poll() is not None:
            raise RuntimeError(f"the program ended with exit code {program.returncode} before this: {what}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {_PATIENCE:g} seconds: {what}")
        time.sleep(interval)
