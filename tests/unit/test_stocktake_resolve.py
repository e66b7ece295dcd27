"""``stocktake resolve`` by study, series or instance, with the columns that are asked for."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from stocktake.cli import main
from stocktake.commands.resolve import COLUMNS
from stocktake.exits import Exit
from tests.unit.inventories import change, inventory, removed, save, series, study

GONE: dict[str, object] = {"RemovedFromOperationalUse": "Y", "ReasonForRemovalCodeSequence": []}


def gone(dataset: Dataset) -> Dataset:
    change(dataset, GONE)
    return dataset


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """1.5.1: a series of two instances, one of them removed, and a removed series of one; 1.5.2 is removed."""
    parts = [series("1.6.1", ["1.7.1", "1.7.2"]), gone(series("1.6.2", ["1.7.3"], "MR"))]
    gone(parts[0].InventoriedInstancesSequence[1])
    parts[0].InstanceAvailability = "NEARLINE"
    one = study("1.5.1", parts=parts, InstanceAvailability="ONLINE", ModalitiesInStudy=["CT", "MR"])
    two = removed("1.5.2", parts=[series("1.6.3", ["1.7.4"])])
    return save(tmp_path / "1.2.1.dcm", inventory("1.2.1", [one, two]))


def resolved(capsys: pytest.CaptureFixture[str], head: Path, *options: str, expect: Exit = Exit.DONE) -> str:
    code = main(["resolve", str(head), *options])
    captured = capsys.readouterr()
    assert code == expect, captured.err
    return captured.out if expect == Exit.DONE else captured.err


def table(capsys: pytest.CaptureFixture[str], head: Path, *options: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(resolved(capsys, head, "--format", "csv", *options))))


def objects(capsys: pytest.CaptureFixture[str], head: Path, *options: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in resolved(capsys, head, *options).splitlines()]


def shape(found: dict[str, Any]) -> Any:
    """The tags of a JSON object, and of the Items in it."""
    return {
        tag: [shape(item) for item in value.get("Value", [])] if value["vr"] == "SQ" else None
        for tag, value in found.items()
    }


@pytest.mark.parametrize("level", ["STUDY", "SERIES", "INSTANCE"])
def test_each_level_has_columns_of_its_own_by_default(
    head: Path, capsys: pytest.CaptureFixture[str], level: str
) -> None:
    rows = table(capsys, head, "--level", level, "--removed")
    assert rows[0] == [*COLUMNS[level]]  # type: ignore[index]
    assert len(rows) == 1 + {"STUDY": 2, "SERIES": 3, "INSTANCE": 4}[level]


def test_csv_is_by_study_unless_told(head: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert table(capsys, head) == table(capsys, head, "--level", "STUDY")


def test_a_row_of_a_series_repeats_what_its_study_says(head: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = "StudyInstanceUID,PatientName,ModalitiesInStudy,SeriesInstanceUID,Modality"
    assert table(capsys, head, "--level", "SERIES", "--removed", "--columns", columns)[1:] == [
        ["1.5.1", "Doe^Jane", "CT\\MR", "1.6.1", "CT"],
        ["1.5.1", "Doe^Jane", "CT\\MR", "1.6.2", "MR"],
        ["1.5.2", "Doe^Jane", "CT", "1.6.3", "CT"],
    ]


def test_a_row_of_an_instance_repeats_what_its_series_and_study_say(
    head: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = "PatientID,SeriesInstanceUID,SOPInstanceUID,InstanceNumber"
    assert table(capsys, head, "--level", "INSTANCE", "--columns", columns)[1:] == [["P1", "1.6.1", "1.7.1", "1"]]


def test_removed_series_and_instances_and_what_is_in_them_come_when_asked(
    head: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = ("--columns", "SeriesInstanceUID")
    assert table(capsys, head, "--level", "SERIES", *columns)[1:] == [["1.6.1"]]
    assert table(capsys, head, "--level", "SERIES", *columns, "--removed")[1:] == [["1.6.1"], ["1.6.2"], ["1.6.3"]]
    instances = ("--level", "INSTANCE", "--columns", "SOPInstanceUID")
    assert table(capsys, head, *instances)[1:] == [["1.7.1"]]
    assert table(capsys, head, *instances, "--removed")[1:] == [["1.7.1"], ["1.7.2"], ["1.7.3"], ["1.7.4"]]


def test_a_keyword_of_several_levels_is_that_of_the_lowest_that_has_a_value(
    head: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = (
        "RemovedFromOperationalUse,Study.RemovedFromOperationalUse,Series.RemovedFromOperationalUse,"
        "Instance.RemovedFromOperationalUse,InstanceAvailability,Study.InstanceAvailability"
    )
    rows = table(capsys, head, "--level", "INSTANCE", "--removed", "--columns", columns)
    assert rows == [
        columns.split(","),
        ["", "", "", "", "NEARLINE", "ONLINE"],
        ["Y", "", "", "Y", "NEARLINE", "ONLINE"],
        ["Y", "", "Y", "", "ONLINE", "ONLINE"],
        ["Y", "Y", "", "", "", ""],
    ]
    assert table(capsys, head, "--columns", "RemovedFromOperationalUse", "--removed")[1:] == [[""], ["Y"]]


def test_a_value_is_never_altered_for_a_spreadsheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "a.dcm", inventory("1.2.1", [study("1.5.1", StudyDescription='=1+1,"x"')]))
    assert resolved(capsys, path, "--format", "csv", "--columns", "StudyDescription") == (
        'StudyDescription\r\n"=1+1,""x"""\r\n'
    )


def test_json_is_cut_off_below_the_level(head: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [whole] = objects(capsys, head)
    [by_study] = objects(capsys, head, "--level", "STUDY")
    assert by_study == {tag: value for tag, value in whole.items() if tag != "00080424"}
    [by_series] = objects(capsys, head, "--level", "SERIES")
    assert [one["0020000E"]["Value"] for one in by_series["00080424"]["Value"]] == [["1.6.1"]]
    assert "00080425" not in by_series["00080424"]["Value"][0]


def test_json_has_removed_parts_as_they_are_and_at_a_level_when_asked(
    head: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [whole] = objects(capsys, head)
    assert len(whole["00080424"]["Value"]) == 2
    assert objects(capsys, head, "--level", "INSTANCE", "--removed")[0] == whole
    [used] = objects(capsys, head, "--level", "INSTANCE")
    [one] = used["00080424"]["Value"]
    assert [each["00080018"]["Value"] for each in one["00080425"]["Value"]] == [["1.7.1"]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["StudyInstanceUID,RemovedFromOperationalUse"], {"0020000D": None}),
        (["StudyInstanceUID,ProcedureCodeSequence"], {"0020000D": None}),
        (["Modality"], {"00080424": [{"00080060": None}]}),
        (
            ["StudyInstanceUID,SOPInstanceUID"],
            {"0020000D": None, "00080424": [{"00080425": [{"00080018": None}]}]},
        ),
        (
            ["Study.InstanceAvailability,SeriesInstanceUID"],
            {"00080056": None, "00080424": [{"0020000E": None}]},
        ),
        (
            ["InstanceAvailability", "--level", "SERIES"],
            {"00080056": None, "00080424": [{"00080056": None}]},
        ),
    ],
)
def test_json_keeps_only_the_columns_as_deep_as_they_are(
    head: Path, capsys: pytest.CaptureFixture[str], options: list[str], expected: dict[str, object]
) -> None:
    [found] = objects(capsys, head, "--columns", *options)
    assert shape(found) == expected


@pytest.mark.parametrize("columns", ["NoKeyword", "InventoriedSeriesSequence", "Study.Modality", "Patient.PatientID"])
def test_a_column_that_is_none_is_refused(head: Path, capsys: pytest.CaptureFixture[str], columns: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["resolve", str(head), "--columns", columns])
    assert caught.value.code == Exit.USAGE
    assert columns.rpartition(".")[2] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--format", "csv", "--columns", "SOPInstanceUID"], "--level INSTANCE"),
        (["--level", "STUDY", "--columns", "Modality"], "--level SERIES"),
        (["--format", "csv", "--columns", "ProcedureCodeSequence"], "sequence"),
    ],
)
def test_a_column_that_the_level_or_the_format_cannot_have_is_refused(
    head: Path, capsys: pytest.CaptureFixture[str], options: list[str], text: str
) -> None:
    assert text in resolved(capsys, head, *options, expect=Exit.USAGE)


@pytest.mark.parametrize(
    "asked", [["--level", "SERIES"], ["--columns", "SOPInstanceUID"], ["--format", "csv", "--level", "INSTANCE"]]
)
def test_a_level_that_the_inventory_does_not_go_down_to_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: list[str]
) -> None:
    made = inventory("1.2.1", [study("1.5.1", InventoriedSeriesSequence=None)], InventoryLevel="STUDY")
    path = save(tmp_path / "a.dcm", made)
    assert f"{path} is of Inventory Level STUDY" in resolved(capsys, path, *asked, expect=Exit.USAGE)
    assert len(resolved(capsys, path, "--format", "csv").splitlines()) == 2


def test_a_record_without_the_series_that_its_level_promises_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "a.dcm", inventory("1.2.1", [study("1.5.1", InventoriedSeriesSequence=None)]))
    text = resolved(capsys, path, "--level", "SERIES", expect=Exit.BAD_INPUT)
    assert f"{path}: at offset" in text
    assert "without InventoriedSeriesSequence" in text


def test_a_study_without_series_has_no_row_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "a.dcm", inventory("1.2.1", [study("1.5.1", parts=[])]))
    assert len(table(capsys, path, "--level", "SERIES")) == 1
    assert objects(capsys, path, "--level", "SERIES")[0]["00080424"] == {"vr": "SQ"}
