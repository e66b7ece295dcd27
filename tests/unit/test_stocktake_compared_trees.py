"""``diff --cutover``: two trees of any writer compared by the rules of a cutover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import orjson
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from monitor.reasons import reasons
from state.comparison import Place
from state.policy import ComparisonPolicy
from stocktake.cli import main
from stocktake.compared_trees import TreeCounts, compare_trees
from stocktake.exits import Exit
from tests.unit.inventories import inventory, removed, save, series, study
from writers.reader import InvalidInventory
from writers.tree import load_tree

RULES = ComparisonPolicy("old", "new", ("PatientID", "StudyDate", "AccessionNumber"), (), "", "", None, {}, {})


def compared(
    folder: Path, source: Sequence[Dataset], target: Sequence[Dataset], rules: ComparisonPolicy = RULES
) -> tuple[dict[str, tuple[Place, list[str]]], TreeCounts]:
    counts = TreeCounts()
    a = load_tree(save(folder / "a.dcm", inventory("1.9.1", source)))
    b = load_tree(save(folder / "b.dcm", inventory("1.9.2", target), ImplicitVRLittleEndian))
    found = list(compare_trees(a, b, rules, (UTC, UTC), counts, lambda: None))
    return {one.study_instance_uid: (one.place, list(reasons(one, rules.attributes))) for one in found}, counts


def test_each_study_has_its_place_whatever_the_order(tmp_path: Path) -> None:
    one_less = [series("1.2.3.1", ["1.2.3.1.1"])]
    source = [study("1.2.1"), study("1.2.2"), study("1.2.3"), study("1.2.4"), removed("1.2.5"), removed("1.2.6")]
    target = [removed("1.2.6"), study("1.2.5"), study("1.2.4", PatientID="P2"), study("1.2.3", parts=one_less)]
    found, counts = compared(tmp_path, source, [*target, study("1.2.1"), study("1.2.7")])
    assert found == {
        "1.2.2": (Place.MISSING, ["not at the target"]),
        "1.2.3": (Place.INCOMPLETE, ["2 instances at the source, 1 at the target"]),
        "1.2.4": (Place.DIFFERENT, ["differs in PatientID"]),
        "1.2.5": (Place.REMOVED_AT_SOURCE_ONLY, ["removed at the source, still at the target"]),
        "1.2.7": (Place.EXTRA, ["not at the source"]),
    }
    assert (counts.in_source, counts.in_target, counts.left_out, counts.open) == (6, 6, 0, 5)
    assert counts.groups[Place.IN_SYNC, "CT", "2026"] == 1
    assert counts.groups[Place.REMOVED_ON_BOTH, "CT", "2026"] == 1
    assert counts.groups.total() == 7


def test_what_need_not_agree_is_not_told(tmp_path: Path) -> None:
    source = [study("1.2.1", PatientID="Pat  1"), study("1.2.2"), study("1.2.3")]
    target = [
        study("1.2.1", PatientID="PAT 1"),
        study("1.2.2", StudyDescription="Other", PatientName="Roe^Jane", recorded="20270101", updated="20270101"),
        study("1.2.3", AccessionNumber="B1"),
    ]
    mapped = replace(RULES, accession_numbers={"A1": "B1"}, attributes=("PatientID", "AccessionNumber"))
    assert compared(tmp_path, source[:2], target[:2])[0] == {}
    assert compared(tmp_path, source[2:], target[2:], mapped)[0] == {}
    assert compared(tmp_path, source[2:], target[2:])[0] == {"1.2.3": (Place.DIFFERENT, ["differs in AccessionNumber"])}


def test_series_that_are_divided_otherwise_are_different(tmp_path: Path) -> None:
    parts = [series("1.2.1.1", ["1.2.1.1.1"]), series("1.2.1.2", ["1.2.1.1.2"])]
    found, _ = compared(tmp_path, [study("1.2.1")], [study("1.2.1", parts=parts)])
    assert found == {"1.2.1": (Place.DIFFERENT, ["1 series at the source, 2 at the target"])}


@pytest.mark.parametrize(
    "rules",
    [
        replace(RULES, ignored_modalities=("CT",)),
        replace(RULES, study_date_from="20260102"),
        replace(RULES, study_date_to="20251231"),
        replace(RULES, updated_from=1_800_000_000_000_000),
    ],
)
def test_a_study_out_of_scope_is_counted_and_not_told(tmp_path: Path, rules: ComparisonPolicy) -> None:
    found, counts = compared(tmp_path, [study("1.2.1")], [], rules)
    assert found == {}
    assert counts.groups == {(Place.OUT_OF_SCOPE, "CT", "2026"): 1}


def test_a_study_without_update_time_is_older_than_any(tmp_path: Path) -> None:
    rules = replace(RULES, updated_from=2)
    found, counts = compared(tmp_path, [study("1.2.1", recorded="", updated="")], [], rules)
    assert found == {}
    assert counts.groups == {(Place.OUT_OF_SCOPE, "CT", "2026"): 1}
    assert list(compared(tmp_path, [study("1.2.1", recorded="", updated="")], [])[0]) == ["1.2.1"]


def test_a_record_whose_uid_is_none_is_counted(tmp_path: Path) -> None:
    found, counts = compared(tmp_path, [study("1.2.1"), study("1.2.2", StudyInstanceUID="no UID")], [study("1.2.1")])
    assert (found, counts.left_out, counts.in_source) == ({}, 1, 1)


def test_trees_of_different_levels_are_not_compared(tmp_path: Path) -> None:
    a = load_tree(save(tmp_path / "a.dcm", inventory("1.9.1")))
    b = load_tree(save(tmp_path / "b.dcm", inventory("1.9.2", InventoryLevel="STUDY")))
    with pytest.raises(InvalidInventory, match=r"Inventory Level STUDY, .* of INSTANCE"):
        list(compare_trees(a, b, RULES, (UTC, UTC), TreeCounts(), lambda: None))


# --- the command -----------------------------------------------------------------------------------------------


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "CUTOVER__SOURCE": "old",
        "CUTOVER__TARGET": "new",
        "CUTOVER__STUDY_DATE_FROM": "20200101",
    }.items():
        monkeypatch.setenv(f"STOCKTAKE_{name}", value)
    for name in ("OLD", "NEW"):
        monkeypatch.setenv(f"STOCKTAKE_REPOSITORIES__{name}__TOPICS", name)


@pytest.mark.usefixtures("configured")
def test_the_command_ends_with_one_if_anything_is_open(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    a = save(tmp_path / "a.dcm", inventory("1.9.1", [study("1.2.1"), study("1.2.2")]))
    b = save(tmp_path / "b.dcm", inventory("1.9.2", [study("1.2.1")]))
    assert main(["diff", str(a), str(b), "--cutover", "--json"]) == Exit.FAULTS
    missing, last = map(orjson.loads, capsysbinary.readouterr().out.splitlines())
    assert missing == {"study_instance_uid": "1.2.2", "place": "missing", "reasons": ["not at the target"]}
    assert last["records"] == {"in_source": 2, "in_target": 1, "left_out": 0}
    assert (last["counts"]["source_live"], last["counts"]["target_live"], last["counts"]["open"]) == (2, 1, 1)
    assert last["rules"]["study_date_from"] == "20200101"
    assert main(["diff", str(a), str(a), "--cutover"]) == Exit.DONE
    assert b"0 studies open, by the rules" in capsysbinary.readouterr().out


@pytest.mark.usefixtures("configured")
def test_the_command_refuses_what_makes_no_sense(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "a", "--state", "--cutover"]) == Exit.USAGE
    assert main(["diff", "a", "--cutover"]) == Exit.USAGE
    assert main(["diff", str(tmp_path / "a.dcm"), str(tmp_path / "b.dcm"), "--cutover"]) == Exit.BAD_INPUT


def test_without_a_cutover_in_the_settings_there_are_no_rules(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "a", "b", "--cutover"]) == Exit.USAGE
    assert "set cutover.source and cutover.target" in capsys.readouterr().err
