"""The chain of inventories: sound in each pair, shallow for ever, whole after any death of a writer or loss."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from state.chain import Cuts
from state.errors import Fenced
from state.times import MICROSECONDS, to_iso
from tests.chains import STEPS, Chain, Died, ct, die_after
from tests.long_chain import grow
from tests.oracle.adversary import BEGIN
from tests.oracle.journal import own_records
from writers.manifest import Manifest
from writers.produce import Producer
from writers.reader import InventoryFile
from writers.tree import load_tree


@pytest.fixture
def chain(tmp_path: Path, redis_url: str, repository: str) -> Iterator[Chain]:
    made = Chain(tmp_path, redis_url, repository)
    yield made
    made.deployment.close()


def update_times(path: Path) -> dict[str, str]:
    """Study Update DateTime of each own record, as plain pydicom reads it."""
    return {str(one.StudyInstanceUID): str(one.StudyUpdateDateTime) for one in read(path).InventoriedStudiesSequence}


def read(path: Path) -> pydicom.Dataset:
    return pydicom.dcmread(path)


def references(items: Any) -> list[Any]:
    """(0008,0422) as nested lists of UIDs."""
    return [
        [str(one.ReferencedSOPInstanceUID), references(one.get("IncorporatedInventoryInstanceSequence", []))]
        for one in items
    ]


# --- every pair --------------------------------------------------------------------------------------------------


def test_every_member_is_within_what_incorporates_it(chain: Chain) -> None:
    """Records within the Scope, counts that add up, copies of 0008,0422 that are true (C.38.1.1.5, C.38.2.3)."""
    chain.store(1, 2, 3)
    head = chain.produce()
    for number in range(20):
        chain.store(number % 5, 10 + number, at=chain.second - 3 * number)
        head = chain.produce()
    members = {node.sop_instance_uid: read(node.path) for node in load_tree(chain.deployment.path(head)).nodes}
    assert len(members) > 3
    for uid, member in members.items():
        below = references(member.IncorporatedInventoryInstanceSequence)
        total = len(member.InventoriedStudiesSequence)
        [scope] = member.ScopeOfInventorySequence
        begin, end = (str(one.StudyUpdateDateTime) for one in scope.RangeMatchingSequence)
        for other, its_own in below:
            incorporated = members[other]
            assert its_own == references(incorporated.IncorporatedInventoryInstanceSequence), f"{uid} copies {other}"
            total += incorporated.TotalNumberOfStudyRecords
        for inner in flatten(below):
            for record in members[inner].InventoriedStudiesSequence:
                assert begin <= str(record.StudyUpdateDateTime) <= end, f"{inner} within the Scope of {uid}"
        assert member.NumberOfStudyRecordsInInstance == len(member.InventoriedStudiesSequence)
        assert member.TotalNumberOfStudyRecords == total


def flatten(below: list[Any]) -> Iterator[str]:
    for uid, further in below:
        yield uid
        yield from flatten(further)


def test_a_chain_of_300_deltas_stays_shallow_and_its_heads_small(chain: Chain) -> None:
    """A rollup of tier k holds at least fanout**k inventories, so with n of them there are 1 + log(n) tiers, each with
    at most fanout members at the top of the chain; the baseline is below all of those.
    """
    deltas, fanout = 300, chain.deployment.settings.chain.rollup_fanout
    chain.store(*range(10))
    chain.produce()
    deepest = fanout * (1 + math.floor(math.log(deltas, fanout)))
    depths, headers, own = [], [], []
    with chain.deployment.producing() as producer:
        for number in range(deltas):
            chain.store(number % 10)
            head = producer.produce()
            with InventoryFile(chain.deployment.path(head)) as file:
                headers.append(len(file.header_data))
            depths.append(len(head.members) - 1)
            own.append(head.own_records)
    assert head.sequence == deltas + 1
    assert max(depths) <= deepest
    each = max(headers) / max(depths)
    assert max(headers) <= 1000 + 200 * deepest, f"{each:.0f} bytes for each member"
    assert max(own) <= 10  # however many inventories a rollup replaces, a study comes once
    assert max(node.depth for node in load_tree(chain.deployment.path(head)).nodes) == depths[-1]
    chain.check(head)


def test_a_baseline_starts_over(chain: Chain) -> None:
    chain.store(1, 2)
    chain.produce()
    chain.store(3)
    chain.produce()
    baseline = chain.produce("baseline")
    assert (baseline.kind, baseline.incorporated, baseline.own_records, baseline.sequence) == ("baseline", (), 3, 3)
    chain.store(2)
    delta = chain.produce()
    assert delta.incorporated == (baseline.sop_instance_uid,)
    assert len(load_tree(chain.deployment.path(delta)).nodes) == 2


def test_a_delta_is_written_also_when_nothing_changed(chain: Chain) -> None:
    chain.store(1)
    chain.produce()
    empty = chain.produce()
    made = read(chain.deployment.path(empty))
    assert len(made.InventoriedStudiesSequence) == made.NumberOfStudyRecordsInInstance == 0
    assert made.TotalNumberOfStudyRecords == 1


def test_a_forced_cut_says_partial_and_the_next_says_complete_only_when_the_watermark_has_reached_it(
    chain: Chain,
) -> None:
    chain.store(1)
    chain.produce()
    chain.store(2)
    forced = chain.produce(force=True)
    assert read(chain.deployment.path(forced)).InventoryCompletionStatus == "PARTIAL"
    # The watermark is that of the archive's clock, far behind the moment of the forced cut.
    chain.store(3)
    behind = chain.produce()
    assert chain.deployment.opened.repository.watermark().time == chain.deployment.clock.now < behind.watermark
    assert read(chain.deployment.path(behind)).InventoryCompletionStatus == "PARTIAL"
    chain.deployment.clock.now = behind.watermark + MICROSECONDS
    chain.second = (chain.deployment.clock.now - BEGIN) // MICROSECONDS
    chain.store(4)
    assert read(chain.deployment.path(chain.produce())).InventoryCompletionStatus == "COMPLETE"


def test_however_many_studies_are_older_than_the_start_all_count_as_updated_then(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some at a time, and with a sign of life each time: it may be all of a large archive."""
    monkeypatch.setattr("state.chain._PAGE", 2)
    chain.store(*range(1, 41))
    opened, calls = chain.deployment.opened, list[int]()
    start = BEGIN + 1_000 * MICROSECONDS
    indexes = [keys.updated for keys in chain.deployment.shard_keys]
    chain.deployment.redis.zadd(indexes[0], {"9.9": BEGIN})  # of no study: the script leaves it as it is
    assert Cuts(opened.connection, opened.studies).set_start(start, lambda: calls.append(1)) == 40
    assert len(calls) > 1
    older = [chain.deployment.redis.zrangebyscore(one, "-inf", f"({start}") for one in indexes]
    assert older == [[b"9.9"], *([] for _ in indexes[1:])]


def test_events_older_than_the_start_count_as_updated_at_it(tmp_path: Path, redis_url: str, repository: str) -> None:
    start = BEGIN + 100 * MICROSECONDS
    chain = Chain(tmp_path, redis_url, repository, CHAIN__START=to_iso(start))
    chain.second = 200
    chain.store(1, at=50)
    chain.store(2, at=150)
    first = chain.produce()
    chain.store(3, at=60)
    second = chain.produce()
    chain.deployment.close()
    assert first.scope_begin == second.scope_begin == start
    times = update_times(chain.deployment.path(first)) | update_times(chain.deployment.path(second))
    assert times == {
        "1.2.1": "20260921141500.000000+0000",
        "1.2.2": "20260921141550.000000+0000",
        "1.2.3": "20260921141500.000000+0000",
    }


def test_without_a_start_the_chain_begins_with_the_oldest_study(chain: Chain) -> None:
    chain.second = 100
    chain.store(1, at=50)
    chain.store(2, at=70)
    first = chain.produce()
    assert first.scope_begin == BEGIN + 50 * MICROSECONDS
    chain.store(3, at=20)
    second = chain.produce()
    assert second.scope_begin == first.scope_begin
    assert update_times(chain.deployment.path(second)) == {"1.2.3": "20260921141410.000000+0000"}


# --- writers that die --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
@pytest.mark.parametrize("step", STEPS)
def test_what_a_dead_writer_left_is_completed_or_replaced(
    chain: Chain, step: int, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain.store(1, 2)
    if not first:
        chain.produce()
        chain.store(2, 3)
    producer, lease = chain.deployment.open_producer()
    assert lease.take()
    die_after(step, producer, monkeypatch)
    chain.deployment.redis.delete(chain.deployment.keys.lease)  # it expires
    chain.store(3, 4)
    head = chain.produce()
    # One that died after the file had its name and manifest is completed, and the next comes after it.
    assert head.sequence == (1 if first else 2) + (step >= 8)
    chain.check_no_orphans(head)
    assert chain.deployment.opened.studies.owed() == 0
    assert chain.deployment.redis.get(chain.deployment.keys.plan) is None
    assert chain.produce().own_records == 0


@pytest.mark.parametrize("step", [5, 7.5], ids=["in the records", "between rename and manifest"])
def test_what_a_writer_left_half_written_is_discarded(
    chain: Chain, step: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain.store(1, 2)
    chain.produce()
    chain.store(2, 3)
    producer, lease = chain.deployment.open_producer()
    assert lease.take()

    def die(*args: object) -> None:
        raise Died

    if step == 5:
        monkeypatch.setattr(producer, "_tell", die)
    else:
        monkeypatch.setattr(producer.folder, "_write_json", die)
    if step == 7.5:
        monkeypatch.setattr(producer.folder, "write_head", lambda manifest: None)
    with pytest.raises(Died):
        producer.produce()
    monkeypatch.undo()
    chain.deployment.redis.delete(chain.deployment.keys.lease)
    head = chain.produce()
    assert head.sequence == 2
    chain.check_no_orphans(head)


# --- two writers -------------------------------------------------------------------------------------------------


def test_only_one_writer_has_the_lease(chain: Chain) -> None:
    (_, first), (_, second) = chain.deployment.open_producer(), chain.deployment.open_producer()
    assert first.take()
    assert not second.take()
    first.release()
    assert second.take()
    with pytest.raises(Fenced):
        first.keep()


OVERTAKEN_BEFORE = {
    "the plan": (Producer, "_plan"),
    "the cut": (Producer, "_cut"),
    "the records": (Producer, "_read_whole_slice"),
    "the header": (Producer, "_assemble"),
    "the rename": ("folder", "publish"),
    "the head moves": (Producer, "_move_head"),
    "it strikes off": (Producer, "_settle"),
}


@pytest.mark.parametrize("moment", OVERTAKEN_BEFORE)
def test_a_writer_that_was_overtaken_publishes_nothing_and_harms_nothing(
    chain: Chain, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands still (a paused machine) until another has taken the lease and produced, then goes on."""
    chain.store(1, 2)
    chain.produce()
    chain.store(2, 3)
    slow, lease = chain.deployment.open_producer()
    assert lease.take()
    owner, name = OVERTAKEN_BEFORE[moment]
    target: Any = slow.folder if owner == "folder" else slow
    original = getattr(target, name)
    heads: list[Manifest] = []

    def overtaken(*args: Any, **given: Any) -> Any:
        if not heads:
            chain.deployment.redis.delete(chain.deployment.keys.lease)
            chain.store(4)
            heads.append(chain.produce())
        return original(*args, **given)

    monkeypatch.setattr(target, name, overtaken)
    with pytest.raises(Fenced):
        slow.produce()
    [head] = heads
    chain.check(head)  # all that it incorporates is still there
    chain.check_no_orphans(head)
    chain.store(5)
    chain.check_no_orphans(chain.produce())


# --- Redis that lost something -----------------------------------------------------------------------------------


def test_a_redis_that_lost_its_head_goes_on_from_head_json(chain: Chain) -> None:
    chain.store(1)
    chain.produce()
    chain.store(2)
    before = chain.produce()
    chain.deployment.redis.delete(chain.deployment.keys.chain)
    chain.store(3)
    head = chain.produce()
    assert head.sequence == before.sequence + 1
    assert head.incorporated == (before.sop_instance_uid,)
    chain.check_no_orphans(head)


def test_a_cut_whose_plan_was_lost_is_not_taken_again_for_a_later_moment(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer took the cut and died; the server of the repository's own keys failed over and lost plan and cut;
    the shards, on other servers, did not. What was applied since belongs to the next cut, which must still reach it.
    """
    chain.store(1)
    chain.produce()
    kept = chain.deployment.redis.dump(chain.deployment.keys.chain)
    producer, lease = chain.deployment.open_producer()
    assert lease.take()
    die_after(4, producer, monkeypatch)
    redis, keys = chain.deployment.redis, chain.deployment.keys
    redis.delete(keys.lease, keys.plan)
    redis.restore(keys.chain, 0, kept, replace=True)  # type: ignore[arg-type]
    chain.store(2)
    assert own_records(chain.deployment.path(chain.produce())) == {"1.2.2"}


def test_shards_that_lose_writes_while_the_slice_is_read_are_waited_for(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain.store(1)
    chain.produce()
    before = chain.deployment.dump_shards()
    chain.store(2)
    producer, lease = chain.deployment.open_producer()
    assert lease.take()
    read_slice = producer._read_slice
    reads: list[int] = []

    def lose_once(*args: Any) -> Any:
        if not reads:
            for shard, held in enumerate(before):
                chain.deployment.lose(shard, held)
        reads.append(1)
        found = read_slice(*args)
        if len(reads) == 1:
            chain._offset -= 1
            chain.deployment.apply([(ct(2, 2, 2), chain.deployment.clock.now)], chain._offset)
            chain._offset += 1
        return found

    monkeypatch.setattr(producer, "_read_slice", lose_once)
    head = producer.produce()
    assert len(reads) == 2
    chain.check(head)


def test_a_record_is_written_at_most_once_more_for_each_tier(chain: Chain) -> None:
    """A short run of ``python -m tests.long_chain``, which also checks depth and size of the heads."""
    grown = grow(chain, 80)
    assert grown.highest_tier == 2
    assert grown.written < 2 * grown.owed
