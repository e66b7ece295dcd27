"""Partitions that move between consumers while events flow: nothing is lost, and those that stay are read on."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from threading import Thread

import pytest
from kafka import KafkaConsumer
from kafka.structs import MemberState

import consumers.source
from consumers.membership import group_id
from consumers.policy import KafkaPolicy
from consumers.simulate import simulate
from consumers.source import Source
from tests.feed import PARTITIONS, Feed, broker_admin, ct, members, stocktake_consume
from tests.harness import Deployment, wait_for
from tests.oracle.events import Json

SESSION = "2s"


class Silent:
    """A member of the deployment's group that reads nothing."""

    def __init__(self, deployment: Deployment, instance_id: str) -> None:
        kafka: KafkaPolicy = replace(deployment.settings.kafka, instance_id=instance_id)
        self.source = Source(kafka, deployment.settings.repositories[0])
        self.changes = 0

    def poll(self) -> None:
        self.source.poll(0.1)
        self.changes += len(self.source.take_assigned()) + len(self.source.take_revoked())

    @property
    def generation(self) -> int | None:
        """The number of rebalances that this member has seen the group through; None while it is in one."""
        assert self.source._member is not None
        found = self.source._member.group_metadata()
        return int(found.generation_id) if found.state == MemberState.STABLE else None

    def close(self) -> None:
        self.source.close(2.0)


def poll_until(happened: Callable[[], bool], what: str, *polled: Silent) -> None:
    def poll() -> bool:
        for one in polled:
            one.poll()
        return happened()

    wait_for(poll, what)


def holding(deployment: Deployment, count: int) -> bool:
    """Whether the group has so many members, and these hold all partitions between them."""
    held = members(deployment)
    return len(held) == count and sum(map(len, held.values())) == PARTITIONS


@contextmanager
def flowing(feed: Feed, events: list[Json]) -> Iterator[None]:
    """Publish events, a few at a time, for as long as the block lasts; then the rest."""
    going_on = True
    rest = [events[begin : begin + 40] for begin in range(0, len(events), 40)]

    def publish() -> None:
        while going_on and rest:
            feed.publish(rest.pop(0))
            time.sleep(0.05)

    thread = Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        going_on = False
        thread.join()
    for part in rest:
        feed.publish(part)


def test_consumers_that_come_and_go_while_events_flow_lose_nothing(deploy: Callable[..., Deployment]) -> None:
    feed = Feed(deployment := deploy(KAFKA__SESSION_TIMEOUT=SESSION, KAFKA__MAX_POLL_RECORDS="50"))
    with ExitStack() as stack:
        first = stack.enter_context(deployment.consuming())
        wait_for(lambda: holding(deployment, 1), "the first")
        with flowing(feed, list(simulate(100, 8, max_instances=30))):
            with deployment.consuming():
                wait_for(lambda: holding(deployment, 2), "the second")
                with deployment.consuming():
                    wait_for(lambda: holding(deployment, 3), "the third")
                wait_for(lambda: holding(deployment, 2), "the third gone")
            wait_for(lambda: holding(deployment, 1), "the second gone")
        feed.wait()
        assert not first.errors
    feed.check()


def test_a_new_consumer_takes_over_partitions_and_the_others_are_read_on(deploy: Callable[..., Deployment]) -> None:
    feed = Feed(deployment := deploy(KAFKA__SESSION_TIMEOUT=SESSION))
    with stocktake_consume(deployment) as first:
        first.logs("reading topic", PARTITIONS)
        feed.publish([ct(number % 20, number, number) for number in range(100)])
        with stocktake_consume(deployment) as second:
            wait_for(lambda: holding(deployment, 2), "both")
            second.logs("reading topic", PARTITIONS // 2)
            feed.publish([ct(number % 20, number, number) for number in range(100, 200)])
            feed.wait()
            assert first.log.count("reading topic") == PARTITIONS
            second.signal(signal.SIGTERM)
            assert second.exit_code() == 0
        first.logs("reading topic", PARTITIONS + PARTITIONS // 2)
        feed.publish([ct(number % 20, number, number) for number in range(200, 220)])
        feed.wait()
        assert deployment.opened.repository.counters()["events_store"] == feed.events
    feed.check()


def test_what_is_applied_of_a_partition_is_told_and_committed_when_it_is_given_up(
    deploy: Callable[..., Deployment],
) -> None:
    """Nothing else would tell it here: the consumers publish their progress once an hour."""
    feed = Feed(deployment := deploy(KAFKA__SESSION_TIMEOUT=SESSION, CONSUMER__WATERMARK_INTERVAL="1h"))
    group = group_id(deployment.settings.kafka, deployment.name)
    servers = list(deployment.settings.kafka.bootstrap_servers)
    with deployment.consuming(), closing(KafkaConsumer(bootstrap_servers=servers, group_id=group)) as asker:
        wait_for(lambda: holding(deployment, 1), "the first")
        [first] = members(deployment)
        feed.publish([ct(number, 1, number) for number in range(40)])
        wait_for(lambda: deployment.opened.studies.count() == 40, "all applied")
        with closing(Silent(deployment, "")) as second:
            poll_until(lambda: holding(deployment, 2), "both", second)
            [moved] = [held for member, held in members(deployment).items() if member != first]
            ends = {one: feed.ends[one.partition] + 1 for one in moved}
            wait_for(lambda: {one: asker.committed(one) for one in moved} == ends, "committed")
            told = {feed.topic_id + f":{one.partition}": end - 1 for one, end in ends.items()}
            wait_for(lambda: progress_of(deployment, told) == told, "told")


def progress_of(deployment: Deployment, partitions: Iterable[str]) -> dict[str, int]:
    """The last offset that each partition's published progress stands for."""
    found = deployment.opened.repository.progress()
    return {name: one.offset for name in partitions if (one := found[name]) is not None}


def test_a_consumer_that_sleeps_through_its_session_wakes_up_as_no_danger(deploy: Callable[..., Deployment]) -> None:
    feed = Feed(deployment := deploy(KAFKA__SESSION_TIMEOUT=SESSION, KAFKA__MAX_POLL_RECORDS="50"))
    with stocktake_consume(deployment) as sleeper, stocktake_consume(deployment) as other:
        wait_for(lambda: holding(deployment, 2), "both")
        feed.publish(list(simulate(40, 9, max_instances=30)))
        sleeper.signal(signal.SIGSTOP)
        wait_for(lambda: holding(deployment, 1), "the sleeper is given up")
        feed.publish(list(simulate(40, 10, max_instances=30)))
        feed.wait()
        sleeper.signal(signal.SIGCONT)
        wait_for(lambda: holding(deployment, 2), "both again")
        feed.publish(list(simulate(40, 11, max_instances=30)))
        feed.wait()
        assert sleeper.runs
        assert other.runs
    feed.check()


# --- static members ------------------------------------------------------------------------------------------------


def test_a_static_member_that_is_restarted_within_its_session_disturbs_nobody(
    deploy: Callable[..., Deployment],
) -> None:
    deployment = deploy(KAFKA__SESSION_TIMEOUT="20s")
    with closing(Silent(deployment, "one")) as first:
        with closing(Silent(deployment, "two")) as second:
            poll_until(lambda: holding(deployment, 2), "both", first, second)
            poll_until(lambda: first.generation == second.generation is not None, "a rest", first, second)
            taken, changes, generation = second.changes, first.changes, first.generation
        before = members(deployment)
        with closing(Silent(deployment, "two")) as restarted:
            poll_until(lambda: restarted.changes == taken, "its partitions", first, restarted)
        assert (first.changes, first.generation) == (changes, generation)
        after = members(deployment)
        assert sorted(after.values()) == sorted(before.values())
        assert len(before.keys() & after.keys()) == 1


@pytest.mark.parametrize("when", ["while it is away", "afterwards"])
def test_a_partition_added_is_handed_out_although_the_leader_of_the_group_was_restarted(
    deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """A static member comes back to its old partitions without a rebalance, and does not know that it leads."""
    monkeypatch.setattr(consumers.source, "_INSPECT_SOON", 1.0)
    deployment = deploy(KAFKA__SESSION_TIMEOUT="20s")
    added = {deployment.topic: PARTITIONS + 1}
    with closing(Silent(deployment, "one")) as only:
        poll_until(lambda: holding(deployment, 1), "its partitions", only)
    if when == "while it is away":
        with broker_admin(deployment) as admin:
            admin.create_partitions(added)
    with closing(Silent(deployment, "one")) as only:
        poll_until(lambda: only.changes >= PARTITIONS, "its partitions again", only)
        if when == "afterwards":
            with broker_admin(deployment) as admin:
                admin.create_partitions(added)
        poll_until(lambda: only.changes == PARTITIONS + 1, "the new one", only)


def test_of_two_processes_with_one_instance_id_the_older_ends(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(KAFKA__SESSION_TIMEOUT="20s")
    with stocktake_consume(deployment, KAFKA__INSTANCE_ID="one") as older:
        older.logs("reading topic", PARTITIONS)
        with stocktake_consume(deployment, KAFKA__INSTANCE_ID="one") as newer:
            assert older.exit_code() == 1
            assert "give each process one of its own" in older.log
            newer.logs("reading topic", PARTITIONS)
