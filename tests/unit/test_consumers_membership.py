"""What is noted and committed when the group moves partitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from kafka import TopicPartition

from consumers.membership import Notes

ONE = TopicPartition("t", 0)
OTHER = TopicPartition("t", 1)


class FakeConsumer:
    """What the notes do to the consumer, in order."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.done.append(("seek", partition, offset))

    def pause(self, *partitions: TopicPartition) -> None:
        self.done.append(("pause", *partitions))

    def commit_soon(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.done.append(("commit", dict(offsets)))

    def forget_assignment(self) -> None:
        self.done.append(("forget",))


def notes_of(assigned: Iterable[TopicPartition] = ()) -> tuple[Notes, FakeConsumer]:
    consumer = FakeConsumer()
    notes = Notes(cast(Any, consumer))
    notes.on_partitions_assigned(set(assigned))
    return notes, consumer


def test_a_new_partition_is_paused_at_once() -> None:
    notes, consumer = notes_of([ONE])
    assert consumer.done == [("seek", ONE, 0), ("pause", ONE)]
    assert notes.assigned == [ONE]


def test_what_was_applied_of_a_partition_is_committed_when_it_is_given_up() -> None:
    notes, consumer = notes_of([ONE, OTHER])
    notes.applied = {ONE: 7, OTHER: 9}
    notes.on_partitions_revoked({ONE})
    assert consumer.done[-1] == ("commit", {ONE: 7})
    assert (notes.assigned, notes.revoked) == ([OTHER], [ONE])


def test_nothing_is_committed_for_lost_partitions_and_they_are_not_claimed_again() -> None:
    notes, consumer = notes_of([ONE])
    notes.applied = {ONE: 7}
    notes.on_partitions_lost({ONE})
    assert consumer.done[-1] == ("forget",)
    assert not any(one[0] == "commit" for one in consumer.done)
    assert (notes.assigned, notes.revoked) == ([], [ONE])


def test_a_partition_that_goes_and_comes_back_is_in_both_notes() -> None:
    notes, _ = notes_of([ONE])
    notes.on_partitions_revoked({ONE})
    notes.on_partitions_assigned({ONE})
    assert (notes.assigned, notes.revoked) == ([ONE], [ONE])
