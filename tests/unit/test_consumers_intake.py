"""Polled records are decoded in their order, bad ones set aside, and too many of them noticed at the right one."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any, Final

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import TopicPartition

from consumers.counts import Counts
from consumers.dead_letters import DeadLetterWindow
from consumers.errors import TopicUnusable
from consumers.events import Told
from consumers.formats.native import NativeFormat
from consumers.intake import Intake, Taken, in_parts
from consumers.records import Record
from consumers.topics import Topic
from stocktake.settings import load

NOW: Final = 1_790_000_000_000  # milliseconds
NAME: Final = "Zaphod^Beeblebrox"
TOPICS: Final = {"events": Topic("events", "id-1", 4, False), "kept": Topic("kept", "id-2", 1, True)}
FIRST, SECOND, KEPT = TopicPartition("events", 0), TopicPartition("events", 3), TopicPartition("kept", 0)
POLICY: Final = replace(load(None, {}).consumer, dlq_limit=0.5, dlq_window=4)  # two of four are borne


def made(counts: Counts | None = None, **policy: Any) -> Intake:
    counted: Counts = Counter() if counts is None else counts
    consumer = replace(POLICY, **policy)
    return Intake("main", NativeFormat(consumer, UTC, counted), consumer, counted)


def event(study: int = 1, seconds: int = 0, level: str = "STUDY", **members: Any) -> bytes:
    dataset: dict[str, Any] = {"0020000D": {"vr": "UI", "Value": [f"1.2.{study}"]}}
    if level == "PATIENT":
        dataset = {"00100020": {"vr": "LO", "Value": ["P1"]}}
    if level == "SERIES":
        dataset["0020000E"] = {"vr": "UI", "Value": [f"1.2.{study}.1"]}
    time = f"2026-09-21T00:00:{seconds:02}Z"
    return orjson.dumps({"action": "store", "level": level, "time": time, "dataset": dataset} | members)


BAD: Final = b'{"action": "store", "dataset": {"00100010": {"vr": "PN", "Value": ["%s"]}}}' % NAME.encode()


def records(*values: bytes | None, first: int = 10) -> list[Record]:
    return [Record(first + number, NOW, b"key", value, ()) for number, value in enumerate(values)]


def offsets(taken: Taken) -> list[tuple[str, int, int]]:
    """Partition, offset and number of events of each record to be applied."""
    return [(one.partition, one.offset, len(one.told)) for one in taken.batch]


# --- what is taken -------------------------------------------------------------------------------------------------


def test_records_are_taken_in_the_order_of_each_partition_under_the_names_that_the_state_has_for_them() -> None:
    taken = made().take({FIRST: records(event(1), event(2)), SECOND: records(event(3), first=7)}, TOPICS)
    assert offsets(taken) == [("id-1:0", 10, 1), ("id-1:0", 11, 1), ("id-1:3", 7, 1)]
    assert taken.letters == []
    assert taken.over is None


def test_records_without_a_value_and_bad_ones_are_taken_without_events_so_that_their_offsets_count_as_applied() -> None:
    counts: Counts = Counter()
    taken = made(counts).take({FIRST: records(None, BAD, event(1))}, TOPICS)
    assert offsets(taken) == [("id-1:0", 10, 0), ("id-1:0", 11, 0), ("id-1:0", 12, 1)]
    assert counts["empty_records"] == 1


def test_the_newest_event_time_of_each_partition_is_told_and_none_where_there_was_no_event() -> None:
    times = {FIRST: records(event(1, 5), event(2, 9), event(3, 7)), SECOND: records(None, BAD)}
    taken = made().take(times, TOPICS)
    assert taken.newest == {"id-1:0": 1_789_948_809_000_000}


def test_a_record_without_a_timestamp_is_taken_with_its_event_s_own_time() -> None:
    [one] = made().take({FIRST: [Record(0, -1, None, event(1, 5), ())]}, TOPICS).batch
    assert [told.time for told in one.told] == [1_789_948_805_000_000]


def test_an_error_of_the_program_is_no_dead_letter() -> None:
    class Broken:
        def decode(
            self,
            value: bytes,
            timestamp: int,
            key: bytes | None = None,
            headers: Sequence[tuple[str, bytes | None]] = (),
        ) -> list[Told]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Intake("main", Broken(), POLICY, Counter()).take({FIRST: records(b"x")}, TOPICS)


# --- dead letters --------------------------------------------------------------------------------------------------


def test_a_dead_letter_has_the_record_as_it_was_where_it_stood_and_why_without_any_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        [letter] = made().take({SECOND: records(event(1), BAD)}, TOPICS).letters
    assert (letter.topic, letter.partition, letter.offset, letter.key, letter.value) == ("events", 3, 11, b"key", BAD)
    assert letter.reason == "Study Instance UID (0020000D) is absent"
    assert "offset 11" in caplog.text
    assert NAME not in caplog.text + str(letter.headers)


def test_the_message_that_is_one_too_many_is_neither_taken_nor_set_aside_and_what_came_before_is() -> None:
    taken = made().take({FIRST: records(BAD, event(1), BAD, BAD, event(2)), SECOND: records(event(3))}, TOPICS)
    assert offsets(taken) == [("id-1:0", 10, 0), ("id-1:0", 11, 1), ("id-1:0", 12, 0)]
    assert [letter.offset for letter in taken.letters] == [10, 12]
    assert "3 of the latest 4 messages were bad" in str(taken.over)
    assert "offset 13" in str(taken.over)
    assert "stocktake resume --repository main" in str(taken.over)


def test_bad_messages_are_counted_over_all_polls_and_partitions_and_good_ones_push_them_out() -> None:
    intake = made()
    assert intake.take({FIRST: records(BAD, BAD)}, TOPICS).over is None
    assert intake.take({FIRST: records(event(), event(), event()), SECOND: records(None)}, TOPICS).over is None
    assert intake.take({SECOND: records(BAD, event(), BAD)}, TOPICS).over is None
    assert intake.take({FIRST: records(BAD)}, TOPICS).over is not None


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 6), st.sampled_from([0.0, 0.2, 0.5, 0.99]), st.data())
@settings(max_examples=100, deadline=None)
def test_whatever_the_polls_the_stop_comes_with_the_message_that_a_plain_count_names(
    good: list[bool], window: int, limit: float, data: st.DataObject
) -> None:
    latest: deque[bool] = deque(maxlen=window)
    expected = None
    for number, one in enumerate(good):
        latest.append(one)
        if latest.count(False) > limit * window and not one:
            expected = number
            break
    intake, found, at = made(dlq_limit=limit, dlq_window=window), None, 0
    while at < len(good) and found is None:
        size = data.draw(st.integers(1, 7))
        values = [event() if one else BAD for one in good[at : at + size]]
        taken = intake.take({FIRST: records(*values, first=at)}, TOPICS)
        if taken.over is not None:
            found = at + sum(one.offset >= at for one in taken.batch)
        at += size
    assert found == expected


# --- compacted topics ----------------------------------------------------------------------------------------------


def test_a_compacted_topic_may_carry_events_of_studies() -> None:
    taken = made().take({KEPT: records(event(1), None, event(2))}, TOPICS)
    assert offsets(taken) == [("id-2:0", 10, 1), ("id-2:0", 11, 0), ("id-2:0", 12, 1)]


@pytest.mark.parametrize("level", ["SERIES", "PATIENT"])
def test_a_compacted_topic_with_other_events_is_refused(level: str) -> None:
    with pytest.raises(TopicUnusable, match=r"(?s)kept .*cleanup\.policy=compact.*offset 11"):
        made().take({KEPT: records(event(1), event(1, level=level))}, TOPICS)
    made().take({FIRST: records(event(1, level=level))}, TOPICS)


# --- the window ----------------------------------------------------------------------------------------------------


@given(
    st.lists(st.one_of(st.just(-1), st.integers(0, 12)), max_size=60),
    st.integers(1, 20),
    st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.999, 1.0]),
)
@settings(max_examples=300, deadline=None)
def test_the_window_of_dead_letters_is_a_plain_queue_of_the_latest_messages(
    told: Sequence[int], size: int, limit: float
) -> None:
    """``told``: -1 for a bad message, else so many good ones."""
    window, plain = DeadLetterWindow(limit, size), deque[bool](maxlen=size)
    for one in told:
        if one < 0:
            window.add_bad()
            plain.append(True)
        else:
            window.add_good(one)
            plain.extend([False] * one)
        assert window.bad == sum(plain)
        assert window.exceeded == (sum(plain) > limit * size)


def test_a_window_that_nobody_looks_at_is_right_when_somebody_does() -> None:
    window = DeadLetterWindow(0.5, 4)
    for _ in range(1000):
        window.add_bad()
    assert window.bad == 4
    window.add_good(3)
    assert (window.bad, window.exceeded) == (1, False)


# --- in parts ------------------------------------------------------------------------------------------------------


@given(
    st.dictionaries(st.sampled_from((FIRST, SECOND, KEPT)), st.lists(st.sampled_from((b"1", b"2", b"3", None)))),
    st.integers(1, 4),
)
def test_parts_hold_all_records_in_their_order_and_no_more_keys_than_wanted(
    keys: dict[TopicPartition, list[bytes | None]], most: int
) -> None:
    polled = {
        partition: [Record(number, NOW, key, b"", ()) for number, key in enumerate(found)]
        for partition, found in keys.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("consumers.intake._KEYS", most)
        parts = in_parts(polled)
    for partition, found in polled.items():
        assert [record for part in parts for record in part.get(partition, [])] == found
    assert all(found for part in parts for found in part.values())
    assert all(part and len({one.key for found in part.values() for one in found}) <= most for part in parts)


def test_what_is_taken_in_steps_is_what_is_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.intake._STEP", 2)
    polled = {FIRST: records(event(1), BAD, event(2)), SECOND: records(event(3), None, first=7)}
    begun = made(dlq_window=100).begin(polled, TOPICS)
    assert [begun.some() for _ in range(4)] == [True, True, False, False]
    assert begun.taken() == made(dlq_window=100).take(polled, TOPICS)


def test_an_error_on_the_way_is_raised_when_the_rest_is_asked_for() -> None:
    begun = made().begin({KEPT: records(event(1, level="SERIES"))}, TOPICS)
    begun.some()
    with pytest.raises(TopicUnusable, match="compact"):
        begun.taken()
