"""What the source makes of what Kafka answers, with Kafka's part played."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from kafka import TopicPartition
from kafka.errors import FencedInstanceIdError, KafkaTimeoutError, LogTruncationError, OffsetOutOfRangeError

import consumers.source
from consumers.errors import BrokerUnreachable, InstanceIdTaken, OffsetsLost, PartitionNotReady, StateAhead
from consumers.look import Answer, Leader, Seen
from consumers.source import Position, Source
from consumers.topics import Inspection, Topic
from stocktake.settings import load

ONE: Final = TopicPartition("t", 0)
OTHER: Final = TopicPartition("t", 1)
HERE: Final[Leader] = (1, 0)


@dataclass(frozen=True)
class FakeRecord:
    offset: int


@dataclass
class FakeNotes:
    assigned: list[TopicPartition] = field(default_factory=list)
    revoked: list[TopicPartition] = field(default_factory=list)
    applied: dict[TopicPartition, int] = field(default_factory=dict)


class FakeMember:
    """The client in the group: the next poll gives ``answers[0]``, or raises it."""

    in_group = True

    def __init__(self) -> None:
        self.notes = FakeNotes([ONE, OTHER])
        self.led: dict[TopicPartition, Leader] = {ONE: HERE, OTHER: HERE}
        self.answers: list[Mapping[TopicPartition, list[FakeRecord]] | Exception] = []
        self.next: dict[TopicPartition, int] = {ONE: 0, OTHER: 0}
        self.stopped = {ONE, OTHER}
        self.highwaters: dict[TopicPartition, int] = {}
        self.asked_for_leaders = 0
        self.asked_for_rebalance = 0
        self.closed = False

    def fetch(self, timeout: float) -> Mapping[TopicPartition, list[FakeRecord]]:
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, Exception):
            raise answer
        self.next |= {one: found[-1].offset + 1 for one, found in answer.items()}
        return answer

    def leaders(self) -> dict[TopicPartition, Leader]:
        return dict(self.led)

    def renew_leaders(self) -> None:
        self.asked_for_leaders += 1

    def ask_for_rebalance(self, timeout: float) -> None:
        self.asked_for_rebalance += 1

    def assignment(self) -> set[TopicPartition]:
        return set(self.next)

    def paused(self) -> set[TopicPartition]:
        return set(self.stopped)

    def pause(self, *partitions: TopicPartition) -> None:
        self.stopped |= set(partitions)

    def resume(self, partition: TopicPartition) -> None:
        self.stopped.discard(partition)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.next[partition] = offset

    def position(self, partition: TopicPartition, timeout_ms: float) -> int:
        return self.next[partition]

    def highwater(self, partition: TopicPartition) -> int | None:
        return self.highwaters.get(partition)

    def close(self, **given: object) -> None:
        self.closed = True


class FakeAsker:
    """The brokers' answers, each broker's own if need be."""

    def __init__(self) -> None:
        self.seen: dict[int, Answer] = {}
        self.says: Answer | Exception = {"t": Seen("a", 2)}
        self.firsts: dict[TopicPartition, int] = {}
        self.ends: dict[TopicPartition, int] = {}

    def describe(self, topics: Collection[str], brokers: Collection[int], timeout: float) -> list[Answer]:
        if isinstance(self.says, Exception):
            raise self.says
        return [self.seen.get(broker, self.says) for broker in brokers] or [self.says]

    def beginning_offsets(self, partitions: list[TopicPartition], timeout_ms: float) -> dict[TopicPartition, int]:
        return {one: self.firsts.get(one, 0) for one in partitions}

    def end_offsets(self, partitions: list[TopicPartition], timeout_ms: float) -> dict[TopicPartition, int]:
        return {one: self.ends.get(one, 100) for one in partitions}


class World:
    """A source, Kafka's parts of it, and the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        self.asker = FakeAsker()
        self.members: list[FakeMember] = []
        self.explained = 0
        self.inspection = Inspection(frozenset(), None)
        monkeypatch.setattr(consumers.source, "describe_topics", lambda *_: [Topic("t", "a", 2, compacted=False)])
        monkeypatch.setattr(consumers.source, "describe_failure", self._describe)
        monkeypatch.setattr(consumers.source, "Asker", lambda *_: self.asker)
        monkeypatch.setattr(consumers.source, "Member", self._join)
        monkeypatch.setattr(consumers.source, "inspect", lambda *_: self.inspection)
        settings = load(None, {"STOCKTAKE_REPOSITORIES__MAIN__TOPICS": "t", "STOCKTAKE_KAFKA__INSTANCE_ID": "me"})
        self.source = Source(settings.kafka, settings.repositories[0], lambda: self.seconds)

    def _describe(self, policy: object, error: Exception) -> str:
        self.explained += 1
        return str(error)

    def _join(self, *_: object) -> FakeMember:
        self.members.append(FakeMember())
        return self.members[-1]

    @property
    def member(self) -> FakeMember:
        return self.members[-1]

    def start(self, last_applied: int = -1) -> None:
        """Both partitions assigned and started."""
        self.source.poll(0.1)
        for partition in self.source.take_assigned():
            self.source.start_at(partition, last_applied)

    def fetch(self, **records: list[int]) -> Mapping[TopicPartition, list[Any]]:
        """Poll once; offsets by partition's name ``one`` or ``other``."""
        names = {"one": ONE, "other": OTHER}
        self.member.answers.append({names[name]: list(map(FakeRecord, offsets)) for name, offsets in records.items()})
        return self.source.poll(0.1)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_records_are_given_out_when_the_broker_named_the_topic_before_and_after(world: World) -> None:
    world.start()
    found = world.fetch(one=[0, 1], other=[0])
    assert {one: [record.offset for record in records] for one, records in found.items()} == {ONE: [0, 1], OTHER: [0]}


def test_records_of_a_partition_whose_leader_changed_are_fetched_again_and_the_others_given_out(world: World) -> None:
    world.start()
    world.member.led[ONE] = (2, 1)
    assert world.fetch(one=[5, 6], other=[0]).keys() == {OTHER}
    assert world.member.next[ONE] == 5


def test_a_topic_made_anew_makes_the_client_new_and_gives_nothing_out(world: World) -> None:
    world.start()
    former = world.member
    world.asker.says = {"t": Seen("b", 1)}
    assert world.fetch(one=[0, 1]) == {}
    assert former.closed
    assert sorted(world.source.take_revoked()) == [ONE, OTHER]
    assert world.source.field(ONE) == "b:0"
    world.source.poll(0.1)
    assert world.member is not former
    assert world.source.take_assigned() == [ONE, OTHER]


def test_while_brokers_disagree_nothing_is_given_out(world: World) -> None:
    world.start()
    world.member.led[OTHER] = (2, 0)
    world.asker.seen[2] = {"t": Seen("b", 2)}
    with pytest.raises(BrokerUnreachable, match="do not agree"):
        world.fetch(one=[0])


def test_a_broker_that_does_not_answer_is_an_error_and_leaders_are_asked_for_again(world: World) -> None:
    world.start()
    world.asker.says = KafkaTimeoutError("no answer")
    for _ in range(2):
        with pytest.raises(BrokerUnreachable, match="no answer"):
            world.source.poll(0.1)
    assert world.member.asked_for_leaders == 2
    assert world.explained == 1, "looking for the cause takes time"


def test_a_partition_that_no_broker_leads_is_left_out_and_the_others_go_on(world: World) -> None:
    world.start()
    del world.member.led[ONE]
    assert world.fetch(other=[0]).keys() == {OTHER}
    assert world.source.positions() == {OTHER: Position(1, 100)}
    with pytest.raises(PartitionNotReady, match="no broker leads topic t partition 0"):
        world.source.start_at(ONE, -1)


def test_a_topic_that_is_gone_vouches_for_nothing(world: World) -> None:
    world.start()
    world.asker.says = {"t": None}
    assert world.fetch(one=[0]) == {}
    assert world.source.positions() == {}
    assert not world.source.ready


def test_more_partitions_are_known_at_once_and_the_group_is_asked_to_hand_them_out(world: World) -> None:
    world.start()
    world.asker.says = {"t": Seen("a", 3)}
    world.source.positions()
    assert world.source.topics["t"].partitions == 3
    world.source.poll(0.1)
    world.source.poll(0.1)
    assert world.member.asked_for_rebalance == 1


def test_partitions_that_the_group_left_to_nobody_are_noticed_within_a_minute(world: World) -> None:
    world.inspection = Inspection(frozenset({"t"}), frozenset({ONE}))
    world.start()
    assert world.member.asked_for_rebalance == 0
    world.seconds += 6.0
    world.source.poll(0.1)
    assert world.member.asked_for_rebalance == 1
    assert world.source.topics["t"].compacted
    world.inspection = Inspection(frozenset(), frozenset({ONE, OTHER}))
    world.seconds += 61.0
    world.source.poll(0.1)
    assert world.member.asked_for_rebalance == 1
    assert not world.source.topics["t"].compacted


# --- offsets that Kafka has not ------------------------------------------------------------------------------------


def test_a_partition_starts_after_what_is_applied_or_where_kafka_begins(world: World) -> None:
    world.asker.firsts = {ONE: 5}
    world.start()
    assert world.member.next == {ONE: 5, OTHER: 0}
    world.source.start_at(ONE, 8)
    assert world.member.next[ONE] == 9
    assert world.member.stopped == set()


def test_what_kafka_no_longer_holds_is_an_error(world: World) -> None:
    world.start()
    world.asker.firsts = {ONE: 12}
    with pytest.raises(OffsetsLost) as caught:
        world.source.start_at(ONE, 8)
    assert (caught.value.wanted, caught.value.first) == (9, 12)


def test_a_refused_offset_has_its_place_found_again_and_stops_nothing_else(world: World) -> None:
    world.start()
    world.member.answers.append(OffsetOutOfRangeError({ONE: 9}))
    assert world.source.poll(0.1) == {}
    assert world.member.stopped == {ONE}
    assert world.source.take_assigned() == [ONE]
    world.source.start_at(ONE, 8)
    assert world.member.stopped == set()


def test_an_end_before_what_is_applied_is_waited_for_and_then_an_error(world: World) -> None:
    world.start()
    world.asker.ends = {ONE: 7}
    world.member.answers.append(OffsetOutOfRangeError({ONE: 9}))
    world.source.poll(0.1)
    with pytest.raises(PartitionNotReady, match="ends before offset 7, and up to 8 is applied"):
        world.source.start_at(ONE, 8)
    world.seconds += 9.9
    with pytest.raises(PartitionNotReady):
        world.source.start_at(ONE, 8)
    world.seconds += 0.1
    with pytest.raises(StateAhead):
        world.source.start_at(ONE, 8)


def test_an_end_that_comes_back_in_time_is_no_error(world: World) -> None:
    world.start()
    world.asker.ends = {ONE: 7}
    world.member.answers.append(OffsetOutOfRangeError({ONE: 9}))
    world.source.poll(0.1)
    with pytest.raises(PartitionNotReady):
        world.source.start_at(ONE, 8)
    world.asker.ends = {ONE: 9}
    world.seconds += 60.0
    world.source.start_at(ONE, 8)
    assert world.member.next[ONE] == 9


def test_a_log_that_was_truncated_is_an_error_at_once_even_if_it_has_grown_again(world: World) -> None:
    world.start()
    world.member.answers.append(LogTruncationError({ONE: None}))
    world.source.poll(0.1)
    with pytest.raises(StateAhead):
        world.source.start_at(ONE, 8)


def test_a_topic_made_anew_is_no_truncated_log(world: World) -> None:
    world.start()
    world.member.answers.append(LogTruncationError({ONE: None}))
    world.asker.says = {"t": Seen("b", 2)}
    world.source.poll(0.1)
    world.start()
    assert world.member.next == {ONE: 0, OTHER: 0}


def test_an_end_below_the_position_is_not_believed_before_a_fetch_has_surely_been_answered(world: World) -> None:
    world.start()
    world.fetch(one=list(range(50)))
    world.asker.ends = {ONE: 1, OTHER: 0}
    world.member.highwaters = {ONE: 50}
    assert world.source.positions()[ONE] == Position(50, None)
    world.seconds += 1.0
    assert world.source.positions()[ONE] == Position(50, 50)
    world.asker.ends = {ONE: 60, OTHER: 0}
    assert world.source.positions()[ONE] == Position(50, 60)


# --- the group -----------------------------------------------------------------------------------------------------


def test_what_was_given_out_counts_as_applied_at_the_next_poll_unless_fetching_was_stopped(world: World) -> None:
    world.start()
    world.fetch(one=[0, 1])
    world.source.poll(0.1)
    assert world.member.notes.applied == {ONE: 2}
    world.source.pause()
    world.source.poll(0.1)
    assert world.member.notes.applied == {}


def test_a_process_whose_place_was_taken_ends(world: World) -> None:
    world.start()
    world.member.answers.append(FencedInstanceIdError())
    with pytest.raises(InstanceIdTaken, match=r"group stocktake\.main with kafka\.instance_id me"):
        world.source.poll(0.1)


def test_it_is_ready_when_every_place_has_been_handed_out(world: World) -> None:
    world.source.poll(0.1)
    ready = [world.source.ready]
    for partition in world.source.take_assigned():
        world.source.start_at(partition, -1)
    ready.append(world.source.ready)
    world.member.in_group = False
    ready.append(world.source.ready)
    assert ready == [False, True, False]
