"""Inventory trees imported into a real Redis: the state then holds what the tree says, and events go on from there."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
import pytest
from pydicom.dataset import Dataset

from consumers.apply import Applier
from consumers.formats.native import NativeFormat
from consumers.grouping import Decoded
from consumers.owing import Owing
from consumers.simulate import simulate
from state.attributes import Level
from state.connection import Connection, Meanwhile
from state.errors import StateUnreachable
from state.record import StudyRecord
from state.repository import Progress, partition_field
from state.studies import PartsWanted, Studies
from state.times import parse_time
from stocktake import importing
from stocktake.commands import import_tree
from stocktake.exits import CommandError, Exit
from stocktake.importing import Importer, examine
from stocktake.settings import Settings, load
from stocktake.wiring import OpenRepository, open_producer, open_repository
from tests.unit.inventories import change, inventory, removed, save, scope, series, study
from writers.canonical import EncodedDataSet
from writers.compare import differences
from writers.resolve import resolve
from writers.tree import Tree, find_root, load_tree
from writers.verify import verify

EARLY, LATE = "20260102100000+0000", "20260102110000+0000"
ZERO = {
    "imported": 0,
    "completed": 0,
    "unchanged": 0,
    "newer_in_state": 0,
    "removed": 0,
    "unusable": 0,
    "parts_unusable": 0,
    "times_assumed": 0,
    "times_raised": 0,
    "values_repaired": 0,
    "values_emptied": 0,
}


@pytest.fixture
def settings(redis_url: str, repository: str, tmp_path: Path) -> Settings:
    """Of an empty state."""
    return settings_of(redis_url, repository, tmp_path)


def settings_of(redis_url: str, repository: str, folder: Path, **more: str) -> Settings:
    environ = {
        "STOCKTAKE_REDIS__URL": redis_url,
        "STOCKTAKE_INVENTORY__DIR": str(folder / "ours"),
        "STOCKTAKE_STATE__SHARDS": "4",
        f"STOCKTAKE_REPOSITORIES__{repository.upper()}__TIMEZONE": "Europe/Berlin",
    }
    return load(None, environ | more)


@contextmanager
def opened(settings: Settings) -> Iterator[OpenRepository]:
    found = open_repository(settings, None)
    try:
        yield found
    finally:
        found.close()


def save_tree(folder: Path, *made: Dataset) -> Path:
    """Write the members, the root last; its path."""
    for each in made:
        path = save(folder / f"{each.SOPInstanceUID}.dcm", each)
    return path


def run_import(path: Path, settings: Settings, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, int]:
    """Import by the command; what it printed."""
    parser = argparse.ArgumentParser()
    import_tree.configure(parser)
    args = parser.parse_args([str(path), *options], argparse.Namespace(repository=None))
    assert import_tree.run(args, settings) in {Exit.DONE, Exit.FAULTS}
    return dict(orjson.loads(capsys.readouterr().out))


def contents(settings: Settings) -> dict[str, tuple[bytes, int]]:
    """The rev and time of each study in the state."""
    with opened(settings) as state:
        return {
            read.record.study_instance_uid: (read.record.in_state.rev, read.record.update_time)
            for read in state.studies.read(all_uids(state.studies))
        }


def all_uids(studies: Studies) -> list[str]:
    return [uid for shard in range(studies.shards) for uid in studies.updated(shard, None, None)]


def record_of(settings: Settings, uid: str) -> StudyRecord:
    with opened(settings) as state:
        [read] = state.studies.read([uid])
    return read.record


Said = dict[str, tuple[int | None, bytes]]


def said_by_state(settings: Settings) -> Said:
    """What a baseline of our own, which must keep the standard's rules, says of each study."""
    with opened(settings) as state:
        produce(settings, state)
    folder = settings.inventory.dir / settings.repositories[0].name
    assert list(verify(find_root(folder))) == []
    return said_by(load_tree(folder))


def said_by(tree: Tree) -> Said:
    """Study Update DateTime and a digest of all attributes but that and Item Inventory DateTime."""
    found = {}
    for effective in resolve(tree):
        item = effective.item
        encoded = EncodedDataSet(item.data, 0, len(item.data), item.implicit, item.character_sets, 1)
        found[item.study_instance_uid] = item.study_update_datetime, encoded.digest()
    return found


def produce(settings: Settings, state: OpenRepository, kind: str = "baseline") -> None:
    """One inventory of our own chain, all that was applied being known to be so."""
    field = partition_field("id", 0)
    last = max(state.studies.offsets(field))
    state.repository.set_topics({"events": ("id", 1)})
    now = parse_time("20270101000000+0000")
    state.repository.publish_progress({field: Progress(now, last, now)})
    producer, lease = open_producer(settings, state)
    assert lease.take()
    producer.produce(kind)
    lease.release()


def apply(
    state: OpenRepository,
    messages: Sequence[Mapping[str, object]],
    settings: Settings,
    told: str = "20270101000000+0000",
) -> None:
    """Apply native events, which were told at that time, after those applied before."""
    counts: Counter[str] = Counter()
    decoder = NativeFormat(settings.consumer, ZoneInfo("UTC"), counts)  # type: ignore[arg-type]
    applier = Applier(state.studies, state.patients, Owing(state.debts, follows=False), counts)  # type: ignore[arg-type]
    field = partition_field("id", 0)
    first = applier.assign(field) + 1
    timestamp = parse_time(told)
    applier.apply(
        [
            Decoded(field, first + index, decoder.decode(orjson.dumps(message), timestamp), timestamp)
            for index, message in enumerate(messages)
        ]
    )
    applier.advance({field: first + len(messages) - 1})


def store(study_uid: str, sop_uid: str, time: str) -> dict[str, object]:
    values = {"0020000D": study_uid, "0020000E": f"{study_uid}.1", "00080018": sop_uid, "00080016": "1.2.840.10008.9"}
    dataset = {tag: {"vr": "UI", "Value": [value]} for tag, value in values.items()}
    return {"action": "store", "level": "INSTANCE", "time": time, "dataset": dataset}


def foreign_tree(folder: Path) -> Path:
    """A tree of two members with every kind of record: superseded, removed, in parts removed, empty."""
    half = study("1.5.4", LATE, parts=[series("1.5.4.1", ["1.5.4.1.1", "1.5.4.1.2"]), series("1.5.4.2", ["1.5.4.2.1"])])
    gone = half.InventoriedSeriesSequence[0].InventoriedInstancesSequence[0]
    change(gone, {"RemovedFromOperationalUse": "Y", "ReasonForRemovalCodeSequence": []})
    change(half, {"NumberOfStudyRelatedInstances": "2"})
    below = inventory("1.2.1", [study("1.5.1", EARLY), study("1.5.2", EARLY, StudyDescription="Schädel")])
    root = inventory(
        "1.2.2",
        [
            study("1.5.1", LATE, StudyDescription="Neck"),
            removed("1.5.3", recorded=LATE),
            half,
            study("1.5.5", LATE, parts=[], ModalitiesInStudy="CT"),
        ],
        [below],
    )
    return save_tree(folder, below, root)


def test_the_state_says_of_a_foreign_tree_what_the_tree_says(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    path = foreign_tree(tmp_path / "theirs")
    assert run_import(path, settings, capsys) == ZERO | {"imported": 5, "removed": 1}
    assert said_by_state(settings) == said_by(load_tree(path))


def test_the_state_says_of_our_own_tree_what_the_first_state_says(
    tmp_path: Path, redis_url: str, repository: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = settings_of(redis_url, repository, tmp_path)
    messages = list(simulate(60, 7, max_instances=40))
    with opened(first) as state:
        apply(state, messages[: len(messages) // 2], first)
        produce(first, state)
        apply(state, messages[len(messages) // 2 :], first)
        produce(first, state, "next")
        count = state.studies.count()
    folder = first.inventory.dir / repository
    second = settings_of(redis_url, "copy" + repository, tmp_path)
    summary = run_import(folder, second, capsys)
    assert (summary["imported"], summary["values_emptied"], summary["values_repaired"]) == (count, 0, 0)
    assert summary["removed"] > 0
    effective = {one.item.study_instance_uid: one.item for one in resolve(load_tree(folder))}
    with opened(second) as state:
        assert list(differences(state.studies, effective, Level.INSTANCE)) == []


def test_importing_again_changes_nothing(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    path = foreign_tree(tmp_path / "theirs")
    run_import(path, settings, capsys)
    before = contents(settings)
    assert run_import(path, settings, capsys) == ZERO | {"unchanged": 5}
    assert contents(settings) == before


def test_events_that_come_afterwards_win(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save_tree(tmp_path / "theirs", inventory("1.2.1", [study("1.5.1"), removed("1.5.2")]))
    run_import(path, settings, capsys)
    with opened(settings) as state:
        apply(
            state,
            [store("1.5.1", "1.5.1.1.3", "20260103000000+0000"), store("1.5.2", "1.5.2.1.9", "20260103000000+0000")],
            settings,
        )
    grown, revived = record_of(settings, "1.5.1"), record_of(settings, "1.5.2")
    assert sorted(uid for uid, _ in grown.instances()) == ["1.5.1.1.1", "1.5.1.1.2", "1.5.1.1.3"]
    assert grown.attributes["00081030"] == "Head"
    assert (revived.is_removed, [uid for uid, _ in revived.instances()]) == (False, ["1.5.2.1.9"])
    assert run_import(path, settings, capsys) == ZERO | {"newer_in_state": 2}
    assert record_of(settings, "1.5.1") == grown


def test_a_newer_study_in_the_state_keeps_what_events_told_and_an_older_one_is_replaced_whole(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(settings) as state:
        many = [store("1.5.2", f"1.5.2.1.{number}", "20250101000000+0000") for number in range(10, 510)]
        apply(state, [store("1.5.1", "1.5.1.1.9", "20260201000000+0000"), *many], settings)
    newer = record_of(settings, "1.5.1")
    assert len(record_of(settings, "1.5.2").chunks) > 1
    path = save_tree(tmp_path / "theirs", inventory("1.2.1", [study("1.5.1"), study("1.5.2")]))
    assert run_import(path, settings, capsys) == ZERO | {"imported": 1, "completed": 1}
    completed = record_of(settings, "1.5.1")
    assert completed.update_time == newer.update_time
    assert sorted(uid for uid, _ in completed.instances()) == ["1.5.1.1.1", "1.5.1.1.2", "1.5.1.1.9"]
    replaced = record_of(settings, "1.5.2")
    assert [uid for uid, _ in replaced.instances()] == ["1.5.2.1.1", "1.5.2.1.2"]
    assert replaced.number_of_instances == 2


def test_an_older_study_is_replaced_by_one_without_instances(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(settings) as state:
        apply(state, [store("1.5.1", "1.5.1.1.9", "20250101000000+0000")], settings)
    path = save_tree(tmp_path / "theirs", inventory("1.2.1", [study("1.5.1", parts=[])]))
    run_import(path, settings, capsys)
    replaced = record_of(settings, "1.5.1")
    assert (replaced.series, list(replaced.instances())) == ({}, [])


@pytest.mark.parametrize(
    ("offset", "moment"), [(None, "20260102083000+0100"), ("-0500", "20260102083000-0500")], ids=["Berlin", "stated"]
)
def test_a_study_without_update_time_gets_the_content_time_of_the_inventory_that_holds_it(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str], offset: str | None, moment: str
) -> None:
    below = inventory("1.2.1", [study("1.5.1", updated="")], ContentTime="083000", TimezoneOffsetFromUTC=offset)
    root = inventory("1.2.2", [study("1.5.2", updated="20260101")], [below])
    assert run_import(save_tree(tmp_path / "theirs", below, root), settings, capsys)["times_assumed"] == 1
    assert record_of(settings, "1.5.1").update_time == parse_time(moment)
    assert record_of(settings, "1.5.2").update_time == parse_time("20260101000000+0100")


class Unreliable(Studies):
    """Fails at its third write."""

    writes = 0

    def write(self, batches, *others):  # type: ignore[no-untyped-def]
        self.writes += 1
        if self.writes == 3:
            raise StateUnreachable("gone")
        return super().write(batches, *others)


def test_an_import_that_was_interrupted_says_so_and_completes_when_run_again(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = inventory("1.2.1", [study(f"1.5.{number}") for number in range(1, 11)], ScopeOfInventorySequence=[])
    path = save_tree(tmp_path / "theirs", made)

    def open_unreliable(settings: Settings, name: str | None) -> OpenRepository:
        found = open_repository(settings, name)
        studies = found.studies
        return replace(found, studies=Unreliable(found.connection, studies.repository, studies.shards))

    with monkeypatch.context() as patch:
        patch.setattr(import_tree, "open_repository", open_unreliable)
        patch.setattr(importing, "BATCH", 3)
        with pytest.raises(CommandError, match="6 studies were written") as caught:
            run_import(path, settings, capsys)
    assert caught.value.code is Exit.UNREACHABLE
    assert capsys.readouterr().out == ""
    with opened(settings) as state:
        assert not state.repository.is_whole()
    assert run_import(path, settings, capsys) == ZERO | {"imported": 4, "unchanged": 6}
    with opened(settings) as state:
        assert state.repository.is_whole()


class Contended(Studies):
    """An event is applied by a consumer just after the first read."""

    def __init__(self, connection: Connection, state: OpenRepository, settings: Settings, event: dict[str, object]):
        super().__init__(connection, state.studies.repository, state.studies.shards)
        self._event: dict[str, object] | None = event
        self._state = state
        self._its_settings = settings

    def read_parts(self, wanted: Mapping[str, PartsWanted], meanwhile: Meanwhile = None) -> dict[str, StudyRecord]:
        found = super().read_parts(wanted, meanwhile)
        event, self._event = self._event, None
        if event is not None:
            apply(self._state, [event], self._its_settings)
        return found


@pytest.mark.parametrize(("time", "left"), [("20250101000000+0000", 0), ("20260201000000+0000", 1)])
def test_a_consumer_that_writes_at_the_same_time_is_noticed(
    tmp_path: Path, settings: Settings, time: str, left: int
) -> None:
    path = save_tree(tmp_path / "theirs", inventory("1.2.1", [study("1.5.1")]))
    with opened(settings) as state:
        studies = Contended(state.connection, state, settings, store("1.5.1", "1.5.1.1.9", time))
        importer = Importer(studies, state.patients, Level.INSTANCE)
        source = examine(load_tree(path), Level.INSTANCE, ZoneInfo("UTC"), partial=False, progress=lambda: None)
        assert importer.run(source, lambda: None)
    assert importer.counts.to_json() == ZERO | {"imported": 1 - left, "completed": left}
    kept = sorted(uid for uid, _ in record_of(settings, "1.5.1").instances())
    assert kept == ["1.5.1.1.1", "1.5.1.1.2", *["1.5.1.1.9"] * left]


def test_a_tree_of_a_lower_level_than_the_states_is_refused(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    below = inventory("1.2.1", InventoryLevel="SERIES")
    path = save_tree(tmp_path / "theirs", below, inventory("1.2.2", [study("1.5.1")], [below]))
    with pytest.raises(CommandError, match=r"Level is SERIES, the state's \(inventory.level\) is INSTANCE") as caught:
        run_import(path, settings, capsys)
    assert caught.value.code is Exit.BAD_INPUT
    assert contents(settings) == {}


def test_a_tree_that_is_not_complete_is_refused_without_partial(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    made = inventory("1.2.1", [study("1.5.1")], InventoryCompletionStatus="PARTIAL", ScopeOfInventorySequence=[])
    path = save_tree(tmp_path / "theirs", made)
    with pytest.raises(CommandError, match=r"PARTIAL.*--partial") as caught:
        run_import(path, settings, capsys)
    assert caught.value.code is Exit.BAD_INPUT
    assert contents(settings) == {}
    assert run_import(path, settings, capsys, "--partial")["imported"] == 1
    with opened(settings) as state:
        assert not state.repository.is_whole()


def test_a_broken_member_is_found_before_anything_is_written(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    below = inventory("1.2.1", [study("1.5.1")])
    path = save_tree(tmp_path / "theirs", below, inventory("1.2.2", [study("1.5.2")], [below]))
    broken = tmp_path / "theirs" / "1.2.1.dcm"
    broken.write_bytes(broken.read_bytes()[:-30])
    with pytest.raises(CommandError, match="0 studies were written") as caught:
        run_import(path, settings, capsys)
    assert caught.value.code is Exit.BAD_INPUT
    assert contents(settings) == {}
    broken.unlink()
    with pytest.raises(CommandError, match="--search"):
        run_import(path, settings, capsys)


@pytest.mark.parametrize(
    ("stated", "whole"),
    [([], True), (scope(), True), (scope("20260101000000+0000"), False)],
    ids=["universal", "open beginning", "with a beginning"],
)
def test_the_state_is_whole_after_a_tree_whose_scope_has_an_open_beginning(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str], stated: list[Dataset], whole: bool
) -> None:
    made = inventory("1.2.1", [study("1.5.1")], ScopeOfInventorySequence=stated)
    run_import(save_tree(tmp_path / "theirs", made), settings, capsys)
    with opened(settings) as state:
        assert state.repository.is_whole() == whole


def test_a_study_without_a_valid_uid_is_left_out_and_said(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = study("1.5.2")
    change(bad, {"StudyInstanceUID": "no uid"})
    path = save_tree(tmp_path / "theirs", inventory("1.2.1", [study("1.5.1"), bad], ScopeOfInventorySequence=[]))
    assert run_import(path, settings, capsys) == ZERO | {"imported": 1, "unusable": 1}
    with opened(settings) as state:
        assert not state.repository.is_whole()


def test_many_batches_are_written_as_one_would_be(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = inventory("1.2.1", [study(f"1.5.{number}") for number in range(1, 26)])
    monkeypatch.setattr(importing, "_BATCH_BYTES", 1500)
    path = save_tree(tmp_path / "theirs", made)
    assert run_import(path, settings, capsys) == ZERO | {"imported": 25}
    assert len(contents(settings)) == 25
