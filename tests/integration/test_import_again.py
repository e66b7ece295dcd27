"""Imports that are stopped and made again, and events that tell what an imported Inventory knew already."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from consumers.clock import StopFlag
from state.keys import ShardKeys
from stocktake import importing
from stocktake.commands import import_tree
from stocktake.exits import CommandError, Exit
from stocktake.settings import Settings
from tests.integration.test_import import (
    EARLY,
    LATE,
    ZERO,
    apply,
    contents,
    opened,
    record_of,
    run_import,
    save_tree,
    settings_of,
    store,
)
from tests.unit.inventories import change, inventory, removed, study

BEFORE, BEGUN, SINCE = "20260101120000+0000", "20260102000000+0000", "20260103000000+0000"  # of Content Date and Time
TOLD_BEFORE, TOLD_SINCE = "20260101235959+0000", "20260102000100+0000"


@pytest.fixture
def settings(redis_url: str, repository: str, tmp_path: Path) -> Settings:
    """Of an empty state."""
    return settings_of(redis_url, repository, tmp_path)


def delete(study_uid: str, time: str) -> dict[str, object]:
    return {
        "action": "delete",
        "level": "STUDY",
        "time": time,
        "dataset": {"0020000D": {"vr": "UI", "Value": [study_uid]}},
    }


def sent_anew(study_uid: str) -> list[dict[str, object]]:
    """The history of a study that was deleted, and of which one instance was sent again."""
    return [
        store(study_uid, f"{study_uid}.1.1", "20260101100000+0000"),
        store(study_uid, f"{study_uid}.1.9", "20260101100100+0000"),
        delete(study_uid, "20260101110000+0000"),
        store(study_uid, f"{study_uid}.1.1", BEFORE),
    ]


def test_a_history_that_the_inventory_knew_changes_nothing_when_the_topic_is_read_from_its_beginning(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    made = inventory("1.2.1", [study("1.5.1", updated=BEFORE)], ContentTime="000000", TimezoneOffsetFromUTC="+0000")
    run_import(save_tree(tmp_path / "theirs", made), settings, capsys)
    before = contents(settings)
    with opened(settings) as state:
        apply(state, sent_anew("1.5.1"), settings, told=TOLD_BEFORE)
    assert contents(settings) == before
    with opened(settings) as state:
        apply(state, [store("1.5.1", "1.5.1.1.3", SINCE)], settings)
    found = record_of(settings, "1.5.1")
    assert not found.is_removed
    assert sorted(uid for uid, _ in found.instances()) == ["1.5.1.1.1", "1.5.1.1.2", "1.5.1.1.3"]


def test_what_is_told_after_the_inventory_was_begun_counts_though_it_is_older_than_the_record(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    made = inventory("1.2.1", [study("1.5.1", updated=BEFORE)], TimezoneOffsetFromUTC="+0000")
    run_import(save_tree(tmp_path / "theirs", made), settings, capsys)
    with opened(settings) as state:
        apply(state, [store("1.5.1", "1.5.1.1.3", "20260101000000+0000")], settings, told=TOLD_SINCE)
    assert len(list(record_of(settings, "1.5.1").instances())) == 3


def test_a_partial_inventory_may_not_have_known_what_was_told_before_it_was_begun(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    made = inventory("1.2.1", [study("1.5.1", updated=BEFORE)], InventoryCompletionStatus="PARTIAL")
    run_import(save_tree(tmp_path / "theirs", made), settings, capsys, "--partial")
    with opened(settings) as state:
        apply(state, [store("1.5.1", "1.5.1.1.3", "20260101000000+0000")], settings, told=TOLD_BEFORE)
    assert len(list(record_of(settings, "1.5.1").instances())) == 3


def test_what_is_there_already_is_counted_as_before_without_being_decoded(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repaired = study("1.5.2", PatientSex="f", PatientBirthDate="19991332")
    partless = study("1.5.3")
    change(partless.InventoriedSeriesSequence[0], {"SeriesInstanceUID": ""})
    path = save_tree(tmp_path / "theirs", inventory("1.2.1", [study("1.5.1", updated=""), repaired, partless]))
    first = run_import(path, settings, capsys)
    assert (first["values_repaired"], first["values_emptied"], first["parts_unusable"]) == (1, 1, 1)
    monkeypatch.setattr(importing, "imported_record", None)
    assert run_import(path, settings, capsys) == first | {"imported": 0, "unchanged": 3}


def test_an_item_that_says_something_else_of_the_same_time_is_not_taken_for_the_one_that_is_there(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    run_import(save_tree(tmp_path / "theirs", inventory("1.2.1", [study("1.5.1")])), settings, capsys)
    other = inventory("1.2.2", [study("1.5.1", StudyDescription="Neck")])
    same = inventory("1.2.3", [study("1.5.1", recorded="20260105000000+0000")])
    assert run_import(save_tree(tmp_path / "other", other), settings, capsys) == ZERO | {"newer_in_state": 1}
    assert run_import(save_tree(tmp_path / "same", same), settings, capsys) == ZERO | {"unchanged": 1}


def test_an_event_older_than_the_record_that_changed_it_is_not_overlooked_by_an_import_made_again(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save_tree(tmp_path / "theirs", inventory("1.2.1", [study("1.5.1", updated=LATE)]))
    run_import(path, settings, capsys)
    with opened(settings) as state:
        apply(state, [store("1.5.1", "1.5.1.1.3", EARLY)], settings)
    assert run_import(path, settings, capsys) == ZERO | {"newer_in_state": 1}


def test_studies_and_patients_that_a_shard_has_lost_are_imported_again(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [study(f"1.5.{number}", PatientID=f"P{number}") for number in range(1, 30)]
    path = save_tree(tmp_path / "theirs", inventory("1.2.1", [*made, removed("1.5.30")]))
    run_import(path, settings, capsys)
    with opened(settings) as state:
        lost = state.studies.updated(1, None, None)
        keys = [ShardKeys(state.studies.repository, shard) for shard in range(4)]
        entries = state.connection.send([("ZCARD", one.patients) for one in keys])
        # One shard has lost all that it held, another one only what it kept of patients.
        studies = [keys[1].study(uid) for uid in lost]
        state.connection.send([("DEL", key) for key in [*studies, keys[1].updated, keys[1].changed, keys[2].patients]])
    assert 0 < len(lost) < 30
    summary = run_import(path, settings, capsys)
    assert (summary["imported"], summary["unchanged"]) == (len(lost), 30 - len(lost))
    with opened(settings) as state:
        assert state.connection.send([("ZCARD", one.patients) for one in keys]) == entries


@pytest.mark.parametrize("records", [1, 15, 25], ids=["while the root is looked at", "while ranking", "while writing"])
def test_an_import_that_is_told_to_end_says_what_was_written_and_goes_on_from_there(
    records: int,
    tmp_path: Path,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = save_tree(tmp_path / "theirs", inventory("1.2.1", [study(f"1.5.{number}") for number in range(1, 11)]))

    class Signalled(StopFlag):
        """Set after so many records were read."""

        looks = 0

        def is_set(self) -> bool:
            self.looks += 1
            return self.looks > records

    @contextmanager
    def signalled() -> Iterator[StopFlag]:
        yield Signalled()

    written = 3 if records == 25 else 0
    with monkeypatch.context() as patch:
        patch.setattr(import_tree, "stopping_on_signals", signalled)
        patch.setattr(importing, "BATCH", 3)
        with pytest.raises(CommandError, match=rf"interrupted\. {written} studies were written; importing") as caught:
            run_import(path, settings, capsys)
    assert caught.value.code is Exit.INTERRUPTED
    assert len(contents(settings)) == written
    assert run_import(path, settings, capsys) == ZERO | {"imported": 10 - written, "unchanged": written}


def test_progress_on_a_terminal_tells_the_share_of_all_records(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    below = inventory("1.2.1", [study("1.5.1"), study("1.5.2")])
    path = save_tree(tmp_path / "theirs", below, inventory("1.2.2", [study("1.5.3")], [below]))
    parser = argparse.ArgumentParser()
    import_tree.configure(parser)
    args = parser.parse_args([str(path)], argparse.Namespace(repository=None))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("stocktake.progress._INTERVAL", 0.0)
    assert import_tree.run(args, settings) is Exit.DONE
    shown = capsys.readouterr().err
    assert "57 % of 7" in shown  # those of the root are read three times, the others twice
    assert "100 % of 7" in shown
