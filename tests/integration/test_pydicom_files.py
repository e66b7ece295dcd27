"""The DICOM files that pydicom carries for its own tests, taken from folder to inventory by the real command line.

They are of many devices and years, in many character sets and transfer syntaxes, and some are broken on purpose. What
should become of them is told by a walk of the folder that shares no code with Stocktake.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pydicom
import pytest
from pydicom.config import disable_value_validation

from stocktake.exits import Exit
from tests.servers.kafka_broker import KafkaBroker

ROOT: Final = Path(__file__).parents[2]
FILES: Final = Path(pydicom.__file__).parent / "data"
UIDS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
PATIENCE: Final = 120  # seconds


@dataclass
class Expected:
    """What the folder holds: SOP Class by (study, series, instance), names by study, and the files that are no such."""

    instances: dict[tuple[str, str, str], str] = field(default_factory=dict)
    names: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    others: set[Path] = field(default_factory=set)


@pytest.fixture(scope="module")
def expected() -> Expected:
    found = Expected()
    for path in FILES.rglob("*"):
        if not path.is_file():
            continue
        with warnings.catch_warnings(), disable_value_validation():
            warnings.simplefilter("ignore")
            try:
                dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
                study, series, sop, sop_class = (str(dataset.get(keyword, "")) for keyword in UIDS)
                name = str(dataset.get("PatientName") or "").strip("= ")
            except Exception:  # whatever pydicom raises: no instance can be had from it
                study = series = sop = sop_class = name = ""
        if all((study, series, sop, sop_class)):
            found.instances[study, series, sop] = sop_class
            found.names[study].add(name)
        else:
            found.others.add(path)
    return found


@pytest.fixture
def environ(kafka_broker: KafkaBroker, redis_url: str, repository: str, tmp_path: Path) -> dict[str, str]:
    given = {
        "KAFKA__BOOTSTRAP_SERVERS": kafka_broker.bootstrap_servers,
        "KAFKA__SESSION_TIMEOUT": "6s",
        "REDIS__URL": redis_url,
        "INVENTORY__DIR": str(tmp_path / "inventories"),
        f"REPOSITORIES__{repository.upper()}__TOPICS": f"stocktake-test-{repository}",
        "LOG__LEVEL": "WARNING",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STOCKTAKE_")}
    return inherited | {"PYTHONPATH": str(ROOT)} | {f"STOCKTAKE_{name}": value for name, value in given.items()}


def stocktake(environ: dict[str, str], *arguments: str, code: Exit = Exit.DONE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stocktake", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=PATIENCE, check=False)
    assert ended.returncode == code, ended.stderr
    return ended


def test_every_instance_of_the_folder_is_in_the_resolved_head(
    environ: dict[str, str], repository: str, tmp_path: Path, expected: Expected
) -> None:
    published = stocktake(environ, "publish", str(FILES), code=Exit.BAD_INPUT)
    summary = json.loads(published.stdout)
    assert summary["unreadable"] == len(expected.others)
    reasons = dict(line.rsplit(": ", 1) for line in published.stderr.splitlines())
    assert {Path(name) for name in reasons} == expected.others
    assert all(reasons.values())

    consumed = stocktake(environ, "consume", "--until-caught-up")
    assert consumed.stderr == "", "an event of a file became a dead letter"
    manifest = json.loads(stocktake(environ, "write", "--once").stdout)
    head = tmp_path / "inventories" / repository
    resolved = [json.loads(line) for line in stocktake(environ, "resolve", str(head)).stdout.splitlines()]

    assert found_instances(resolved) == expected.instances
    studies = {study for study, _, _ in expected.instances}
    series = {(study, series) for study, series, _ in expected.instances}
    counts = manifest["counts"]
    assert (counts["studies"], counts["series"], counts["instances"]) == (
        len(studies),
        len(series),
        len(expected.instances),
    )
    for record in resolved:
        study = value(record, "0020000D")
        assert value(record, "00201206") == len({one for of, one in series if of == study})
        assert value(record, "00201208") == sum(of == study for of, _, _ in expected.instances)
        assert name_of(record) in expected.names[study]
    assert "no findings" in stocktake(environ, "verify", str(head)).stdout


def found_instances(resolved: list[dict[str, Any]]) -> dict[tuple[str, str, str], str]:
    """SOP Class by (study, series, instance), as the inventory has them."""
    return {
        (value(study, "0020000D"), value(series, "0020000E"), value(instance, "00080018")): value(instance, "00080016")
        for study in resolved
        for series in study["00080424"]["Value"]
        for instance in series["00080425"]["Value"]
    }


def value(item: dict[str, Any], tag: str) -> Any:
    [only] = item[tag]["Value"]
    return only


def name_of(record: dict[str, Any]) -> str:
    """The patient's name, its groups joined as in a data set."""
    groups = record["00100010"].get("Value", [{}])[0]
    return "=".join(groups.get(name, "") for name in ("Alphabetic", "Ideographic", "Phonetic")).strip("= ")


def test_a_value_that_breaks_its_vr_is_told_to_nobody(environ: dict[str, str], tmp_path: Path) -> None:
    dataset = pydicom.dcmread(FILES / "test_files" / "CT_small.dcm")
    dataset.SeriesNumber = 11
    dataset.save_as(tmp_path / "broken.dcm")
    data = (tmp_path / "broken.dcm").read_bytes()
    series_number = b"\x20\x00\x11\x00IS\x02\x00"
    assert data.count(series_number + b"11") == 1
    (tmp_path / "broken.dcm").write_bytes(data.replace(series_number + b"11", series_number + b"h\xfc"))
    published = stocktake(environ | {"STOCKTAKE_LOG__LEVEL": "DEBUG"}, "publish", str(tmp_path / "broken.dcm"))
    assert json.loads(published.stdout)["published"] == 1
    told = published.stdout + published.stderr
    assert [word for word in ("h\u00fc", "\\xfc", "Invalid value") if word in told] == []
