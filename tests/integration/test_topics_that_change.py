"""Topics that are deleted, made anew, given more partitions or another cleanup policy under a running consumer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event as Flag
from threading import Thread

import pytest
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.partitioner import murmur2

import consumers.source
from consumers.errors import TopicUnusable
from consumers.publish import event_key
from state.studies import PartsWanted
from state.times import MICROSECONDS
from tests.feed import PARTITIONS, Feed, broker_admin, ct, hold_back
from tests.harness import Deployment, wait_for
from tests.oracle.adversary import BEGIN
from tests.oracle.events import Json


def make_anew(deployment: Deployment, partitions: int = PARTITIONS) -> None:
    """Delete the topic and create another of its name."""
    delete(deployment)
    create(deployment, partitions)


def delete(deployment: Deployment) -> None:
    with broker_admin(deployment) as admin:
        admin.delete_topics([deployment.topic])


def create(deployment: Deployment, partitions: int) -> None:
    with broker_admin(deployment) as admin:
        wanted = {deployment.topic: {"num_partitions": partitions, "replication_factor": 1}}
        admin.create_topics(wanted, wait_for_metadata=True)


def add_partition(deployment: Deployment) -> None:
    with broker_admin(deployment) as admin:
        admin.create_partitions({deployment.topic: PARTITIONS + 1})


def goes_to_the_new_partition(event: Json) -> bool:
    key: bytes = event_key(event)
    return bool((murmur2(key) & 0x7FFFFFFF) % (PARTITIONS + 1) == PARTITIONS)


def offsets_of(deployment: Deployment, topic_id: str) -> list[dict[bytes, bytes]]:
    """What each shard has applied of the partitions of one topic."""
    return [
        {field: offset for field, offset in offsets.items() if field.startswith(topic_id.encode())}
        for offsets in deployment.offsets()
    ]


# --- made anew -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("partitions", [PARTITIONS, PARTITIONS + 2, 1])
def test_a_topic_made_anew_is_read_from_its_beginning_under_its_new_id(
    deploy: Callable[..., Deployment], caplog: pytest.LogCaptureFixture, partitions: int
) -> None:
    feed = Feed(deployment := deploy())
    with deployment.consuming() as running, caplog.at_level(logging.WARNING):
        feed.publish([ct(number % 20, number, number) for number in range(200)])
        feed.wait()
        old, before = feed.topic_id, offsets_of(deployment, feed.topic_id)
        make_anew(deployment, partitions)
        feed.renew()
        feed.publish([ct(number % 20, number, number) for number in range(200, 260)])
        feed.wait(30)
        wait_for(lambda: deployment.topic_id == feed.topic_id, "the state knows it")
        wait_for(lambda: not deployment.opened.repository.watermark().missing, "a watermark for each partition")
        assert offsets_of(deployment, old) == before
        assert running.counts["topics_anew"] == 1
    assert caplog.text.count("was deleted and made anew") == 1
    feed.check()


def test_messages_of_a_topic_made_anew_are_never_taken_for_those_of_the_old_one(
    deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While the consumer does not look, the topic is made anew and filled further than it had read the old one: what
    it asks for next is there, and only the topic's id tells that it is something else.
    """
    feed = Feed(deployment := deploy(KAFKA__SESSION_TIMEOUT="30s"))
    with deployment.consuming(), caplog.at_level(logging.WARNING):
        feed.publish([ct(number % 20, number, number) for number in range(100)])
        feed.wait()
        old, before = feed.topic_id, offsets_of(deployment, feed.topic_id)
        go_on = hold_back(monkeypatch)
        make_anew(deployment)
        feed.renew()
        feed.publish([ct(20 + number % 20, number, 100 + number) for number in range(400)])
        go_on()
        feed.wait(30)
        assert offsets_of(deployment, old) == before
    assert caplog.text.count("was deleted and made anew") == 1
    feed.check()


def test_a_busy_consumer_notices_a_topic_made_anew_in_the_middle(deploy: Callable[..., Deployment]) -> None:
    """What is not applied of the old topic is gone with it; all of the new one is applied, and nothing of it as old."""
    feed = Feed(deployment := deploy(KAFKA__MAX_POLL_RECORDS="10"))
    feed.publish([ct(number % 20, number, number) for number in range(2000)])
    with deployment.consuming():
        wait_for(lambda: any(deployment.offsets()), "the first events applied")
        old = feed.topic_id
        make_anew(deployment)
        feed.renew()
        feed.publish([ct(100 + number % 20, number, 3000 + number) for number in range(400)])
        feed.wait(30)
        applied = offsets_of(deployment, old)
    new = [f"1.2.{study}" for study in range(100, 120)]
    records = deployment.opened.studies.read_parts({uid: PartsWanted(everything=True) for uid in new})
    assert {uid: records[uid].known_instances for uid in new} == dict.fromkeys(new, 20)
    assert deployment.opened.studies.count() <= 40
    assert all(int(offset) < 2000 for offsets in applied for offset in offsets.values())


# --- more partitions -----------------------------------------------------------------------------------------------


def test_a_partition_added_is_noticed_read_and_part_of_the_watermark(deploy: Callable[..., Deployment]) -> None:
    feed = Feed(deployment := deploy())
    with deployment.consuming():
        feed.publish([ct(number % 20, number, number) for number in range(100)])
        feed.wait()
        add_partition(deployment)
        begun = time.monotonic()
        repository = deployment.opened.repository
        wait_for(lambda: repository.topics()[deployment.topic] == (feed.topic_id, PARTITIONS + 1), "the state knows it")
        assert time.monotonic() - begun < 5.0
        wait_for(lambda: not repository.watermark().missing, "its watermark")
        feed.publish([ct(20 + number % 20, number, number) for number in range(100, 200)])
        assert PARTITIONS in feed.ends
        feed.wait()
        feed.check()


def test_no_watermark_ever_vouches_for_a_partition_that_nobody_had_looked_for(
    deploy: Callable[..., Deployment],
) -> None:
    feed = Feed(deployment := deploy())
    repository = deployment.opened.repository
    seen: list[int | None] = []
    ended = Flag()

    def watch() -> None:
        while not ended.is_set():
            watermark = repository.watermark()
            offset = watermark.offsets.get(f"{feed.topic_id}:{PARTITIONS}", -1)
            seen.append(watermark.time if offset < 0 else None)

    with deployment.consuming():
        feed.publish([ct(number % 20, number, number) for number in range(100)])
        feed.wait()
        wait_for(deployment.caught_up, "caught up")
        moment = deployment.clock.now
        watching = Thread(target=watch)
        watching.start()
        add_partition(deployment)
        # An event for the new partition, as new as the archive's clock; then the clock goes on.
        event = next(one for number in range(1000) if goes_to_the_new_partition(one := ct(100 + number, 1, 99)))
        feed.publish([event])
        deployment.clock.now = moment + 60 * MICROSECONDS
        feed.wait()
        wait_for(deployment.caught_up, "caught up again")
        ended.set()
        watching.join()
    assert len(seen) > 10
    assert all(one is None or one < BEGIN + 99 * MICROSECONDS for one in seen)


# --- several topics, several consumers -----------------------------------------------------------------------------


def test_of_two_topics_the_one_that_is_gone_holds_the_watermark_back_and_the_other_is_read_on(
    deploy: Callable[..., Deployment], make_topic: Callable[..., str], repository: str
) -> None:
    kept, gone = make_topic(partitions=2), make_topic(partitions=2)
    deployment = deploy(1, **{f"REPOSITORIES__{repository.upper()}__TOPICS": f"{kept},{gone}"})
    deployment.topic = kept
    feed = Feed(deployment)
    with deployment.consuming():
        feed.publish([ct(number % 20, number, number) for number in range(100)])
        feed.wait()
        wait_for(deployment.caught_up, "caught up")
        deployment.topic = gone
        delete(deployment)
        deployment.topic = kept
        moment = deployment.clock.now
        feed.publish([ct(number % 20, number, number) for number in range(100, 200)])
        deployment.clock.now = moment + 60 * MICROSECONDS
        feed.wait()
        wait_for(lambda: watermark_of(deployment, feed.topic_id) >= moment, "the watermark of the other one")
        watermark = deployment.opened.repository.watermark().time
        assert watermark is not None
        assert watermark < moment
        deployment.topic = gone
        create(deployment, 1)
        wait_for(deployment.caught_up, "caught up again")


def watermark_of(deployment: Deployment, topic_id: str) -> int:
    """Of one topic alone."""
    progress = deployment.opened.repository.progress()
    return min(one.watermark for name, one in progress.items() if name.startswith(topic_id) and one is not None)


def said(deployment: Deployment) -> dict[str, tuple[str, int]]:
    return deployment.opened.repository.topics()


def test_of_consumers_that_saw_different_topics_the_one_that_looked_later_counts(
    tmp_path: Path, redis_url: str, repository: str
) -> None:
    deployment = Deployment(tmp_path, redis_url, repository)
    state = deployment.opened.repository
    assert state.set_topics({"t": ("old", 4)}, age=10.0) == 0
    assert state.set_topics({"t": ("new", 2)}, age=5.0) == 1, "one topic was made anew"
    assert state.set_topics({"t": ("new", 2)}, age=1.0) == 0
    assert state.set_topics({"t": ("old", 4)}, age=7.0) == 0, "a consumer that slept between its look and its word"
    found = said(deployment)
    deployment.close()
    assert found == {"t": ("new", 2)}


def test_of_one_topic_the_largest_number_of_partitions_counts(tmp_path: Path, redis_url: str, repository: str) -> None:
    deployment = Deployment(tmp_path, redis_url, repository)
    state = deployment.opened.repository
    for partitions in (4, 5, 4):
        state.set_topics({"t": ("id", partitions)})
    found = said(deployment)
    deployment.close()
    assert found == {"t": ("id", 5)}


@pytest.mark.parametrize(("seconds", "topics"), [(59.0, {"t", "former"}), (61.0, {"t"})])
def test_a_topic_that_nobody_names_for_a_minute_is_not_the_repositorys_any_more(
    tmp_path: Path, redis_url: str, repository: str, seconds: float, topics: set[str]
) -> None:
    """Consumers with old and new settings work side by side while they are replaced."""
    deployment = Deployment(tmp_path, redis_url, repository)
    state = deployment.opened.repository
    state.set_topics({"t": ("id", 1), "former": ("f", 1)}, age=seconds)
    state.set_topics({"t": ("id", 1)})
    found = said(deployment)
    deployment.close()
    assert found.keys() == topics


# --- gone, and compacted -------------------------------------------------------------------------------------------


def test_a_topic_that_is_deleted_and_not_made_anew_ends_the_consumer_after_a_while(
    deploy: Callable[..., Deployment], caplog: pytest.LogCaptureFixture
) -> None:
    feed = Feed(deployment := deploy(KAFKA__TIMEOUT="3s"))
    running = deployment.start_consumer()
    feed.publish([ct(number % 20, number, number) for number in range(100)])
    feed.wait()
    wait_for(deployment.caught_up, "caught up")
    with caplog.at_level(logging.WARNING):
        begun = time.monotonic()
        delete(deployment)
        deployment.clock.now += 60 * MICROSECONDS
        error = running.failed()
        create(deployment, PARTITIONS)
    assert isinstance(error, TopicUnusable)
    assert deployment.topic in str(error)
    assert time.monotonic() - begun > 3.0
    assert f"topic {deployment.topic} is gone" in caplog.text
    assert not deployment.caught_up(), "a topic that is gone vouches for nothing"


def test_a_topic_that_becomes_compacted_ends_the_consumer_at_the_next_event_below_study_level(
    deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(consumers.source, "_INSPECT", 0.2)
    monkeypatch.setattr(consumers.source, "_INSPECT_SOON", 0.2)
    feed = Feed(deployment := deploy())
    running = deployment.start_consumer()
    feed.publish([ct(number % 20, number, number) for number in range(100)])
    feed.wait()
    with caplog.at_level(logging.WARNING):
        with broker_admin(deployment) as admin:
            topic = ConfigResource(ConfigResourceType.TOPIC, deployment.topic, {"cleanup.policy": "compact"})
            admin.alter_configs([topic])
        wait_for(lambda: "is compacted now" in caplog.text, "noticed")
    deployment.publish([(ct(1, 1, 100), BEGIN)])
    error = running.failed()
    assert isinstance(error, TopicUnusable)
    assert "cleanup.policy" in str(error)
