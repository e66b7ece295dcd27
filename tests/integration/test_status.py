"""How a repository stands, told from a real state: what is applied, what is owed, what holds the watermark back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from consumers.simulate import simulate
from monitor.partitions import BrokerPartition, BrokerPartitions, Hold, Patience
from monitor.status import HEAD_FIELDS, Status, status
from state.chain import Chain, Cuts, Lease
from state.deliveries import Delivered, Deliveries
from state.keys import RepositoryKeys
from state.repository import NO_HEARTBEAT, Progress, partition_field
from state.times import MICROSECONDS, to_iso
from tests.harness import Deployment

NOW: Final = 1_790_000_000 * MICROSECONDS
PATIENCE: Final = Patience(silent=10, behind=15)
FIELDS: Final = [partition_field("topic-id", number) for number in range(3)]


@pytest.fixture
def deployment(tmp_path: Path, redis_url: str, repository: str) -> Iterator[Deployment]:
    made = Deployment(tmp_path, redis_url, repository)
    made.clock.now = NOW
    yield made
    made.close()


def stands(deployment: Deployment, ends: BrokerPartitions | None = None, sinks: Sequence[str] = ()) -> Status:
    opened = deployment.opened
    name = opened.policy.name
    chain, deliveries = Chain(opened.connection, name), Deliveries(opened.connection, name)
    now = deployment.clock.now
    memory = opened.connection.memory()
    return status(
        opened.repository, opened.studies, chain, ends, now, PATIENCE, deliveries, sinks, opened.debts, memory
    )


def ends(*last: int) -> BrokerPartitions:
    return {FIELDS[number]: BrokerPartition("pacs", number, offset) for number, offset in enumerate(last)}


def follow(deployment: Deployment, applied: int, **seconds_ago: float) -> None:
    """Three partitions, applied up to here by every shard; ``watermark`` and ``asked`` of the second one as given."""
    deployment.opened.repository.set_topics({"pacs": ("topic-id", 3)})
    for keys in deployment.shard_keys:
        deployment.redis.hset(keys.offsets, mapping=dict.fromkeys(FIELDS, applied))
    found = {field: Progress(NOW - 5 * MICROSECONDS, applied, NOW) for field in FIELDS}
    watermark, asked = (NOW - round(seconds_ago.get(name, 5.0) * MICROSECONDS) for name in ("watermark", "asked"))
    found[FIELDS[1]] = Progress(watermark, applied, asked)
    deployment.opened.repository.publish_progress(found)


def test_a_new_repository_waits_for_its_first_consumer(deployment: Deployment) -> None:
    found = stands(deployment, ends(9, -1, 4))
    assert found.held_back_by == (Hold("", "no consumer has seen the topics yet"),)
    assert (found.watermark, found.head, found.oldest_debt, found.lag) == (None, None, None, 15)
    assert [(one.topic, one.partition, one.lag) for one in found.partitions] == [
        ("pacs", number, lag) for number, lag in enumerate((10, 0, 5))
    ]


def test_a_repository_that_is_followed_is_held_back_by_nothing(deployment: Deployment) -> None:
    follow(deployment, 9)
    found = stands(deployment, ends(9, 9, 12))
    assert found.held_back_by == ()
    assert found.watermark_age == 5
    assert [one.lag for one in found.partitions] == [0, 0, 3]
    assert found.lag == 3


def test_without_the_broker_everything_but_the_lag_is_known(deployment: Deployment) -> None:
    follow(deployment, 9)
    found = stands(deployment)
    assert found.lag is None
    assert [(one.applied_offset, one.last_offset, one.lag) for one in found.partitions] == [(9, None, None)] * 3


def test_a_partition_without_a_consumer_is_named_with_since_when(deployment: Deployment) -> None:
    follow(deployment, 9, watermark=65, asked=60)
    asked = to_iso(NOW - 60 * MICROSECONDS)
    assert stands(deployment, ends(9, 9, 9)).held_back_by == (Hold("pacs/1", "no consumer has published", asked, 60),)


def test_a_partition_that_is_still_being_applied_is_named_with_how_far_it_is(deployment: Deployment) -> None:
    follow(deployment, 9, watermark=3600, asked=1)
    [hold] = stands(deployment, ends(9, 5000, 9)).held_back_by
    assert (hold.partition, hold.seconds) == ("pacs/1", 3600)


def test_a_partition_that_no_consumer_ever_read_is_named(deployment: Deployment) -> None:
    follow(deployment, 9)
    deployment.opened.repository.set_topics({"pacs": ("topic-id", 4)})
    found = stands(deployment)
    assert found.watermark is None
    assert found.held_back_by == (Hold("pacs/3", "no consumer has published how far it is"),)


def test_a_partition_that_is_applied_again_is_named_with_where_it_is(deployment: Deployment) -> None:
    follow(deployment, 9)
    deployment.opened.studies.lower_offsets(FIELDS[2], 3)
    found = stands(deployment, ends(9, 9, 9))
    assert [one.lag for one in found.partitions] == [0, 0, 6]
    [hold] = found.held_back_by
    assert hold.partition == "pacs/2"
    assert hold.why.startswith("applied again from offset 4: ")


def test_a_topic_that_was_made_anew_is_told_apart_from_the_old_one(deployment: Deployment) -> None:
    follow(deployment, 9)
    anew = {partition_field("new-id", number): BrokerPartition("pacs", number, 2) for number in range(3)}
    found = stands(deployment, anew)
    assert found.lag == 9
    assert sum(hold.why.startswith("Kafka no longer has it") for hold in found.held_back_by) == 3
    assert sum(hold.why.startswith("no consumer has published") for hold in found.held_back_by) == 3


def test_the_oldest_debt_counts_the_cuts_that_passed_a_study_over(deployment: Deployment) -> None:
    opened = deployment.opened
    cuts = Cuts(opened.connection, opened.studies)
    deployment.apply([(event, NOW) for event in simulate(4, 1, start=NOW - 3600 * MICROSECONDS, max_instances=3)])
    found = [stands(deployment).oldest_debt]
    for n in (1, 2):
        cuts.take(n, None, NOW, {})
        found.append(stands(deployment).oldest_debt)
    assert found == [0, 1, 2]


def test_the_head_is_told_with_its_age_and_leaves_nothing_owed(deployment: Deployment) -> None:
    deployment.apply([(event, NOW) for event in simulate(4, 1, start=NOW - 3600 * MICROSECONDS, max_instances=3)])
    manifest = deployment.produce()
    found = stands(deployment)
    assert found.head is not None
    assert (found.head["kind"], found.head["own_records"]) == ("baseline", found.studies)
    assert found.head_age == (NOW - manifest.watermark) / MICROSECONDS
    assert (found.backlog, found.oldest_debt) == (0, None)


def test_a_sink_is_behind_by_what_it_is_owed(deployment: Deployment) -> None:
    """Of what was there when it came, that is what the head reaches; of the rest all."""
    opened = deployment.opened
    lease, deliveries = Lease(opened.connection, opened.policy.name, 30), Deliveries(opened.connection, deployment.name)
    assert lease.take()
    members = [{"sequence": sequence} for sequence in (1, 9, 12)]
    manifest = dict.fromkeys(HEAD_FIELDS, 0) | {"watermark": to_iso(NOW), "sequence": 12, "members": members}
    Chain(opened.connection, deployment.name).move_head(lease.token, 0, manifest)
    deliveries.write(
        lease.token, "vna", Delivered("a", 9, sequence=1, inventories=1, trouble="away", since=NOW - 10**6)
    )
    vna, new = stands(deployment, sinks=["vna", "new"]).sinks
    assert (vna.behind, vna.inventories, vna.trouble, vna.trouble_age) == (1 + 3, 1, "away", 1.0)
    assert (new.behind, new.sequence, new.trouble) == (3, 0, None)


def test_a_bridge_that_never_beat_holds_everything_back_and_one_that_stopped_is_named(deployment: Deployment) -> None:
    repository = deployment.opened.repository
    repository.set_topics({"pacs": ("topic-id", 1)})
    repository.publish_progress({FIELDS[0]: Progress(0, 4, NOW, NO_HEARTBEAT)})
    found = stands(deployment)
    assert (found.watermark, found.heartbeat_age) == (None, None)
    assert [hold.why for hold in found.held_back_by] == ["no heartbeat has come; does the bridge run?"]
    beaten = NOW - 600 * MICROSECONDS
    repository.publish_progress({FIELDS[0]: Progress(beaten, 4, NOW, beaten)})
    repository.publish_progress({FIELDS[0]: Progress(0, 4, NOW, NO_HEARTBEAT)})  # a consumer that was started again
    found = stands(deployment)
    assert (found.watermark, found.heartbeat_age) == (to_iso(beaten), 600.0)
    for keys in deployment.shard_keys:
        deployment.redis.hset(keys.offsets, FIELDS[0], 4)
    [hold] = stands(deployment).held_back_by
    assert hold.why == "no later heartbeat has come; does the bridge get on?"
    repository.publish_progress({FIELDS[0]: Progress(NOW, 4, NOW)})  # none are expected any more
    assert stands(deployment).heartbeat_age is None


def test_who_leads_and_what_is_in_hand_is_told(deployment: Deployment) -> None:
    opened = deployment.opened
    chain, lease = Chain(opened.connection, deployment.name), Lease(opened.connection, deployment.name, 30)
    assert (stands(deployment).led, stands(deployment).cut_age) == (False, None)
    assert lease.take()
    now = deployment.clock.now = opened.connection.now()
    chain.write_plan(lease.token, {"cut": 4}, 4)
    deployment.redis.hset(RepositoryKeys(deployment.name).chain, "begun", f"4 {now // MICROSECONDS - 100}")
    chain.write_plan(lease.token, {"cut": 4, "parts": ["1.2"]}, 4)  # the same cut, and begun when it was
    found = stands(deployment)
    assert found.led
    assert found.cut_age is not None
    assert 100 <= found.cut_age < 102
    chain.write_plan(lease.token, {"cut": 5}, 5)
    age = stands(deployment).cut_age
    assert age is not None
    assert age < 50
    chain.write_plan(lease.token, None)
    lease.release()
    assert (stands(deployment).led, stands(deployment).cut_age) == (False, None)


def test_a_plan_of_a_version_that_notes_no_beginning_has_no_age(deployment: Deployment) -> None:
    deployment.redis.set(RepositoryKeys(deployment.name).plan, '{"cut": 7}')
    assert stands(deployment).cut_age is None
    deployment.redis.hset(RepositoryKeys(deployment.name).chain, "begun", "6 1790000000")
    assert stands(deployment).cut_age is None


def test_the_last_verification_is_told_and_whether_it_was_of_the_head(deployment: Deployment) -> None:
    repository = deployment.opened.repository
    assert stands(deployment).verified is None
    deployment.apply([(event, NOW) for event in simulate(4, 1, start=NOW - 3600 * MICROSECONDS, max_instances=3)])
    manifest = deployment.produce()
    for uid, findings, is_head in ((manifest.sop_instance_uid, 0, True), ("1.2.3", 2, False)):
        repository.set_verified(uid, findings, NOW - 90 * MICROSECONDS)
        found = stands(deployment).verified
        assert found is not None
        assert (found.findings, found.age, found.is_head) == (findings, 90, is_head)


def test_the_memory_of_redis_is_told(deployment: Deployment) -> None:
    found = stands(deployment).memory
    assert found is not None
    assert found.used > 100_000
