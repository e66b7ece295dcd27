"""What a consumer makes of topics that change."""

from __future__ import annotations

import logging

import pytest

from consumers.errors import TopicUnusable
from consumers.followed import Change, FollowedTopics
from consumers.look import Seen
from consumers.topics import Topic


class Time:
    seconds = 0.0


def follow() -> tuple[FollowedTopics, Time]:
    time = Time()
    topics = [Topic("t", "a", 2, compacted=True), Topic("u", "b", 1, compacted=False)]
    return FollowedTopics(topics, 30.0, lambda: time.seconds), time


SAME = {"t": Seen("a", 2), "u": Seen("b", 1)}


def test_topics_that_are_as_they_were_change_nothing() -> None:
    topics, _ = follow()
    before = dict(topics.by_name)
    assert topics.see(SAME) == Change(anew=False, grown=False)
    assert topics.by_name == before


def test_more_partitions_are_followed_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    topics, _ = follow()
    with caplog.at_level(logging.WARNING):
        assert topics.see(SAME | {"t": Seen("a", 3)}) == Change(anew=False, grown=True)
        assert topics.see(SAME | {"t": Seen("a", 3)}) == Change(anew=False, grown=False)
    assert topics.by_name["t"] == Topic("t", "a", 3, compacted=True)
    assert caplog.text.count("3 partitions") == 1


def test_an_answer_that_is_older_than_another_takes_no_partition_away() -> None:
    topics, _ = follow()
    assert topics.see(SAME | {"t": Seen("a", 1)}) == Change(anew=False, grown=False)
    assert topics.by_name["t"].partitions == 2


def test_a_topic_made_anew_is_another_one_whatever_its_partitions(caplog: pytest.LogCaptureFixture) -> None:
    topics, _ = follow()
    with caplog.at_level(logging.WARNING):
        assert topics.see(SAME | {"t": Seen("c", 1)}) == Change(anew=True, grown=False)
    assert topics.by_name["t"] == Topic("t", "c", 1, compacted=False)
    assert "topic t was deleted and made anew" in caplog.text


def test_a_topic_that_is_gone_is_waited_for_and_still_among_them(caplog: pytest.LogCaptureFixture) -> None:
    topics, time = follow()
    gone = SAME | {"t": None}
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert topics.see(gone) == Change(anew=False, grown=False)
            assert topics.missing
            time.seconds += 9.0
    assert caplog.text.count("is gone") == 1
    assert topics.by_name["t"].id == "a"
    topics.see(SAME)
    assert not topics.missing
    assert "is there again" in caplog.text


def test_nobody_waits_for_ever_for_a_topic_that_is_gone() -> None:
    topics, time = follow()
    topics.see({"t": None, "u": Seen("b", 1)})
    time.seconds += 30.0
    with pytest.raises(TopicUnusable, match="topic t"):
        topics.see({"t": None, "u": Seen("b", 1)})


def test_a_topic_that_comes_back_has_its_full_time_again() -> None:
    topics, time = follow()
    topics.see(SAME | {"t": None})
    time.seconds += 20.0
    topics.see(SAME)
    time.seconds += 20.0
    topics.see(SAME | {"t": None})
    assert topics.missing


def test_compaction_is_followed_both_ways(caplog: pytest.LogCaptureFixture) -> None:
    topics, _ = follow()
    with caplog.at_level(logging.WARNING):
        topics.see_compacted(frozenset({"u"}))
        topics.see_compacted(frozenset({"u"}))
    assert (topics.by_name["t"].compacted, topics.by_name["u"].compacted) == (False, True)
    assert caplog.text.count("topic u is compacted") == 1
