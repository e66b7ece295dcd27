"""The study record: no instance is lost as it grows, and what is kept of the whole is what a recount gives."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from state import record as module
from state.attributes import MODALITY, SOP_CLASS_UID, Level
from state.record import (
    CHUNK_TARGET,
    InstanceRecord,
    SeriesRecord,
    StudyRecord,
    Tombstone,
    chunk_of,
    instance_hash,
    split_source,
)
from state.values import Item
from tests.records import expected_item, study_records

CT: Item = {SOP_CLASS_UID: "1.2.840.10008.5.1.4.1.1.2"}
GONE = Tombstone(5, {})

uids = st.integers(0, 10**9).map(lambda number: f"1.2.{number}")


def record_of(*series: str) -> StudyRecord:
    return StudyRecord("1.2", series={uid: SeriesRecord(stored=True) for uid in series})


# --- linear hashing -------------------------------------------------------------------------------------------------


@given(uids, st.integers(1, 100_000))
def test_a_new_chunk_takes_from_one_other_and_leaves_the_rest_alone(uid: str, chunks: int) -> None:
    before, after = chunk_of(uid, chunks), chunk_of(uid, chunks + 1)
    assert 0 <= before < chunks
    assert after == before or (after == chunks and before == split_source(chunks))


def test_every_chunk_is_split_once_before_any_is_split_again() -> None:
    for power in range(6):
        assert [split_source(count) for count in range(2**power, 2 ** (power + 1))] == list(range(2**power))


def test_every_instance_is_found_however_large_the_study_grows_and_chunks_stay_even() -> None:
    record = record_of("1.2.1")
    largest = 0
    for number in range(5000):
        record.put_instance(f"1.2.1.{number}", InstanceRecord("1.2.1", CT))
        largest = max(largest, *(len(chunk or {}) for chunk in record.chunks))
    assert all(record.instance(f"1.2.1.{number}") is not None for number in range(5000))
    assert len(record.chunks) == -(-5000 // CHUNK_TARGET)
    assert {uid for uid, _ in record.instances()} == {f"1.2.1.{number}" for number in range(5000)}
    assert largest < 2.5 * CHUNK_TARGET  # one that waits for its turn to be split holds twice the average


def test_a_chunk_that_was_not_read_is_never_taken_for_empty() -> None:
    record = record_of("1.2.1")
    record.chunks = [None]
    for attempt in (
        lambda: record.instance("1.2.3"),
        lambda: list(record.instances()),
        lambda: record.put_instance("1.2.3", InstanceRecord("1.2.1", CT)),
        lambda: record.drop_instances("1.2.1"),
    ):
        with pytest.raises(LookupError, match=r"chunk 0 of study 1\.2 was not read"):
            attempt()


# --- counts and fingerprint -----------------------------------------------------------------------------------------

SERIES = ("1.2.1", "1.2.2", "1.2.3")
puts = st.tuples(st.integers(0, 40), st.sampled_from(SERIES), st.sampled_from([CT, {}]), st.sampled_from([None, GONE]))
changes = st.one_of(
    puts, puts, puts, st.sampled_from([("drop", uid) for uid in SERIES] + [("keep", uid) for uid in SERIES])
)


def apply(record: StudyRecord, change: tuple[object, ...]) -> None:
    match change:
        case ("drop", str(uid)):
            record.drop_instances(uid)
        case ("keep", str(uid)):
            record.drop_other_series(uid)
            record.series.setdefault(uid, SeriesRecord(stored=True))
        case (int(number), str(series), dict(attributes), tombstone):
            assert tombstone is None or isinstance(tombstone, Tombstone)
            record.series.setdefault(series, SeriesRecord(stored=True))
            record.put_instance(f"1.2.9.{number}", InstanceRecord(series, attributes, tombstone))


@given(st.lists(changes, max_size=60))
@settings(max_examples=200, deadline=None)
def test_counts_and_fingerprint_are_those_of_a_recount(found: list[tuple[object, ...]]) -> None:
    record = record_of(*SERIES)
    with patch.object(module, "CHUNK_TARGET", 4):  # so that few instances make many chunks
        for change in found:
            apply(record, change)
    for index, chunk in enumerate(record.chunks):
        assert all(chunk_of(uid, len(record.chunks)) == index for uid in chunk or {})
    known = [(uid, one) for uid, one in record.instances() if one.attributes]
    assert record.known_instances == len(known)
    live = [uid for uid, one in known if one.tombstone is None]
    assert record.fingerprint == sum(map(instance_hash, live)) % 2**64
    for series_uid, series in record.series.items():
        own = [(uid, one) for uid, one in known if one.series_instance_uid == series_uid]
        assert series.instances == len(own)
        assert series.removed == sum(one.tombstone is not None for _, one in own)
        assert series.fingerprint == sum(instance_hash(uid) for uid, one in own if one.tombstone is None) % 2**64


@given(st.permutations(range(12)))
def test_the_fingerprint_does_not_depend_on_the_order_of_arrival(order: list[int]) -> None:
    one, other = record_of("1.2.1"), record_of("1.2.1")
    for number in range(12):
        one.put_instance(f"1.2.1.{number}", InstanceRecord("1.2.1", CT))
        other.put_instance(f"1.2.1.{order[number]}", InstanceRecord("1.2.1", CT))
    assert one.fingerprint == other.fingerprint != 0


def test_the_same_instance_again_changes_nothing() -> None:
    record = record_of("1.2.1")
    record.put_instance("1.2.1.1", InstanceRecord("1.2.1", CT))
    record.changed_chunks.clear()
    record.put_instance("1.2.1.1", InstanceRecord("1.2.1", dict(CT)))
    assert record.changed_chunks == set()


@given(study_records())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_follows_from_the_parts_is_as_a_second_reading_has_it(record: StudyRecord) -> None:
    expected = expected_item(record, Level.STUDY, 0)
    assert record.is_removed == ("RemovedFromOperationalUse" in expected)
    assert record.number_of_series == expected.NumberOfStudyRelatedSeries
    assert record.number_of_instances == expected.NumberOfStudyRelatedInstances


def test_more_announced_than_seen_is_incomplete_until_it_is_there() -> None:
    record = record_of("1.2.1")
    record.expected_series, record.expected_instances = 2, 2
    found = [record.is_incomplete]
    record.series["1.2.2"] = SeriesRecord(stored=True)
    found.append(record.is_incomplete)  # nothing below is known: a study may be followed at series level
    for number in (1, 2):
        record.put_instance(f"1.2.1.{number}", InstanceRecord("1.2.1", CT))
        found.append(record.is_incomplete)
    assert found == [True, False, True, False]


def test_a_study_whose_last_known_instance_is_gone_is_not_removed_while_more_was_announced() -> None:
    record = record_of("1.2.1")
    record.put_instance("1.2.1.1", InstanceRecord("1.2.1", CT, GONE))
    assert record.removal() == GONE
    record.expected_instances = 2
    assert record.removal() is None


def test_modalities_are_those_of_the_live_series_each_once_in_order() -> None:
    record = record_of("1.2.1", "1.2.2", "1.2.3", "1.2.4")
    for uid, modality in zip(record.series, ("MR", "CT", "MR", ""), strict=True):
        record.series[uid].attributes = {MODALITY: modality}
    assert record.modalities == "CT\\MR\\OT"
    record.series["1.2.2"].tombstone = GONE
    assert record.modalities == "MR\\OT"
    for series in record.series.values():
        series.tombstone = GONE
    assert record.modalities == "CT\\MR\\OT"
