"""The enricher: what is owed is asked for once, written once, tried again more and more seldom, then given up."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import pytest

from consumers.archives.archive import ArchiveBusy, ArchiveRefused, FoundStudy
from consumers.clock import Clock
from consumers.enrichment import Enricher
from consumers.policy import ArchivePolicy
from consumers.publish import EventTooLarge, PublishError, RefusedAsTooLarge
from state.debts import Debt, Tries
from state.errors import StateUnreachable
from state.record import InstanceRecord, SeriesRecord, StudyRecord, Tombstone
from state.studies import ReadStudy
from state.times import MICROSECONDS, parse_time
from tests.looks.world import dataset_of, described
from tests.servers.fake_dicomweb import archive_policy

NOW: Final = parse_time("2026-11-20T08:00:00+00:00")


def study(uid: str, *names: str) -> FoundStudy:
    return FoundStudy(
        uid, dataset_of((uid,)), [dataset_of((uid, f"{uid}.1", f"{uid}.1.1")) | described(1)], None, names
    )


@dataclass
class World:
    """The archive's answers by what is owed (an error is raised), the debts, what was written, and a clock."""

    answers: dict[str, Any] = field(default_factory=dict)
    owed: dict[str, Debt] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    records: dict[str, StudyRecord] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    written: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    publishing: Any = None  # raised by the next message
    reading: Any = None  # raised by the next read of the state
    partition_of: dict[str, int | None] = field(default_factory=dict)  # by the token that is answered
    confirmed: int = 0
    too_large: str = ""  # what stands in a message that the broker refuses
    seconds: float = 0.0
    shards: int = 1

    # the archive
    def study(self, uid: str) -> Any:
        return self.study_of(uid)

    def study_of(self, owed: str) -> Any:
        self.asked[owed] += 1
        found = self.answers.get(owed)
        if isinstance(found, Exception):
            raise found
        return found

    def page(self, begin: str, size: int) -> Any:
        raise NotImplementedError

    # the state
    def due(self, up_to: int) -> Iterator[Debt]:
        yield from [debt for debt in self.owed.values() if debt.due is not None and debt.due <= up_to]

    def put_off(self, owed: str, tries: Tries, until: int | None) -> None:
        if self.owed[owed].token == tries.token:
            self.owed[owed] = Debt(owed, tries.token, until, tries)

    def tokens(self, owed: Mapping[int, Sequence[str]]) -> dict[str, str]:
        return {name: self.owed[name].token for names in owed.values() for name in names if name in self.owed}

    def note_names(self, names: Sequence[str], uid: str) -> None:
        self.names |= dict.fromkeys(names, uid)

    def named(self, name: str) -> str | None:
        return self.names.get(name)

    def shard_of(self, uid: str) -> int:
        return 0

    def read(self, uids: Sequence[str]) -> Iterator[ReadStudy]:
        if self.reading is not None:
            error, self.reading = self.reading, None
            raise error
        yield from [ReadStudy(self.records[uid], NOW) for uid in uids if uid in self.records]

    # the publisher
    def send(self, key: bytes, value: bytes, partition: int | None = None) -> None:
        if self.publishing is not None:
            error, self.publishing = self.publishing, None
            raise error
        self.written.append(orjson.loads(value))
        self.partition_of[self.written[-1].get("answers", "")] = partition

    def partitions(self) -> list[int]:
        return [0, 1]

    def flush(self) -> None:
        sent = self.written[self.confirmed :]
        if any(self.too_large in str(message) for message in sent if self.too_large):
            del self.written[self.confirmed :]
            raise RefusedAsTooLarge("too large")
        self.confirmed = len(self.written)

    def close(self) -> None:
        pass

    # the rest
    def server_now(self) -> int:
        return NOW + round(self.seconds * MICROSECONDS)

    def owe(self, owed: str, offset: int = 1, partition: int = 0) -> None:
        self.owed[owed] = Debt(owed, f"t:{partition}:{offset}", self.server_now(), None)

    def actions(self) -> list[str]:
        return [message["action"] for message in self.written]


@pytest.fixture
def world() -> World:
    return World()


def enricher_of(world: World, **given: Any) -> Enricher:
    policy: ArchivePolicy = archive_policy("http://127.0.0.1:1", **({"tries": 3, "retry_interval": 60.0} | given))
    clock = Clock(now=world.server_now, monotonic=lambda: world.seconds)
    anything: Any = world
    return Enricher(
        anything, policy, anything, anything, world.server_now, lambda: anything, clock, world.counts.update
    )


@pytest.fixture
def enricher(world: World) -> Iterator[Enricher]:
    made = enricher_of(world)
    yield made
    made.close()


def run(enricher: Enricher, turns: int = 8) -> None:
    for _ in range(turns):
        enricher.turn()


def test_what_is_owed_is_asked_for_and_written_once_until_the_consumer_has_applied_it(
    world: World, enricher: Enricher
) -> None:
    world.answers["1.2"] = study("1.2")
    world.owe("1.2")
    run(enricher)
    assert world.asked == {"1.2": 1}
    assert world.actions() == ["update", "store", "settle"]
    assert {message["answers"] for message in world.written} == {"t:0:1"}
    world.owe("1.2", 9)  # something has happened since
    run(enricher)
    assert world.asked == {"1.2": 2}
    assert world.written[-1]["answers"] == "t:0:9"


def test_a_study_is_left_alone_until_it_is_quiet(world: World) -> None:
    enricher = enricher_of(world, quiet=5.0)
    world.answers["1.2"] = study("1.2")
    world.owe("1.2")
    run(enricher)
    assert not world.asked
    world.seconds = 5.0
    run(enricher)
    enricher.close()
    assert world.asked == {"1.2": 1}


def test_an_answer_that_nobody_applied_for_long_counts_as_lost(world: World, enricher: Enricher) -> None:
    world.answers["1.2"] = study("1.2")
    world.owe("1.2")
    run(enricher)
    world.seconds += 601
    run(enricher)
    assert world.asked == {"1.2": 2}


def test_what_is_refused_is_tried_again_later_and_later_and_then_given_up(world: World, enricher: Enricher) -> None:
    world.answers["1.2"] = ArchiveRefused("no")
    world.owe("1.2")
    waited = []
    for _ in range(2):
        run(enricher)
        due = world.owed["1.2"].due
        assert due is not None
        waited.append((due - world.server_now()) / MICROSECONDS)
        world.seconds += waited[-1]
    run(enricher)
    assert waited == [1, 2]
    assert world.owed["1.2"].due is None
    assert world.owed["1.2"].tries == Tries("t:0:1", 3, "no")
    assert (world.asked["1.2"], world.counts["looks_failed"], world.counts["looks_given_up"]) == (3, 3, 1)
    assert not world.written


def test_while_the_archive_is_away_nothing_is_asked_and_no_tries_are_counted(world: World, enricher: Enricher) -> None:
    world.answers["1.2"] = ArchiveBusy("away", everything=True)
    world.owe("1.2")
    run(enricher)
    assert world.asked == {"1.2": 1}
    world.seconds = 1.0
    run(enricher)
    assert world.asked == {"1.2": 2}, "a second later"
    world.seconds = 2.9
    run(enricher)
    assert world.asked == {"1.2": 2}, "the second pause is longer"
    world.seconds = 3.0
    world.answers["1.2"] = study("1.2")
    run(enricher)
    assert world.owed["1.2"].tries is None
    assert world.actions() == ["update", "store", "settle"]


def test_who_asks_for_patience_is_given_it(world: World, enricher: Enricher) -> None:
    world.answers["1.2"] = ArchiveBusy("slow down", 17.0, everything=True)
    world.owe("1.2")
    run(enricher)
    world.seconds = 16.9
    run(enricher)
    assert world.asked == {"1.2": 1}
    world.seconds = 17.0
    run(enricher)
    assert world.asked == {"1.2": 2}


def test_patience_has_an_end(world: World, enricher: Enricher) -> None:
    world.answers["1.2"] = ArchiveBusy("come next year", 1e7, everything=True)
    world.owe("1.2")
    run(enricher)
    world.seconds = 60.0
    run(enricher)
    assert world.asked == {"1.2": 2}


def test_an_answer_that_nobody_foresaw_is_a_failed_try_of_its_study_alone(world: World, enricher: Enricher) -> None:
    world.answers |= {"1.2": KeyError("Doe^Jane"), "1.3": study("1.3")}
    world.owe("1.2")
    world.owe("1.3")
    run(enricher)
    assert world.actions() == ["update", "store", "settle"]
    tries = world.owed["1.2"].tries
    assert tries is not None
    assert "KeyError" in tries.error
    assert "Doe" not in tries.error


def test_a_study_that_the_archive_does_not_have_is_tried_again_as_it_may_only_be_new(
    world: World, enricher: Enricher
) -> None:
    record = StudyRecord("1.2", own_time=NOW)
    world.records["1.2"] = record
    world.owe("1.2")
    run(enricher)
    assert world.owed["1.2"].tries is not None
    assert not world.written


def test_a_study_that_is_known_to_nobody_is_settled(world: World, enricher: Enricher) -> None:
    world.owe("1.2")
    run(enricher)
    assert world.actions() == ["settle"]
    assert world.counts["looks_absent"] == 1


def test_what_is_absent_is_removed_where_the_archive_is_believed(world: World) -> None:
    enricher = enricher_of(world, absent="remove")
    world.records["1.2"] = StudyRecord("1.2", own_time=NOW)
    world.owe("1.2")
    run(enricher)
    enricher.close()
    assert world.actions() == ["delete", "settle"]


def test_a_reference_makes_its_study_be_looked_up(world: World, enricher: Enricher) -> None:
    world.answers["orthanc:a"] = "1.2"
    world.owe("orthanc:a")
    run(enricher)
    assert world.actions() == ["look", "settle"]
    assert world.written[0]["dataset"] == dataset_of(("1.2",))
    assert (world.written[1]["owed"], world.written[1]["answers"]) == ("orthanc:a", "t:0:1")


def test_a_reference_that_the_archive_has_forgotten_is_known_from_an_earlier_look(
    world: World, enricher: Enricher
) -> None:
    world.answers["1.2"] = study("1.2", "orthanc:a", "orthanc:b")
    world.owe("1.2")
    run(enricher)
    world.owe("orthanc:b")
    run(enricher)
    assert world.actions() == ["update", "store", "settle", "look", "settle"]


def test_a_reference_that_nobody_ever_heard_of_is_settled(world: World, enricher: Enricher) -> None:
    world.owe("orthanc:z")
    run(enricher)
    assert world.actions() == ["settle"]


def test_a_message_that_no_broker_takes_is_a_failed_try(world: World, enricher: Enricher) -> None:
    world.answers["1.2"] = study("1.2")
    world.publishing = EventTooLarge("is too large for a message (2,000,000 bytes)")
    world.owe("1.2")
    run(enricher, 1)
    tries = world.owed["1.2"].tries
    assert tries is not None
    assert tries.error == "one of its instances is too large for a message (2,000,000 bytes)"


@pytest.mark.parametrize("where", ["publishing", "reading"])
def test_what_was_in_hand_when_a_server_went_away_is_looked_up_or_written_again(world: World, where: str) -> None:
    enricher = enricher_of(world)
    for number in range(5):
        world.answers[f"1.{number}"] = study(f"1.{number}")
        world.owe(f"1.{number}")
    setattr(world, where, PublishError("gone") if where == "publishing" else StateUnreachable("gone"))
    for _ in range(20):
        with contextlib.suppress(PublishError, StateUnreachable):
            enricher.turn()
    enricher.close()
    settled = {message["owed"] for message in world.written if message["action"] == "settle"}
    assert settled == set(world.owed)


def test_answers_go_to_the_partition_of_the_event_that_they_answer(world: World, enricher: Enricher) -> None:
    world.answers |= {"1.2": study("1.2"), "1.3": study("1.3")}
    world.owe("1.2", 5, partition=1)
    world.owe("1.3", 6, partition=7)  # of a topic that had more of them
    run(enricher)
    assert world.partition_of == {"t:1:5": 1, "t:7:6": None}


def test_an_outage_that_is_no_refused_connection_gives_no_study_up(world: World, enricher: Enricher) -> None:
    """A server that hangs, or a gateway in front of none: each study fails, and none succeeds."""
    for number in range(3):
        world.answers[f"1.{number}"] = ArchiveBusy("time-out")
        world.owe(f"1.{number}")
    for _ in range(40):
        run(enricher, 4)
        world.seconds += 30
    assert all(debt.due is not None for debt in world.owed.values())
    assert world.counts["looks_given_up"] == 0
    for number in range(3):
        world.answers[f"1.{number}"] = study(f"1.{number}")
    world.seconds += 120
    run(enricher)
    assert world.actions().count("settle") == 3


def test_a_study_that_alone_makes_the_archive_fail_is_given_up(world: World, enricher: Enricher) -> None:
    world.answers["1.2"] = ArchiveBusy("500")
    world.owe("1.2")
    for number in range(60):
        world.answers[f"1.3.{number}"] = study(f"1.3.{number}")
        world.owe(f"1.3.{number}")
        run(enricher)
        world.seconds += 60
        if world.owed["1.2"].due is None:
            break
    assert world.owed["1.2"].tries == Tries("t:0:1", 3, "500")
    assert world.counts["looks_given_up"] == 1


def test_a_message_that_only_the_broker_finds_too_large_keeps_no_other_study_back(
    world: World, enricher: Enricher
) -> None:
    world.too_large = "1.2.1.1"
    for uid in ("1.1", "1.2", "1.3"):
        world.answers[uid] = study(uid)
        world.owe(uid)
    for _ in range(500):
        with contextlib.suppress(PublishError):
            enricher.turn()
        if world.owed["1.2"].tries is not None and world.actions().count("settle") == 2:
            break
    settled = [message["owed"] for message in world.written if message["action"] == "settle"]
    assert sorted(settled) == ["1.1", "1.3"]
    tries = world.owed["1.2"].tries
    assert tries is not None
    assert tries.error == "too large"


def test_a_study_of_which_all_was_removed_need_not_be_in_the_archive(world: World, enricher: Enricher) -> None:
    record = StudyRecord("1.2", own_time=NOW)
    record.series["1.2.1"] = SeriesRecord()
    record.put_instance("1.2.1.1", InstanceRecord("1.2.1", {}, Tombstone(NOW, {})))
    world.records["1.2"] = record
    world.owe("1.2")
    run(enricher)
    assert world.actions() == ["delete", "settle"]
