"""While an archive's past comes in, studies are written unread; one that is known is found all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import orjson
import pytest

from consumers.apply import Applier
from consumers.counts import Counts
from consumers.events import Action, Entity, Event
from consumers.grouping import Decoded
from consumers.owing import Owing
from state.attributes import SOP_CLASS_UID, Level
from state.connection import Meanwhile
from state.errors import OffsetConflict, ShardMoved
from state.record import StudyRecord
from state.repository import partition_field
from state.studies import PartsWanted, Studies
from stocktake.embedded import HOST, free_ports
from tests.harness import Deployment
from tests.oracle.adversary import CT
from tests.servers.processes import running
from tests.servers.redis_server import node_process

PARTITION = partition_field("by-hand", 0)
MANY = 600  # studies of a batch
SHARDS = 8


class Noting(Studies):
    """Notes which studies are read before they are written."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self.read_ones: set[str] = set()

    def read_parts(self, wanted: Mapping[str, PartsWanted], meanwhile: Meanwhile = None) -> dict[str, StudyRecord]:
        self.read_ones |= wanted.keys()
        return super().read_parts(wanted, meanwhile)

    def taken_read(self) -> set[str]:
        found, self.read_ones = self.read_ones, set()
        return found


class Backfilled:
    """A consumer of one partition to which batches are given by hand; each event is one of a study's instances."""

    def __init__(self, one: Deployment) -> None:
        self.studies = Noting(one.opened.connection, one.name, SHARDS)
        self.counts: Counts = Counter()
        self.applier = Applier(self.studies, one.opened.patients, Owing(one.opened.debts, follows=False), self.counts)
        self.applier.assign(PARTITION)
        self._offset = -1

    def apply(self, events: Iterable[Event]) -> set[str]:
        """Apply events as one batch; the studies that were read for it."""
        self.applier.apply(self.batch(events))
        return self.studies.taken_read()

    def begin(self, events: Iterable[Event]) -> None:
        """Begin to apply events as one batch."""
        self.applier.begin(self.batch(events))

    def batch(self, events: Iterable[Event]) -> list[Decoded]:
        return [Decoded(PARTITION, self._next(), [event]) for event in events]

    def instances(self, study: int) -> set[str]:
        [found] = self.studies.read([uid(study)])
        return {sop for sop, _ in found.record.instances()}

    def _next(self) -> int:
        self._offset += 1
        return self._offset


def uid(study: int) -> str:
    return f"1.2.{study}"


def event(study: int, instance: int = 1, action: Action = Action.STORE) -> Event:
    sop = f"{uid(study)}.1.{instance}"
    entity = Entity(f"{uid(study)}.1", sop, {}, {}, {SOP_CLASS_UID: CT} if action is Action.STORE else {})
    return Event(action, Level.INSTANCE, uid(study), 1_000 + instance, (entity,))


@pytest.fixture
def consumer(tmp_path: Path, redis_url: str, repository: str) -> Iterator[Backfilled]:
    deployment = Deployment(tmp_path, redis_url, repository)
    yield Backfilled(deployment)
    deployment.close()


def test_after_many_new_studies_the_next_are_not_read(consumer: Backfilled) -> None:
    assert len(consumer.apply(map(event, range(MANY)))) == MANY
    assert not consumer.apply(map(event, range(MANY, 2 * MANY)))
    assert not consumer.apply(map(event, range(2 * MANY, 3 * MANY)))
    assert consumer.studies.count() == 3 * MANY
    assert consumer.instances(MANY) == {f"1.2.{MANY}.1.1"}


def test_one_that_is_known_is_found_its_shard_read_and_nothing_lost_or_counted_twice(consumer: Backfilled) -> None:
    consumer.apply(map(event, range(MANY)))
    known, unknown = 7, 2 * MANY
    update = event(unknown, 5, Action.UPDATE)
    read = consumer.apply([*map(event, range(MANY, 2 * MANY)), event(known, 2), update])
    assert uid(known) in read
    assert {consumer.studies.shard_of(one) for one in read} == {consumer.studies.shard_of(uid(known))}
    assert consumer.instances(known) == {"1.2.7.1.1", "1.2.7.1.2"}
    assert consumer.studies.count() == 2 * MANY + 1
    assert consumer.counts["updates_unknown"] == 1
    assert consumer.counts["conflicts"] == 0  # nobody came between
    assert not consumer.apply(map(event, range(3 * MANY, 4 * MANY)))


@pytest.mark.parametrize(
    ("batch", "why"),
    [
        (lambda: [event(study, 2) for study in range(MANY)], "all were known"),
        (lambda: [event(study, 2) for study in range(MANY, 2 * MANY + 3)] + [event(1, 3), event(2, 3)], "two were"),
        (lambda: [event(5 * MANY)], "it was small"),
    ],
)
def test_a_batch_that_shows_another_kind_of_stream_makes_the_next_be_read(
    consumer: Backfilled, batch: Callable[[], Sequence[Event]], why: str
) -> None:
    consumer.apply(map(event, range(MANY)))
    consumer.apply(batch())
    assert len(consumer.apply(map(event, range(9 * MANY, 10 * MANY)))) == MANY, why


def test_what_was_begun_is_written_before_anything_else_is_done(consumer: Backfilled) -> None:
    consumer.apply(map(event, range(MANY)))
    for begin in range(MANY, 4 * MANY, MANY):
        consumer.begin(map(event, range(begin, begin + MANY)))
    assert consumer.applier.assign(PARTITION) >= 3 * MANY - 1, "of all batches but the last at the least"
    consumer.applier.advance({PARTITION: 4 * MANY - 1})
    consumer.applier.check()
    assert consumer.studies.count() == 4 * MANY


def test_a_study_of_two_batches_in_a_row_has_the_events_of_both_and_in_their_order(consumer: Backfilled) -> None:
    consumer.apply(map(event, range(MANY)))
    both = MANY
    consumer.begin(map(event, range(both, both + MANY)))
    second = [*map(event, range(both + MANY, both + 2 * MANY)), event(both, 1, Action.DELETE), event(both, 2)]
    consumer.begin(second)
    consumer.applier.settle()
    [found] = consumer.studies.read([uid(both)])
    instances = dict(found.record.instances())
    assert instances["1.2.600.1.1"].tombstone is not None
    assert instances["1.2.600.1.2"].tombstone is None
    assert consumer.studies.count() == 3 * MANY


def test_who_begins_a_batch_hears_that_the_one_before_found_its_shard_moved(consumer: Backfilled) -> None:
    consumer.apply(map(event, range(MANY)))
    consumer.begin(map(event, range(MANY, 2 * MANY)))
    consumer.applier.settle()
    consumer.studies.lower_offsets(PARTITION, MANY)
    consumer.begin(map(event, range(2 * MANY, 3 * MANY)))
    with pytest.raises(OffsetConflict):
        consumer.begin(map(event, range(3 * MANY, 4 * MANY)))
    assert consumer.studies.count() == 2 * MANY, "nothing of either is there"
    assert consumer.applier.assign(PARTITION) == MANY
    consumer.applier.settle()


def test_a_server_that_is_killed_before_it_is_asked_what_became_of_a_batch_loses_and_doubles_nothing(
    tmp_path: Path, repository: str
) -> None:
    [port] = free_ports(1)
    server = node_process(tmp_path / "redis", port)
    with running(server):
        deployment = Deployment(tmp_path, f"redis://{HOST}:{port}/0", repository)
        consumer = Backfilled(deployment)
        consumer.apply(map(event, range(MANY)))
        batch = consumer.batch(map(event, range(MANY, 2 * MANY)))
        consumer.applier.begin(batch)
        server.kill()
        server.start()
        with suppress(ShardMoved):  # what is sent again finds what the first time has come to
            consumer.applier.settle()
        last = consumer.applier.assign(PARTITION)
        consumer.applier.apply([one for one in batch if one.offset > last])
        consumer.applier.check()
        found = [one.record for one in consumer.studies.read(map(uid, range(2 * MANY)))]
        deployment.close()
    assert [one.known_instances for one in found] == [1] * (2 * MANY)


def test_a_replay_of_what_was_never_read_changes_nothing(tmp_path: Path, redis_url: str, repository: str) -> None:
    deployment = Deployment(tmp_path, redis_url, repository)
    first = Backfilled(deployment)
    for begin in range(0, 3 * MANY, MANY):
        first.apply(map(event, range(begin, begin + MANY)))
    before = [orjson.dumps(one.record.fingerprint) for one in first.studies.read(map(uid, range(3 * MANY)))]
    first.studies.lower_offsets(PARTITION, -1)
    second = Backfilled(deployment)
    for begin in range(0, 3 * MANY, MANY):
        second.apply(map(event, range(begin, begin + MANY)))
    assert [orjson.dumps(one.record.fingerprint) for one in second.studies.read(map(uid, range(3 * MANY)))] == before
    assert first.studies.owed() == 3 * MANY
    deployment.close()
