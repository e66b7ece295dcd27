"""Up to which moment a partition vouches for what it told."""

from __future__ import annotations

from consumers.watermark import PartitionTimes, progress
from state.repository import Progress

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
