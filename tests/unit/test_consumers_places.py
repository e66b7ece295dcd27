"""From where partitions are read, and what is done when Kafka no longer holds what comes next."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from kafka import TopicPartition

from consumers.counts import Counts
from consumers.errors import BrokerUnreachable, OffsetsLost, PartitionNotReady, StateAhead
from consumers.places import Places

ONE = TopicPartition("t", 0)
OTHER = TopicPartition("t", 1)


@dataclass
class FakeSource:
    """Kafka's part: ``firsts`` are the lowest offsets held; a partition ``refuses`` to be started with an error."""

    firsts: dict[TopicPartition, list[int]] = field(default_factory=dict)
    refuses: dict[TopicPartition, Exception] = field(default_factory=dict)
    assigned: list[TopicPartition] = field(default_factory=list)
    revoked: list[TopicPartition] = field(default_factory=list)
    started: dict[TopicPartition, int] = field(default_factory=dict)
    paused: bool = False

    def field(self, partition: TopicPartition) -> str:
        return f"id:{partition.partition}"

    def take_assigned(self) -> list[TopicPartition]:
        taken, self.assigned = self.assigned, []
        return taken

    def take_revoked(self) -> list[TopicPartition]:
        taken, self.revoked = self.revoked, []
        return taken

    def start_at(self, partition: TopicPartition, last: int) -> None:
        if partition in self.refuses:
            raise self.refuses[partition]
        firsts = self.firsts.get(partition, [0])
        first = firsts.pop(0) if len(firsts) > 1 else firsts[0]
        if last + 1 < first:
            raise OffsetsLost(partition.topic, partition.partition, last + 1, first)
        self.started[partition] = last + 1

    def pause(self) -> None:
        self.paused = True


class FakeState:
    """Applier and repository: shards are at ``offsets``; it counts how often it was told that it is not whole."""

    def __init__(self, **offsets: int) -> None:
        self.offsets = {name.replace("_", ":"): offset for name, offset in offsets.items()}
        self.forgotten = 0
        self.held: set[str] = set()

    def assign(self, name: str) -> int:
        self.held.add(name)
        return self.offsets.get(name, -1)

    def revoke(self, name: str) -> None:
        self.held.discard(name)

    def forget_whole(self) -> None:
        self.forgotten += 1


def places_of(source: FakeSource, state: FakeState, policy: str = "stop") -> tuple[Places, Counts]:
    counts: Counts = Counter()
    return Places(cast(Any, source), cast(Any, state), cast(Any, state), policy, counts), counts


def test_a_partition_is_read_from_what_every_shard_has_applied() -> None:
    source = FakeSource(assigned=[ONE, OTHER])
    places, _ = places_of(source, FakeState(id_0=6))
    assert places.find() == {ONE, OTHER}
    assert source.started == {ONE: 7, OTHER: 0}
    assert places.next_offsets() == {ONE: 7, OTHER: 0}
    assert places.complete


def test_places_that_are_found_are_not_looked_for_again() -> None:
    source = FakeSource(assigned=[ONE])
    places, _ = places_of(source, FakeState())
    places.find()
    place = places[ONE]
    assert places.find() == set()
    assert places[ONE] is place


def test_lost_places_are_all_read_from_the_state_again() -> None:
    source, state = FakeSource(assigned=[ONE, OTHER]), FakeState(id_0=6, id_1=3)
    places, _ = places_of(source, state)
    places.find()
    state.offsets["id:0"] = 4
    places.lose()
    assert source.paused
    assert not places.complete
    assert places.find() == {ONE, OTHER}
    assert source.started == {ONE: 5, OTHER: 4}


def test_a_revoked_partition_is_given_back_with_how_far_it_was_applied() -> None:
    source = FakeSource(assigned=[ONE, OTHER])
    places, _ = places_of(source, FakeState(id_0=6))
    places.find()
    source.revoked = [ONE]
    [gone] = places.take_revoked()
    assert (gone.name, gone.next) == ("id:0", 7)
    assert set(places) == {OTHER}
    places.lose()
    assert places.find() == {OTHER}


def test_a_partition_that_cannot_be_read_now_does_not_keep_the_others_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = FakeSource(assigned=[ONE, OTHER], refuses={ONE: PartitionNotReady("no broker leads it")})
    places, _ = places_of(source, FakeState())
    with caplog.at_level(logging.WARNING):
        assert places.find() == {OTHER}
        assert places.find() == set()
    assert not places.complete
    assert caplog.text.count("no broker leads it") == 1
    source.refuses.clear()
    assert places.find() == {ONE}
    assert places.complete


@pytest.mark.parametrize("error", [PartitionNotReady("not now"), BrokerUnreachable("away")])
def test_the_applier_knows_exactly_the_partitions_whose_place_is_found(error: Exception) -> None:
    """One that it knew without a place would be compared with the state for ever, whoever owns it."""
    source, state = FakeSource(assigned=[ONE, OTHER]), FakeState()
    places, _ = places_of(source, state)
    places.find()
    places.lose()
    source.refuses[OTHER] = error
    with suppress(BrokerUnreachable):
        places.find()
    assert state.held == {"id:0"}
    assert set(places) == {ONE}
    source.revoked = [OTHER]
    assert places.take_revoked() == []
    assert places.complete


def test_lost_messages_end_the_consumer_unless_the_policy_is_to_go_on() -> None:
    places, counts = places_of(FakeSource(assigned=[ONE], firsts={ONE: [10]}), state := FakeState(id_0=6))
    with pytest.raises(OffsetsLost, match="topic t partition 0: the state wants offset 7, Kafka holds 10"):
        places.find()
    assert (counts["messages_lost"], state.forgotten) == (0, 0)


def test_with_the_policy_earliest_it_goes_on_counts_them_and_says_that_the_state_is_not_whole(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source, state = FakeSource(assigned=[ONE], firsts={ONE: [10]}), FakeState(id_0=6)
    places, counts = places_of(source, state, "earliest")
    with caplog.at_level(logging.WARNING):
        assert places.find() == {ONE}
    assert source.started == {ONE: 10}
    assert places[ONE].next == 10
    assert (counts["messages_lost"], state.forgotten) == (3, 1)
    assert "offsets 7 to 9" in caplog.text


def test_retention_that_goes_on_meanwhile_is_followed() -> None:
    source, state = FakeSource(assigned=[ONE], firsts={ONE: [10, 12]}), FakeState(id_0=6)
    places, counts = places_of(source, state, "earliest")
    places.find()
    assert source.started == {ONE: 12}
    assert counts["messages_lost"] == 5


@pytest.mark.parametrize("policy", ["stop", "earliest"])
def test_a_state_that_is_ahead_of_kafka_ends_the_consumer_whatever_the_policy(policy: str) -> None:
    source = FakeSource(assigned=[ONE], refuses={ONE: StateAhead("t", 0, 6, 5)})
    places, _ = places_of(source, FakeState(id_0=6), policy)
    with pytest.raises(StateAhead, match="applied up to offset 6, Kafka holds nothing from 5 on"):
        places.find()
