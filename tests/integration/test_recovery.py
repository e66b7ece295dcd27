"""What docs/runbook/ says is done command by command on real servers, and what was lost is back as it was.

Two pages are done each time. With STOCKTAKE_TEST_RECOVERY=all the others are too, which takes 40 seconds more.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from state.errors import StateForgotten
from stocktake.cli import parser
from tests.chains import Chain
from tests.recorded_metrics import alerts_that_fire
from tests.recovery import losses, outage
from tests.recovery.__main__ import SAMPLES
from tests.recovery.pages import RUNBOOK, commands
from tests.recovery.recording import Recording
from tests.recovery.restored import RestoredRedis
from tests.recovery.site import Site
from tests.servers.kafka_broker import KafkaBroker
from writers.files import FolderUnusable
from writers.moment import NoWatermark

EVENTS = 40  # before each step
long = pytest.mark.skipif(
    os.environ.get("STOCKTAKE_TEST_RECOVERY") != "all", reason="long: STOCKTAKE_TEST_RECOVERY=all runs it"
)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RestoredRedis]:
    with RestoredRedis.running(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def site(tmp_path: Path, redis: RestoredRedis, kafka_broker: KafkaBroker) -> Iterator[Site]:
    if not kafka_broker.durable:
        pytest.skip("the embedded broker removes no messages and takes no partitions")
    kafka_broker.start()
    found = Site(tmp_path, redis.url, kafka_broker, seed=5)
    yield found
    found.close()


# --- the pages -----------------------------------------------------------------------------------------------------


def test_redis_lost_entirely_is_rebuilt_from_the_chain_and_the_topic_as_it_was(site: Site) -> None:
    found = losses.redis_lost(site, EVENTS)
    assert found["messages_that_kafka_no_longer_held"] > 0
    assert found["studies_of_the_topic_alone"] < found["studies"], "the topic alone would have done"
    assert found["studies_with_an_older_patient"] == 0, "each is exactly as it was"


@long
def test_redis_put_back_from_a_backup_has_what_came_since_from_kafka(site: Site, redis: RestoredRedis) -> None:
    losses.redis_restored(site, redis, EVENTS)


def test_a_folder_that_is_lost_or_put_back_begins_anew_without_a_fork(site: Site) -> None:
    losses.folder_lost(site, EVENTS)


@long
def test_partitions_added_as_the_page_says_keep_the_order_of_each_study(site: Site) -> None:
    losses.more_partitions(site, EVENTS)


def test_every_page_links_to_what_is_there() -> None:
    for page in RUNBOOK.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", sorted(path.name for path in RUNBOOK.glob("*.md")))
def test_every_command_of_a_page_is_one_that_the_program_takes(page: str) -> None:
    found = [shlex.split(line) for line in commands(page) if line.startswith("stocktake ")]
    assert found
    for _, command, *arguments in found:
        parser(command).parse_args([command, *arguments])


# --- what the writer does not do by itself -------------------------------------------------------------------------


@pytest.fixture
def chain(tmp_path: Path, redis_url: str, repository: str) -> Iterator[Chain]:
    made = Chain(tmp_path, redis_url, repository)
    for study in (1, 2, 3):
        made.store(study)
        made.produce()
    yield made
    made.deployment.close()


def forget(chain: Chain, shards: int) -> None:
    """So many shards are lost, and what the repository has once."""
    for shard in range(shards):
        chain.deployment.lose(shard, {})
    for key in chain.deployment.redis.keys(f"st:{{{chain.deployment.name}}}:*"):
        chain.deployment.redis.delete(key)
    chain.deployment.opened.repository.claim(8, chain.deployment.settings.inventory.level)


@pytest.mark.parametrize("shards", [1, 8])
@pytest.mark.parametrize("kind", ["next", "baseline", "rollup"])
def test_a_writer_does_not_go_on_beside_a_chain_that_the_state_knows_nothing_of(
    chain: Chain, shards: int, kind: str
) -> None:
    forget(chain, shards)
    files = chain.files()
    with pytest.raises(StateForgotten, match=rf"{shards} of 8 shards .*`stocktake import"):
        chain.deployment.produce(kind)
    assert chain.files() == files


def test_a_state_that_is_lost_after_the_first_inventory_is_noticed_by_what_it_lacks(
    tmp_path: Path, redis_url: str, repository: str
) -> None:
    """No shard need know of a cut then, so it is held against the studies that the head lists."""
    chain = Chain(tmp_path, redis_url, repository)
    try:
        chain.store(*range(1, 9))
        assert chain.produce().total_records == 8
        forget(chain, 8)
        chain.store(3)
        with pytest.raises(StateForgotten, match="8 of 8 shards"):
            chain.deployment.produce()
        chain.store(*range(1, 9))
        assert chain.deployment.produce().sequence == 2
    finally:
        chain.deployment.close()


def test_a_forced_baseline_vouches_for_a_state_that_was_made_again_otherwise(chain: Chain) -> None:
    head = chain.deployment.produce()
    forget(chain, 8)
    chain.store(3)
    with pytest.raises(StateForgotten, match="`stocktake baseline --force`"):
        chain.deployment.produce("baseline")
    anew = chain.deployment.produce("baseline", force=True)
    assert (anew.sequence, anew.incorporated, anew.status) == (head.sequence + 1, (), "PARTIAL")
    chain.store(4)
    assert chain.deployment.produce().sequence == anew.sequence + 1


def test_a_writer_whose_state_is_lost_while_it_takes_a_cut_makes_nothing_of_it(chain: Chain) -> None:
    chain.store(4)
    files = chain.files()
    with chain.deployment.producing() as producer:
        read, reads = producer._read_slice, []

        def lose_all(*args: Any) -> Any:
            reads.append(1)
            for shard in range(8):
                chain.deployment.lose(shard, {})
            return read(*args)

        producer._read_slice = lose_all  # type: ignore[assignment,method-assign]
        with pytest.raises(StateForgotten, match="8 of 8 shards"):
            producer.produce()
    assert reads == [1]
    assert {file for file in chain.files() if not file.startswith(".partial/")} == files
    with pytest.raises(StateForgotten, match="8 of 8 shards"):
        chain.deployment.produce()


def test_a_writer_waits_until_a_redis_that_was_put_back_has_come_past_the_head(chain: Chain) -> None:
    deployment = chain.deployment
    before = chain.deployment.opened.repository.progress()
    chain.store(4)
    head = chain.produce()
    deployment.redis.delete(deployment.keys.watermarks)
    deployment.opened.repository.publish_progress({field: one for field, one in before.items() if one is not None})
    with pytest.raises(NoWatermark, match="lost its latest writes"):
        deployment.produce()
    chain.store(5)
    assert chain.produce().sequence == head.sequence + 1


@pytest.mark.parametrize("kind", ["next", "rollup"])
def test_a_writer_incorporates_no_inventory_whose_file_is_not_there(chain: Chain, kind: str) -> None:
    head = chain.deployment.produce()
    (chain.deployment.folder / head.members[1].file).unlink()
    with pytest.raises(FolderUnusable, match=r"lacks 1 of the \d files"):
        chain.deployment.produce(kind)
    chain.store(9)
    anew = chain.produce("baseline")
    assert (anew.sequence, anew.incorporated) == (head.sequence + 1, ())


# --- outages -------------------------------------------------------------------------------------------------------


@long
def test_what_a_server_that_was_away_held_up_is_made_good_unaided(tmp_path: Path, kafka_broker: KafkaBroker) -> None:
    kafka_broker.start()
    found = outage.run_outage(tmp_path, kafka_broker, outage.REDIS_PAUSED, outage.course_of(2.0), seed=3)
    assert found.failures == []


EXPECTED = {
    outage.REDIS_PAUSED: {"StocktakeStateAway"},
    outage.REDIS_KILLED: {"StocktakeStateAway"},
    outage.KAFKA_KILLED: {"StocktakePartitionSilent", "StocktakeLagUnknown"},
}


@pytest.mark.parametrize("kind", outage.KINDS)
def test_alerts_fire_in_an_outage_of_five_minutes_and_are_over_afterwards(kind: str) -> None:
    recording = Recording.load(SAMPLES / f"{kind}.json.gz")
    gone, back = recording.away
    assert back - gone >= 300.0
    found = alerts_that_fire(recording)
    assert found.pop("StocktakeDeadLetters"), "the archive sends messages that are no events, on purpose"
    assert found.keys() >= EXPECTED[kind]
    for name, spans in found.items():
        assert spans[0][0] >= gone, f"{name} fires before anything has happened"
        assert spans[-1][1] < recording.times[-1], f"{name} is not over"
    assert min(found[name][0][0] for name in EXPECTED[kind]) < back
