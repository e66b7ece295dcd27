"""The consumer stopped, killed, overtaken by failures of its servers: nothing is lost, nothing applied twice."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition

from consumers.errors import BrokerUnreachable
from consumers.health import check
from consumers.simulate import simulate
from consumers.source import Source
from state.repository import Progress
from state.times import MICROSECONDS
from stocktake.members import Member
from tests.feed import PARTITIONS, Feed, Program, ct, members, stocktake_consume
from tests.harness import PATIENCE, Deployment, wait_for
from tests.oracle.adversary import BEGIN
from tests.servers.kafka_broker import KafkaBroker
from tests.servers.redis_server import RedisServer

# --- stopped and killed --------------------------------------------------------------------------------------------


def test_sigterm_ends_with_0_and_a_following_start_applies_nothing_twice(deploy: Callable[..., Deployment]) -> None:
    feed = Feed(deployment := deploy())
    feed.publish([ct(number % 20, number, number) for number in range(500)])
    with stocktake_consume(deployment) as process:
        feed.wait()
        process.signal(signal.SIGTERM)
        assert process.exit_code(PATIENCE) == 0
    counts = deployment.consume_all()
    assert counts["events_store"] == 0
    assert deployment.opened.repository.counters()["events_store"] == 500
    feed.check()


def test_sigterm_in_the_middle_leaves_every_offset_where_the_next_start_goes_on(
    deploy: Callable[..., Deployment],
) -> None:
    feed = Feed(deployment := deploy(KAFKA__MAX_POLL_RECORDS="20"))
    feed.publish(list(simulate(100, 3, max_instances=40)))
    with stocktake_consume(deployment) as process:
        wait_for(lambda: any(deployment.offsets()), "the first events applied")
        process.signal(signal.SIGTERM)
        assert process.exit_code(PATIENCE) == 0
    deployment.consume_all()
    counters = deployment.opened.repository.counters()
    assert sum(counters[name] for name in ("events_store", "events_update", "events_delete")) == feed.events
    feed.check()


def test_kill_9_in_the_middle_and_a_restart_end_in_what_the_events_come_to(deploy: Callable[..., Deployment]) -> None:
    feed = Feed(deployment := deploy(KAFKA__MAX_POLL_RECORDS="50", KAFKA__SESSION_TIMEOUT="2s"))
    feed.publish(list(simulate(150, 4, max_instances=40)))
    for _ in range(2):
        before = deployment.offsets()
        with stocktake_consume(deployment) as process:
            wait_for(lambda seen=before: deployment.offsets() != seen, "events applied")  # type: ignore[misc]
            process.kill()
    with stocktake_consume(deployment):
        feed.wait()
        feed.check()


# --- Redis ---------------------------------------------------------------------------------------------------------


def test_shards_that_lost_their_tail_under_a_running_consumer_are_made_whole(deploy: Callable[..., Deployment]) -> None:
    feed = Feed(deployment := deploy())
    with deployment.consuming():
        feed.publish([ct(number % 20, number, number) for number in range(200)])
        feed.wait()
        before = deployment.dump_shards()
        feed.publish([ct(number % 20, number, number) for number in range(200, 400)])
        feed.wait()
        for shard in (1, 4, 5):
            deployment.lose(shard, before[shard])
        feed.publish([ct(number % 20, number, number) for number in range(400, 420)])
        feed.wait()
        feed.check()


def test_shards_that_lost_their_tail_are_made_whole_also_when_nothing_new_comes(
    deploy: Callable[..., Deployment],
) -> None:
    feed = Feed(deployment := deploy())
    with deployment.consuming():
        feed.publish([ct(number % 20, number, number) for number in range(100)])
        feed.wait()
        before = deployment.dump_shards()
        feed.publish([ct(number % 20, number, number) for number in range(100, 200)])
        feed.wait()
        deployment.lose(3, before[3])
        wait_for(feed.applied, "the lost tail applied again", 15)
        feed.check()


def test_a_watermark_stands_for_the_offsets_that_it_was_first_published_with(
    tmp_path: Path, redis_url: str, repository: str
) -> None:
    """While a shard that lost its tail is made whole, the watermark is that from before the loss: a cut must wait for
    the offsets from before it too.
    """
    deployment = Deployment(tmp_path, redis_url, repository)
    state = deployment.opened.repository
    state.set_topics({"t": ("t", 1)})
    state.publish_progress({"t:0": Progress(BEGIN, 100, BEGIN)})
    state.publish_progress({"t:0": Progress(BEGIN - MICROSECONDS, 40, BEGIN + 1)})
    found = state.watermark()
    deployment.close()
    assert (found.time, found.offsets["t:0"]) == (BEGIN, 100)


def test_a_redis_that_is_killed_and_comes_back_is_waited_for(
    deploy: Callable[..., Deployment], redis_server: RedisServer
) -> None:
    feed = Feed(deployment := deploy(KAFKA__MAX_POLL_RECORDS="50"))
    events = list(simulate(100, 6, max_instances=30))
    with deployment.consuming():
        feed.publish(events[:1000])
        wait_for(lambda: any(deployment.offsets()), "events applied")
        redis_server.kill()
        redis_server.start()
        feed.publish(events[1000:])
        feed.wait()
        feed.check()


# --- Kafka ---------------------------------------------------------------------------------------------------------


def fail_once(monkeypatch: pytest.MonkeyPatch, when: Callable[[], bool]) -> list[TopicPartition]:
    """Let the broker not answer once when a partition is started; the partitions that this met."""
    start_at = Source.start_at
    met: list[TopicPartition] = []

    def start(self: Source, partition: TopicPartition, last_applied: int) -> None:
        if not met and when():
            met.append(partition)
            raise BrokerUnreachable("Kafka cannot be reached")
        start_at(self, partition, last_applied)

    monkeypatch.setattr(Source, "start_at", start)
    return met


def test_a_partition_whose_start_failed_is_started_when_the_broker_answers(
    deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = Feed(deployment := deploy())
    feed.publish([ct(number, 1, number) for number in range(40)])
    met = fail_once(monkeypatch, lambda: True)
    with deployment.consuming():
        wait_for(lambda: bool(met), "the failure")
        feed.wait(15)
        feed.check()


@pytest.mark.parametrize("partitions", [1, PARTITIONS])
def test_a_broker_that_is_away_when_a_lost_tail_is_to_be_read_again_loses_no_event(
    deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch, partitions: int
) -> None:
    feed = Feed(deployment := deploy(partitions))
    with deployment.consuming():
        feed.publish([ct(number % 40, number, number) for number in range(200)])
        feed.wait()
        before = deployment.dump_shards()
        feed.publish([ct(number % 40, number, number) for number in range(200, 400)])
        feed.wait()
        met = fail_once(monkeypatch, lambda: True)
        for shard in range(4):
            deployment.lose(shard, before[shard])
        feed.publish([ct(number % 40, number, number) for number in range(400, 440)])
        wait_for(lambda: bool(met), "the failure")
        feed.publish([ct(number % 40, number, number) for number in range(440, 480)])
        feed.wait()
        feed.check()


def test_a_killed_broker_that_comes_back_is_waited_for(
    deploy: Callable[..., Deployment], kafka_broker: KafkaBroker
) -> None:
    if not kafka_broker.durable:
        pytest.skip("this broker keeps events in memory only")
    feed = Feed(deployment := deploy(KAFKA__TIMEOUT="5s"))
    with stocktake_consume(deployment):  # kafka-python leaves sockets of failed connections open: not in this process
        feed.publish([ct(number % 20, number, number) for number in range(100)])
        feed.wait()
        kafka_broker.kill()
        kafka_broker.start()
        feed.publish([ct(number % 20, number, number) for number in range(100, 200)])
        feed.wait()
        feed.check()


# --- both ----------------------------------------------------------------------------------------------------------


def test_redis_and_kafka_away_at_once_are_waited_for_and_each_is_said_once(
    deploy: Callable[..., Deployment], redis_server: RedisServer, kafka_broker: KafkaBroker
) -> None:
    if not kafka_broker.durable:
        pytest.skip("this broker keeps events in memory only")
    feed = Feed(deployment := deploy(KAFKA__TIMEOUT="3s"))
    with stocktake_consume(deployment) as program:
        feed.publish([ct(number % 20, number, number) for number in range(100)])
        feed.wait()
        redis_server.kill()
        program.logs("Redis at")
        kafka_broker.kill()
        program.logs("Kafka at")
        redis_server.start()
        kafka_broker.start()
        program.logs("the servers answer again")
        feed.publish([ct(number % 20, number, number) for number in range(100, 200)])
        feed.wait()
        feed.check()
    assert program.log.count("waiting for it") == 2


def test_the_group_keeps_a_consumer_whose_redis_is_away_for_longer_than_its_session(
    deploy: Callable[..., Deployment], redis_server: RedisServer, tmp_path: Path
) -> None:
    health = tmp_path / "health"
    feed = Feed(deployment := deploy(KAFKA__SESSION_TIMEOUT="2s", HEALTH__FILE=str(health)))
    file = Member("consumer", deployment.name, 1).file(health)
    with stocktake_consume(deployment) as program:
        feed.publish([ct(number % 20, number, number) for number in range(100)])
        feed.wait()
        wait_for(lambda: check(file, time.time_ns() // 1000, 5.0) == [], "a healthy consumer")
        before = members(deployment)
        assert [len(held) for held in before.values()] == [PARTITIONS]
        redis_server.kill()
        away = time.monotonic()
        program.logs("Redis at")
        wait_for(lambda: check(file, time.time_ns() // 1000, 5.0) == ["not ready: waiting for redis"], "word of it")
        wait_for(lambda: time.monotonic() - away > 4, "twice the session")
        assert members(deployment) == before
        redis_server.start()
        feed.publish([ct(number % 20, number, number) for number in range(100, 200)])
        feed.wait()
        wait_for(lambda: check(file, time.time_ns() // 1000, 5.0) == [], "a healthy consumer")
        assert members(deployment) == before
        feed.check()


# --- the end while a server is away --------------------------------------------------------------------------------


def ends_in_time(program: Program) -> None:
    """It ends in order within its 4 seconds; what it has to load of Python to end is not counted too closely."""
    begun = time.monotonic()
    program.signal(signal.SIGTERM)
    assert program.exit_code(20.0) == 0, program.log
    assert time.monotonic() - begun < 4.0 + 1.0


def test_sigterm_while_redis_hangs_ends_within_the_shutdown_timeout(deploy: Callable[..., Deployment]) -> None:
    feed = Feed(deployment := deploy(CONSUMER__SHUTDOWN_TIMEOUT="4s", REDIS__TIMEOUT="2s"))
    feed.publish([ct(number % 20, number, number) for number in range(100)])
    with stocktake_consume(deployment) as program:
        feed.wait()
        deployment.redis.client_pause(60_000, all=False)  # all that writes
        try:
            program.logs("waiting for it", patience=15)
            ends_in_time(program)
        finally:
            deployment.redis.client_unpause()


def test_sigterm_while_kafka_is_away_ends_within_the_shutdown_timeout(
    deploy: Callable[..., Deployment], kafka_broker: KafkaBroker
) -> None:
    feed = Feed(deployment := deploy(CONSUMER__SHUTDOWN_TIMEOUT="4s"))
    feed.publish([ct(number % 20, number, number) for number in range(100)])
    with stocktake_consume(deployment) as program:
        feed.wait()
        kafka_broker.kill()
        try:
            program.logs("waiting for it", patience=15)
            ends_in_time(program)
        finally:
            kafka_broker.start()


# --- the watermark -------------------------------------------------------------------------------------------------


def test_an_idle_topic_gives_the_clock_minus_max_out_of_order(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(CONSUMER__MAX_OUT_OF_ORDER="7s")
    deployment.clock.now = BEGIN
    with deployment.consuming():
        wait_for(lambda: deployment.opened.repository.watermark().time == BEGIN - 7 * MICROSECONDS, "the watermark")
        deployment.clock.now += 60 * MICROSECONDS
        wait_for(lambda: deployment.opened.repository.watermark().time == BEGIN + 53 * MICROSECONDS, "the next")


def test_a_partition_that_was_never_consumed_holds_the_watermark_back(deploy: Callable[..., Deployment]) -> None:
    feed = Feed(deployment := deploy())
    feed.publish([ct(number, 1, number) for number in range(20)])
    deployment.consume_all()
    repository = deployment.opened.repository
    assert repository.watermark().time is not None
    identity = deployment.topic_id
    repository.set_topics({deployment.topic: (identity, PARTITIONS + 1)})  # a partition was added
    watermark: Any = repository.watermark()
    assert watermark.time is None
    assert watermark.missing == (f"{identity}:{PARTITIONS}",)


def test_without_its_end_reached_a_partition_vouches_for_the_newest_event_applied(
    deploy: Callable[..., Deployment],
) -> None:
    """The watermark never passes an event that is not applied, however far the clock is ahead."""
    feed = Feed(deployment := deploy(KAFKA__MAX_POLL_RECORDS="10", CONSUMER__WATERMARK_INTERVAL="1ms"))
    feed.publish([ct(number % 20, number, number * 10) for number in range(400)])
    deployment.clock.now += 3600 * MICROSECONDS
    times = {
        uid: [(entry.partition, entry.offset, entry.told.time) for entry in entries]
        for uid, entries in feed.journal.entries.items()
    }
    seen: set[int] = set()
    with deployment.consuming():
        while not (seen and deployment.caught_up()):
            watermark = deployment.opened.repository.watermark()
            if watermark.time is None:
                continue
            seen.add(watermark.time)
            applied = {int(field.rpartition(":")[2]): offset for field, offset in watermark.offsets.items()}
            passed = [
                time
                for entries in times.values()
                for partition, offset, time in entries
                if time <= watermark.time and offset > applied[partition]
            ]
            assert passed == []
