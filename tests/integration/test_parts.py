"""Inventories of more than one file may hold: parts and a root, sound and whole after any death of a writer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

import writers.runs
from state.attributes import Level
from tests.chains import STEPS, Chain, Died, die_after
from tests.kills import kill_writers
from tests.oracle.journal import own_records
from writers.manifest import Manifest
from writers.tree import load_tree


@pytest.fixture
def chain(tmp_path: Path, redis_url: str, repository: str) -> Iterator[Chain]:
    """At most two records in a file."""
    made = Chain(tmp_path, redis_url, repository, INVENTORY__MAX_RECORDS_PER_INSTANCE="2", CHAIN__ROLLUP_FANOUT="2")
    yield made
    made.deployment.close()


def parts(chain: Chain, manifest: Manifest) -> list[Path]:
    return [chain.deployment.folder / file for file in manifest.members[-1].parts]


def test_what_one_file_cannot_hold_is_split_into_parts_under_a_root_without_records(chain: Chain) -> None:
    chain.store(*range(1, 8))
    head = chain.produce()
    files = [pydicom.dcmread(path) for path in parts(chain, head)]
    root = pydicom.dcmread(chain.deployment.path(head))
    assert [len(one.InventoriedStudiesSequence) for one in files] == [2, 2, 2, 1]
    assert len(root.InventoriedStudiesSequence) == root.NumberOfStudyRecordsInInstance == 0
    assert root.TotalNumberOfStudyRecords == head.total_records == 7
    assert (root.InventoryCompletionStatus, head.kind, head.own_records) == ("COMPLETE", "baseline", 0)
    named = [one.ReferencedSOPInstanceUID for one in root.IncorporatedInventoryInstanceSequence]
    assert named == [one.SOPInstanceUID for one in files] == [*head.incorporated]
    for one in files:
        assert one.InventoryCompletionStatus == "PARTIAL"
        assert one.ScopeOfInventorySequence == root.ScopeOfInventorySequence
        assert (
            one.NumberOfStudyRecordsInInstance == one.TotalNumberOfStudyRecords == len(one.InventoriedStudiesSequence)
        )
        assert not one.IncorporatedInventoryInstanceSequence
    assert head.counts["studies"] == 7
    chain.check_no_orphans(head)


def test_parts_are_in_the_order_of_shards_and_uids_as_one_file_would_be(chain: Chain) -> None:
    chain.store(*range(1, 20))
    found = [
        (chain.deployment.opened.studies.shard_of(uid), uid)
        for path in parts(chain, chain.produce())
        for uid in (str(one.StudyInstanceUID) for one in pydicom.dcmread(path).InventoriedStudiesSequence)
    ]
    assert len(found) == 19
    assert found == sorted(found)


def test_a_chain_goes_on_over_split_inventories_and_rolls_them_up(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each inventory is checked against the oracle and the rules of the IOD as it is made."""
    monkeypatch.delattr(os, "walk")  # no reader has to search the folder: the manifest names all files
    split = 0
    for number in range(24):
        chain.store(*{number * step % 11 + 1 for step in range(number % 5 + 1)})
        head = chain.produce()
        split += bool(head.members[-1].parts)
        chain.check_no_orphans(head)
    assert split > 8
    assert any(member.tier and member.parts for member in head.members)
    tree = {node.path for node in load_tree(chain.deployment.path(head)).nodes}
    assert tree == {chain.deployment.folder / file for member in head.members for file in member.files}


def test_a_copy_without_manifests_is_read_by_what_its_references_say(
    tmp_path: Path, redis_url: str, repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"INVENTORY__MAX_RECORDS_PER_INSTANCE": "2", "ACCESS__INVENTORY_BASE_URI": "https://files.example/main/"}
    chain = Chain(tmp_path, redis_url, repository, **given)
    for number in range(4):
        chain.store(*range(number, number + 5))
        head = chain.produce()
    chain.deployment.close()
    copy = tmp_path / "copy"
    shutil.copytree(chain.deployment.folder, copy, ignore=shutil.ignore_patterns("*.json"))
    monkeypatch.delattr(os, "walk")
    tree = {node.path for node in load_tree(copy / head.file, [copy]).nodes}
    assert tree == {copy / file for member in head.members for file in member.files}


def test_a_file_is_also_full_by_its_size_and_a_larger_record_stands_alone(
    tmp_path: Path, redis_url: str, repository: str
) -> None:
    chain = Chain(tmp_path, redis_url, repository, INVENTORY__MAX_BYTES_PER_INSTANCE="3KB")
    chain.store(*range(1, 10))
    for _ in range(60):
        chain.store(4)
    sizes = [path.stat().st_size for path in parts(chain, chain.produce())]
    assert max(sizes) > 3000
    assert sum(size > 4000 for size in sizes) == 1  # a thousand bytes and more stand around the records
    chain.deployment.close()


@pytest.mark.parametrize("transfer_syntax", ["EXPLICIT", "DEFLATED"])
def test_processes_write_what_one_alone_would(
    tmp_path: Path, redis_url: str, repository: str, transfer_syntax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers.runs, "RUNS", dict.fromkeys(Level, 2))
    given = {"INVENTORY__PROCESSES": "2", "INVENTORY__TRANSFER_SYNTAX": transfer_syntax}
    chain = Chain(tmp_path, redis_url, repository, **given)
    chain.store(*range(1, 12))
    whole = chain.produce()
    assert (whole.own_records, whole.counts["studies"], whole.counts["instances"]) == (11, 11, 11)
    assert not whole.members[-1].parts
    assert len(own_records(chain.deployment.path(whole))) == 11
    assert chain.deployment.opened.studies.owed() == 0
    monkeypatch.setattr(writers.runs, "RUNS", dict.fromkeys(Level, 1))
    chain.store(*range(1, 8))
    assert chain.produce().own_records == 7
    chain.deployment.close()


def test_an_error_in_a_process_is_the_producers_and_leaves_nothing(
    tmp_path: Path, redis_url: str, repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers.runs, "RUNS", dict.fromkeys(Level, 2))
    chain = Chain(tmp_path, redis_url, repository, INVENTORY__PROCESSES="2")
    chain.store(*range(1, 9))
    key = chain.deployment.opened.studies._study_key("1.2.5")
    study = chain.deployment.redis.hget(key, "study")
    chain.deployment.redis.hset(key, "study", "not JSON")
    with pytest.raises(ValueError, match="line 1 column 1"):
        chain.deployment.produce()
    chain.deployment.redis.hset(key, "study", study)
    chain.deployment.redis.delete(chain.deployment.keys.lease)
    chain.check_no_orphans(chain.produce())
    chain.deployment.close()


class Deadly:
    """Ends the process that receives it, as the kernel does that wants its memory."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (9,)


def test_a_process_that_is_killed_is_told_and_the_next_try_begins_anew(
    tmp_path: Path, redis_url: str, repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers.runs, "RUNS", dict.fromkeys(Level, 2))
    chain = Chain(tmp_path, redis_url, repository, INVENTORY__PROCESSES="2")
    chain.store(*range(1, 12))
    with monkeypatch.context() as patch:
        patch.setattr(writers.runs.Slices, "_run", lambda *args: Deadly())
        with pytest.raises(writers.runs.ProcessDied, match=r"inventory\.processes"):
            chain.deployment.produce()
    chain.check_no_orphans(chain.produce())
    chain.deployment.close()


# --- writers that die --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
@pytest.mark.parametrize("step", STEPS)
def test_what_a_dead_writer_left_of_a_split_inventory_is_completed_or_replaced(
    chain: Chain, step: int, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain.store(1, 2, 3, 4, 5)
    if not first:
        chain.produce()
        chain.store(2, 3, 4, 5, 6, 7)
    producer, lease = chain.deployment.open_producer()
    assert lease.take()
    die_after(step, producer, monkeypatch)
    chain.deployment.redis.delete(chain.deployment.keys.lease)  # it expires
    chain.store(3, 4, 8)
    head = chain.produce()
    assert head.sequence == (1 if first else 2) + (step >= 8)
    chain.check_no_orphans(head)
    assert chain.deployment.opened.studies.owed() == 0


@pytest.mark.parametrize("call", range(6))
@pytest.mark.parametrize("place", ["publish", "_write_json"])
def test_parts_without_their_root_are_removed(
    chain: Chain, place: str, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer dies before a file, or before its manifest: of the three parts, or of the root."""
    chain.store(1, 2)
    chain.produce()
    chain.store(*range(1, 7))
    producer, lease = chain.deployment.open_producer()
    assert lease.take()
    done = getattr(producer.folder, place)
    calls = iter(range(call))

    def die_later(*args: object) -> None:
        if next(calls, None) is None:
            raise Died
        done(*args)

    monkeypatch.setattr(producer.folder, "write_head", lambda manifest: None)
    monkeypatch.setattr(producer.folder, place, die_later)
    try:
        producer.produce()
    except Died:
        assert call < 4
    monkeypatch.undo()
    chain.deployment.redis.delete(chain.deployment.keys.lease)
    head = chain.produce()
    assert head.sequence == (2 if call < 4 else 3)
    chain.check_no_orphans(head)


def test_writers_killed_at_random_moments_leave_a_chain_that_the_next_one_makes_whole(
    tmp_path: Path, redis_url: str, repository: str
) -> None:
    """A short run of ``python -m tests.kills``."""
    found = kill_writers(tmp_path, redis_url, repository, kills=3, seed=20261127)
    assert found.kills == 3
