"""Up to which moment a partition vouches for what it told."""

from __future__ import annotations

from consumers.watermark import PartitionTimes, progress
from state.repository import NO_HEARTBEAT, Progress

LATE = 5
ASKED = 1000


def test_a_partition_at_its_end_is_as_new_as_the_question() -> None:
    assert progress(PartitionTimes(), 7, 7, ASKED, LATE) == Progress(ASKED - LATE, 6, ASKED)
    assert progress(PartitionTimes(500, 500), 7, 7, ASKED, LATE) == Progress(ASKED - LATE, 6, ASKED)


def test_an_empty_partition_vouches_for_the_question_with_no_offset() -> None:
    assert progress(PartitionTimes(), 0, 0, ASKED, LATE) == Progress(ASKED - LATE, -1, ASKED)


def test_before_its_end_it_vouches_for_the_least_of_event_record_and_clock() -> None:
    assert progress(PartitionTimes(300, 400), 7, 9, ASKED, LATE) == Progress(300 - LATE, 6, ASKED)
    assert progress(PartitionTimes(400, 300), 7, 9, ASKED, LATE) == Progress(300 - LATE, 6, ASKED)
    assert progress(PartitionTimes(2000, 2000), 7, 9, ASKED, LATE) == Progress(ASKED - LATE, 6, ASKED)


def test_before_its_end_and_without_any_event_it_vouches_for_nothing() -> None:
    assert progress(PartitionTimes(), 7, 9, ASKED, LATE) is None
    times = PartitionTimes()
    times.applied(None, 400)
    assert progress(times, 7, 9, ASKED, LATE) is None


def test_an_end_that_the_broker_did_not_tell_is_not_reached() -> None:
    assert progress(PartitionTimes(), 7, None, ASKED, LATE) is None
    assert progress(PartitionTimes(300, 400), 7, None, ASKED, LATE) == Progress(300 - LATE, 6, ASKED)


def test_the_newest_event_counts_and_the_latest_record() -> None:
    times = PartitionTimes()
    times.applied(300, 400)
    times.applied(200, 350)
    times.applied(None, 340)
    assert (times.newest_event, times.latest_record) == (300, 340)


# --- bridges -------------------------------------------------------------------------------------------------------


def test_where_a_bridge_beats_nothing_is_vouched_for_before_the_first_beat() -> None:
    times = PartitionTimes()
    found = progress(times, 5, 5, ASKED, 0, bridged=True)
    assert found is not None
    assert (found.watermark, found.heartbeat, found.offset) == (0, NO_HEARTBEAT, 4)


def test_the_watermark_goes_no_further_than_the_latest_heartbeat() -> None:
    times = PartitionTimes()
    times.applied(None, ASKED, heartbeat=ASKED - 7)
    found = progress(times, 5, 5, ASKED, 0, bridged=True)
    assert found is not None
    assert (found.watermark, found.heartbeat) == (ASKED - 7, ASKED - 7)


def test_a_heartbeat_vouches_for_nothing_that_is_not_applied() -> None:
    times = PartitionTimes()
    times.applied(ASKED - 100, ASKED, heartbeat=ASKED - 7)
    found = progress(times, 5, 9, ASKED, 0, bridged=True)
    assert found is not None
    assert found.watermark == ASKED - 100


def test_heartbeats_that_nobody_expects_hold_nothing_back() -> None:
    times = PartitionTimes()
    times.applied(None, ASKED, heartbeat=ASKED - 7)
    found = progress(times, 5, 5, ASKED, 0)
    assert found is not None
    assert (found.watermark, found.heartbeat) == (ASKED, 0)
