"""Kafka no longer holds what the state wants next, or holds less than was applied: never passed over in silence."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from kafka import TopicPartition

import consumers.source
from consumers.errors import OffsetsLost, StateAhead
from tests.feed import Feed, broker_admin, ct, hold_back
from tests.harness import Deployment, wait_for


def remove_before(deployment: Deployment, offset: int) -> None:
    """Let the topic's only partition begin at ``offset``, as retention does."""
    with broker_admin(deployment) as admin:
        admin.delete_records({TopicPartition(deployment.topic, 0): offset})


def set_offset(deployment: Deployment, feed: Feed, offset: int) -> None:
    """Let every shard believe that so much of the only partition is applied."""
    for keys in deployment.shard_keys:
        deployment.redis.hset(keys.offsets, f"{feed.topic_id}:0", offset)


def applied(deployment: Deployment, events: int) -> Feed:
    """A topic of one partition with so many events, all of them applied."""
    feed = Feed(deployment)
    feed.publish([ct(number % 20, number, number) for number in range(events)])
    deployment.consume_all()
    return feed


# --- lost before they were applied ---------------------------------------------------------------------------------


def test_a_consumer_that_finds_its_next_offset_gone_at_the_start_ends_and_says_what_to_do(
    deploy: Callable[..., Deployment],
) -> None:
    feed = applied(deployment := deploy(1), 50)
    feed.publish([ct(number % 20, number, number) for number in range(50, 100)])
    remove_before(deployment, 70)
    error = deployment.start_consumer().failed()
    assert isinstance(error, OffsetsLost)
    assert f"topic {deployment.topic} partition 0: the state wants offset 50, Kafka holds 70 and later" in str(error)
    assert "consumer.lost_offsets" in str(error)
    assert deployment.opened.studies.count() == 20


def test_a_consumer_that_retention_overtakes_ends_too(
    deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = Feed(deployment := deploy(1, KAFKA__SESSION_TIMEOUT="30s"))
    running = deployment.start_consumer()
    feed.publish([ct(number % 20, number, number) for number in range(50)])
    feed.wait()
    go_on = hold_back(monkeypatch)
    feed.publish([ct(number % 20, number, number) for number in range(50, 100)])
    remove_before(deployment, 100)
    feed.publish([ct(1, number, number) for number in range(100, 120)])
    go_on()
    error = running.failed()
    assert isinstance(error, OffsetsLost)
    assert (error.wanted, error.first) == (50, 100)


@pytest.mark.parametrize("running", [False, True])
def test_with_the_policy_earliest_it_goes_on_counts_what_is_lost_and_does_not_claim_to_be_whole(
    deploy: Callable[..., Deployment],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    running: bool,
) -> None:
    feed = applied(deployment := deploy(1, CONSUMER__LOST_OFFSETS="earliest"), 50)
    repository = deployment.opened.repository
    repository.set_whole()

    def lose_some() -> None:
        feed.publish([ct(20 + number % 20, number, number) for number in range(50, 100)])
        remove_before(deployment, 70)

    if not running:
        lose_some()
    with caplog.at_level(logging.WARNING), deployment.consuming():
        if running:
            wait_for(lambda: "events_store" in repository.counters(), "it runs")
            go_on = hold_back(monkeypatch)
            lose_some()
            go_on()
        feed.wait()
        wait_for(lambda: "messages_lost" in repository.counters(), "counted")
    assert (repository.counters()["messages_lost"], repository.counters()["events_store"]) == (20, 80)
    assert not repository.is_whole()
    assert caplog.text.count("Kafka no longer holds offsets 50 to 69") == 1


@pytest.mark.parametrize("policy", ["stop", "earliest"])
def test_what_was_gone_before_anything_was_applied_is_not_missed(
    deploy: Callable[..., Deployment], policy: str
) -> None:
    """A topic is followed from what it holds when it is followed for the first time."""
    feed = Feed(deployment := deploy(1, CONSUMER__LOST_OFFSETS=policy))
    feed.publish([ct(number % 20, number, number) for number in range(50)])
    remove_before(deployment, 30)
    counts = deployment.consume_all()
    assert (counts["events_store"], counts["messages_lost"]) == (20, 0)
    assert feed.applied()


# --- applied and then lost by Kafka --------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["stop", "earliest"])
def test_a_kafka_that_holds_less_than_was_applied_ends_the_consumer_whatever_the_policy(
    deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, policy: str
) -> None:
    monkeypatch.setattr(consumers.source, "_SETTLE", 1.0)
    feed = applied(deployment := deploy(1, CONSUMER__LOST_OFFSETS=policy), 50)
    set_offset(deployment, feed, 79)
    before = deployment.opened.repository.watermark().time
    deployment.clock.now += 3_600_000_000
    with caplog.at_level(logging.WARNING):
        error = deployment.start_consumer().failed()
    assert isinstance(error, StateAhead)
    assert f"topic {deployment.topic} partition 0: the state has applied up to offset 79" in str(error)
    assert "Kafka holds nothing from 50 on" in str(error)
    assert "waiting 1 seconds" in caplog.text
    assert deployment.opened.repository.watermark().time == before, "it vouches for nothing"


def test_a_kafka_that_says_so_only_for_a_moment_is_waited_for(
    deploy: Callable[..., Deployment], caplog: pytest.LogCaptureFixture
) -> None:
    feed = applied(deployment := deploy(1), 50)
    set_offset(deployment, feed, 59)
    with caplog.at_level(logging.WARNING), deployment.consuming():
        wait_for(lambda: "waiting 10 seconds" in caplog.text, "noticed")
        feed.publish([ct(20 + number % 20, number, number) for number in range(50, 80)])
        feed.wait()
    assert deployment.opened.repository.counters()["events_store"] == 50 + 20
