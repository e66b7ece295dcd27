"""What a batch tells by shard and study: in its order, without what is applied, whatever became of the batch before."""

from __future__ import annotations

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from consumers.events import Action, Entity, Event, Heartbeat, Look, PatientEvent
from consumers.grouping import Decoded, Grouped, group
from state.attributes import PATIENT_ID, Level
from state.patient_news import Patient

SHARDS: Final = 3
PARTITIONS: Final = ("t:0", "t:1")
BATCH: Final = st.dictionaries(
    st.sampled_from(PARTITIONS), st.lists(st.tuples(st.integers(1, 3), st.integers(0, 6)), min_size=1, max_size=8)
)
APPLIED: Final = st.lists(st.integers(-1, 30), min_size=SHARDS, max_size=SHARDS)


def shard_of(study_instance_uid: str) -> int:
    return int(study_instance_uid[-1]) % SHARDS


def stored(study: int, offset: int = 0) -> Event:
    entity = Entity(None, None, {PATIENT_ID: "A"} if offset % 2 else {})
    return Event(Action.STORE, Level.STUDY, f"1.{study}", offset, (entity,))


def decoded(first: int, messages: dict[str, list[tuple[int, int]]]) -> list[Decoded]:
    """Records from an offset on, each so far behind the one before and of a study."""
    found = []
    for partition, steps in messages.items():
        offset = first
        for step, study in steps:
            offset += step
            found.append(Decoded(partition, offset, [stored(study, offset)]))
    return found


def grouped(batch: list[Decoded], *applied: list[int]) -> Grouped:
    return group(batch, dict(zip(PARTITIONS, applied, strict=True)), shard_of)


@given(BATCH, APPLIED, APPLIED, st.integers(-1, 10))
def test_it_makes_no_difference_whether_what_came_before_is_known_to_be_applied(
    messages: dict[str, list[tuple[int, int]]], one: list[int], other: list[int], before: int
) -> None:
    batch = decoded(before, messages)
    since = ([max(offset, before) for offset in applied] for applied in (one, other))
    assert grouped(batch, one, other) == grouped(batch, *since)


@given(BATCH, APPLIED, APPLIED)
def test_every_event_that_its_shard_does_not_cover_is_there_once_and_in_its_order(
    messages: dict[str, list[tuple[int, int]]], one: list[int], other: list[int]
) -> None:
    batch = decoded(-1, messages)
    applied = dict(zip(PARTITIONS, (one, other), strict=True))
    found = grouped(batch, one, other)
    wanted: dict[int, dict[str, list[tuple[Event, str, int]]]] = {}
    for record in batch:
        [event] = record.told
        assert isinstance(event, Event)
        shard = shard_of(event.study_instance_uid)
        if record.offset > applied[record.partition][shard]:
            placed = wanted.setdefault(shard, {}).setdefault(event.study_instance_uid, [])
            placed.append((event, record.partition, record.offset))
    assert found.pending.by_shard == wanted
    assert found.counts["events_store"] == sum(len(told) for uids in wanted.values() for told in uids.values())


def test_what_is_no_event_of_the_archive_is_counted_as_none_and_heartbeats_are_dropped() -> None:
    answer = Event(Action.UPDATE, Level.STUDY, "1.2", 1, (Entity(None, None, {}),), answers="t:0:1")
    news = PatientEvent(Patient("A", ""), None, 1, {})
    batch = [Decoded("t:0", 5, [Look("1.1", 1), answer, news, Heartbeat(1)])]
    found = grouped(batch, [-1] * SHARDS, [-1] * SHARDS)
    assert {uid for uids in found.pending.by_shard.values() for uid in uids} == {"1.1", "1.2"}
    assert found.pending.owing
    assert found.of_patients == [news]
    assert not any(found.counts.values())


def test_news_of_a_patient_that_every_shard_covers_is_dropped() -> None:
    news = PatientEvent(Patient("A", ""), None, 1, {})
    batch = [Decoded("t:0", 5, [news])]
    assert grouped(batch, [5, 5, 5], [-1] * SHARDS).of_patients == []
    assert grouped(batch, [5, 4, 5], [-1] * SHARDS).of_patients == [news]


def test_a_covered_event_that_names_the_patient_names_its_study_again_while_another_shard_lacks_it() -> None:
    study = 2
    batch = [Decoded("t:0", 5, [stored(study, 5)])]
    covered = [5 if shard == shard_of(f"1.{study}") else 4 for shard in range(SHARDS)]
    assert grouped(batch, covered, [-1] * SHARDS).named_again == {f"1.{study}"}
    assert grouped(batch, [5] * SHARDS, [-1] * SHARDS).named_again == set()
    assert grouped([Decoded("t:0", 4, [stored(study, 4)])], covered, [-1] * SHARDS).named_again == set()
