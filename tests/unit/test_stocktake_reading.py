"""``show``, ``verify``, ``resolve`` and ``diff`` as a user runs them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from stocktake.cli import main
from stocktake.exits import Exit
from tests.unit.inventories import instance, inventory, removed, save, study


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """A chain of two: 1.5.1 was renamed since, 1.5.2 removed."""
    old = inventory("1.2.1", [study("1.5.1"), study("1.5.2"), study("1.5.3")])
    gone = removed("1.5.2", recorded="20260103")
    renamed = study("1.5.1", "20260103", PatientName="Smith^Jané=緑", AccessionNumber="a,b")
    new = inventory("1.2.2", [renamed, gone], [old], InventoryInstanceDescription="delta 2")
    save(tmp_path / "old" / "1.2.1.dcm", old)
    return save(tmp_path / "1.2.2.dcm", new)


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    code = main([str(each) for each in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_resolve_writes_the_effective_records_as_dicom_json(head: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "resolve", head)
    assert (code, err) == (Exit.DONE, "")
    records = {record["0020000D"]["Value"][0]: record for record in map(json.loads, out.splitlines())}
    assert records.keys() == {"1.5.1", "1.5.3"}
    assert records["1.5.1"]["00100010"]["Value"] == [{"Alphabetic": "Smith^Jané", "Ideographic": "緑"}]
    first = records["1.5.1"]["00080424"]["Value"][0]["00080425"]["Value"][0]
    assert first["00080018"] == {"vr": "UI", "Value": ["1.5.1.1.1"]}
    assert Dataset.from_json(records["1.5.1"]).StudyDescription == "Head"


def test_resolve_writes_removed_studies_when_asked(head: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "resolve", head.parent, "--removed")
    assert [json.loads(line).get("00080405", {}).get("Value") for line in out.splitlines()] == [None, ["Y"], None]


def test_resolve_writes_csv_with_chosen_columns(head: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = "StudyInstanceUID,PatientName,AccessionNumber,RetrieveURL"
    _, out, _ = run(capsys, "resolve", head, "--format", "csv", "--columns", columns)
    assert list(csv.reader(io.StringIO(out))) == [
        columns.split(","),
        ["1.5.1", "Smith^Jané=緑", "a,b", ""],
        ["1.5.3", "Doe^Jane", "A1", ""],
    ]


def test_resolve_names_its_output_only_when_it_is_whole(
    head: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.ndjson"
    assert run(capsys, "resolve", head, "--output", output)[:2] == (Exit.DONE, "")
    assert len(output.read_text().splitlines()) == 2
    output.unlink()
    head.write_bytes(head.read_bytes()[:-20])
    code, _, err = run(capsys, "resolve", head, "--output", output)
    assert code == Exit.BAD_INPUT
    assert str(head) in err
    assert not list(tmp_path.glob("out*"))
    assert run(capsys, "resolve", head.parent / "old", "--output", tmp_path / "none" / "x")[0] == Exit.USAGE


@pytest.mark.parametrize("command", ["resolve", "diff"])
def test_an_incomplete_tree_is_bad_input_in_one_line(
    head: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (head.parent / "old" / "1.2.1.dcm").unlink()
    code, out, err = run(capsys, command, head, *([head] if command == "diff" else []))
    assert (code, out) == (Exit.BAD_INPUT, "")
    assert "1.2.1 is not in" in err
    assert err.count("\n") == 1


def test_members_are_found_where_search_says(head: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = head.parent / "elsewhere" / "1.2.1.dcm"
    elsewhere.parent.mkdir()
    (head.parent / "old" / "1.2.1.dcm").rename(elsewhere)
    moved = head.rename(head.parent / "old" / head.name)
    assert run(capsys, "resolve", moved)[0] == Exit.BAD_INPUT
    assert run(capsys, "resolve", moved, "--search", elsewhere.parent)[0] == Exit.DONE


def test_show_describes_without_patient_attributes(head: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", head)
    assert code == Exit.DONE
    for text in ("1.2.2", "INSTANCE", "COMPLETE", "delta 2", "Explicit VR Little Endian", "from open to 2026-01-02"):
        assert text in out
    assert out.splitlines()[-1] == f"  1.2.1  {head.parent / 'old' / '1.2.1.dcm'}"
    assert "Smith" not in out


def test_show_tells_a_member_that_is_not_found_and_counts_as_json(
    head: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (head.parent / "old" / "1.2.1.dcm").unlink()
    shown: dict[str, Any] = json.loads(run(capsys, "show", head, "--json")[1])
    assert shown["incorporates"] == [
        {"sop_instance_uid": "1.2.1", "file": None, "said_to_be_at": "", "incorporates": []}
    ]
    assert (shown["study_records"], shown["removed_study_records"]) == (2, 1)
    assert (shown["number_of_study_records"], shown["total_number_of_study_records"]) == (2, 5)
    assert shown["bytes"] == head.stat().st_size


def test_verify_of_a_good_tree_is_done(head: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "verify", head.parent) == (Exit.DONE, "no findings\n", "")


def test_verify_names_faults_and_fails(head: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (head.parent / "old" / "1.2.1.dcm").unlink()
    code, out, _ = run(capsys, "verify", head)
    assert code == Exit.FAULTS
    assert out.splitlines()[0].startswith(f"error: {head}: (0008,0422) 1.2.1: ")
    assert out.splitlines()[-1] == "1 finding"
    code, out, _ = run(capsys, "verify", head, "--json")
    assert code == Exit.FAULTS
    assert json.loads(out)["rule"] == "missing-member"


def test_verify_shows_some_of_many_equal_faults_and_json_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [study(f"1.5.{number}", PatientID=None) for number in range(50)]
    path = save(tmp_path / "a.dcm", inventory("1.2.1", records))
    lines = run(capsys, "verify", path)[1].splitlines()
    assert len(lines) == 22
    assert "30 more" in lines[-2]
    assert len(run(capsys, "verify", path, "--json")[1].splitlines()) == 50


def test_verify_of_a_file_that_is_no_inventory_is_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.dcm"
    path.write_text("no DICOM")
    assert run(capsys, "verify", path)[0] == Exit.FAULTS


def test_diff_names_what_differs_and_fails(head: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "diff", head.parent / "old" / "1.2.1.dcm", head)
    assert code == Exit.FAULTS
    assert out.splitlines() == [
        "different 1.5.1 attributes: AccessionNumber,PatientName",
        "different 1.5.2 removed in B attributes: RemovedFromOperationalUse,ReasonForRemovalCodeSequence",
        "in a: 3, in b: 3, same: 1, missing: 0, extra: 0, different: 2, removed in one: 1",
    ]
    code, out, _ = run(capsys, "diff", head, head, "--json")
    assert code == Exit.DONE
    assert json.loads(out)["counts"]["same"] == 3


def test_values_that_break_their_vr_still_make_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = inventory("1.2.1", [study("1.5.1", NumberOfStudyRelatedSeries="77")])
    made.InventoriedStudiesSequence[0].InventoriedSeriesSequence[0].InventoriedInstancesSequence = [
        instance("1.7.1", "88")
    ]
    path = save(tmp_path / "a.dcm", made)
    path.write_bytes(
        path.read_bytes().replace(b"IS\x02\x0077", b"IS\x02\x00x7").replace(b"IS\x02\x0088", b"IS\x02\x00\xff8")
    )
    code, out, _ = run(capsys, "resolve", path)
    assert code == Exit.DONE
    assert json.loads(out)["00201206"] == {"vr": "IS", "Value": ["x7"]}
