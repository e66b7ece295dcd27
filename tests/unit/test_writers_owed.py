"""What a sink is owed, by the manifests of a folder alone."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from state.deliveries import Delivered
from writers.files import InventoryFolder
from writers.manifest import Manifest, Member
from writers.owed import owed

MICROSECONDS_A_DAY = 86_400_000_000


def member(sequence: int, day: int = 1) -> Member:
    return Member(f"1.2.{sequence}", sequence, 0, f"2026/01/{day:02}/1.2.{sequence}.dcm", sequence)


def manifest(sequence: int, *below: int, day: int = 1) -> Manifest:
    """An inventory that incorporates those of these sequences."""
    itself = member(sequence, day)
    return Manifest(
        sop_instance_uid=itself.sop_instance_uid,
        repository="main",
        sequence=sequence,
        kind="delta",
        tier=0,
        level="STUDY",
        status="COMPLETE",
        cut=sequence,
        slice_from=0,
        watermark=0,
        scope_begin=0,
        scope_end=0,
        last_item_time=0,
        own_records=1,
        total_records=1,
        counts={},
        incorporated=(),
        members=(*(member(each) for each in below), itself),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        file=itself.file,
        bytes=0,
        sha256="",
        software="",
    )


class Folder(InventoryFolder):
    """With these manifests and no inventories."""

    def __init__(self, path: Path, *there: Manifest) -> None:
        super().__init__(path, "main")
        for one in there:
            beside = (self.path / one.file).with_suffix(".json")
            beside.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(orjson.dumps(one.to_json()))


def sequences(members: list[Member]) -> list[int]:
    return [one.sequence for one in members]


def at(sequence: int, start: Manifest, day: int = 1) -> Delivered:
    return Delivered(start.file, start.sequence, sequence, member(sequence, day).file if sequence else "")


def test_a_new_sink_is_owed_the_tree_of_the_head_that_it_began_with(tmp_path: Path) -> None:
    there = [manifest(1), manifest(2, 1), manifest(3, 1, 2), manifest(4, 1)]
    folder = Folder(tmp_path, *there)
    assert sequences(owed(folder, there[3], Delivered(there[3].file, 4))) == [1, 4]


def test_what_was_published_since_follows_with_what_is_replaced_by_now(tmp_path: Path) -> None:
    there = [manifest(1), manifest(2, 1), manifest(3, 1, 2), manifest(4, 1), manifest(5, 1, 4)]
    folder = Folder(tmp_path, *there)
    assert sequences(owed(folder, there[4], Delivered(there[1].file, 2))) == [1, 2, 3, 4, 5]
    assert sequences(owed(folder, there[4], at(2, there[1]))) == [3, 4, 5]
    assert sequences(owed(folder, there[4], at(4, there[1]))) == [5]
    assert owed(folder, there[4], at(5, there[1])) == []


def test_only_folders_of_days_that_can_hold_something_owed_are_searched(tmp_path: Path) -> None:
    there = [manifest(sequence, day=sequence) for sequence in range(1, 6)]
    folder = Folder(tmp_path, *there)
    (folder.path / "2026/01/01/1.2.1.json").write_bytes(b"unreadable, and not read")
    assert sequences(owed(folder, there[4], at(3, there[0], day=3))) == [4, 5]


def test_of_two_with_one_sequence_the_chain_went_on_with_the_one_of_the_higher_cut(tmp_path: Path) -> None:
    orphan = replace(
        manifest(2), sop_instance_uid="1.2.99", file="2026/01/01/1.2.99.dcm", members=(replace(member(2), file="x"),)
    )
    there = [manifest(1), orphan, replace(manifest(2, 1), cut=7), manifest(3, 1)]
    folder = Folder(tmp_path, *there)
    found = owed(folder, there[3], at(1, there[0]))
    assert [one.sop_instance_uid for one in found] == ["1.2.2", "1.2.3"]


def test_parts_what_is_not_published_yet_and_other_repositories_are_no_debt(tmp_path: Path) -> None:
    part = replace(manifest(3), sop_instance_uid="1.2.98", kind="part", members=(), file="2026/01/01/1.2.98.dcm")
    other = replace(manifest(2), sop_instance_uid="1.2.97", repository="other", file="2026/01/01/1.2.97.dcm", cut=100)
    there = [manifest(1), manifest(2, 1), manifest(3, 1, 2), manifest(4, 1), part, other]
    folder = Folder(tmp_path, *there)
    assert sequences(owed(folder, there[2], at(1, there[0]))) == [2, 3]


def test_an_inventory_that_somebody_removed_is_told_and_gone_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there = [manifest(1), manifest(3), manifest(4, 1, 3)]
    with caplog.at_level(logging.WARNING):
        assert sequences(owed(Folder(tmp_path, *there), there[2], at(1, there[0]))) == [3, 4]
    assert "inventory 2 of the chain is not there any more; going on without" in caplog.text
