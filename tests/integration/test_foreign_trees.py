"""Trees that other code wrote, from text made by hand: verified, resolved and compared like our own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.servers.dcmtk import dcmtk
from writers.resolve import resolve
from writers.tree import load_tree
from writers.verify import verify

ROOT = "1.2.826.0.1.3680043.8.498"
BASELINE, INCREMENT = f"{ROOT}.1", f"{ROOT}.2"

# dump2dcm's options for Explicit and Implicit VR Little Endian and Deflated; lengths undefined or not
ENCODINGS = [["+te", "-e"], ["+te", "+e"], ["+ti", "-e"], ["+ti", "+e"], ["+td"]]

HEADER = """\
# Dicom-File-Format
(0002,0002) UI [1.2.840.10008.5.1.4.1.1.201.1]
(0002,0003) UI [{uid}]
(0008,0005) CS [ISO_IR 100]
(0008,0016) UI [1.2.840.10008.5.1.4.1.1.201.1]
(0008,0018) UI [{uid}]
(0008,0023) DA [{day}]
(0008,0033) TM [101500]
(0008,0070) LO [Hand made]
(0008,0400) SQ
(fffe,e000) -
(0008,0410) SQ
(fffe,e000) -
(0008,041f) DT
(fffe,e00d) -
(fffe,e000) -
(0008,041f) DT [{day}101500.000000+0000]
(fffe,e00d) -
(fffe,e0dd) -
(fffe,e00d) -
(fffe,e0dd) -
(0008,0401) LT
(0008,0403) CS [STUDY]
(0008,0422) SQ
{below}(fffe,e0dd) -
(0008,0423) SQ
{studies}(fffe,e0dd) -
(0008,0426) CS [COMPLETE]
(0008,0427) UL {own}
(0008,0428) UV {total}
"""

STUDY = """\
(fffe,e000) -
(0008,0020) DA [20260101]
(0008,0030) TM [101500]
(0008,0050) SH [A{number}]
(0008,0061) CS [CT\\SR]
(0008,0404) DT [{day}120000.000000+0000]
(0008,041f) DT [20260101110000.000000+0000]
(0008,1030) LO [Sch\u00e4del]
(0010,0010) PN [M\u00fcller^J\u00fcrgen]
(0010,0020) LO [P{number}]
(0010,0030) DA [19700101]
(0010,0040) CS [M]
(0020,000d) UI [{root}.1.{number}]
(0020,0010) SH [1]
(0020,1206) IS [2]
(0020,1208) IS [{instances}]
(fffe,e00d) -
"""

REFERENCE = """\
(fffe,e000) -
(0008,1150) UI [1.2.840.10008.5.1.4.1.1.201.1]
(0008,1155) UI [{uid}]
(fffe,e00d) -
"""


def texts() -> dict[str, str]:
    """A baseline of two studies, and an increment in which one of them has changed."""

    def study(day: str, number: int, instances: int) -> str:
        return STUDY.format(day=day, number=number, instances=instances, root=ROOT)

    first, second = "20260102", "20260103"
    both = study(first, 1, 301) + study(first, 2, 5)
    baseline = HEADER.format(uid=BASELINE, day=first, below="", studies=both, own=2, total=2)
    below = REFERENCE.format(uid=BASELINE)
    increment = HEADER.format(uid=INCREMENT, day=second, below=below, studies=study(second, 2, 6), own=1, total=3)
    return {BASELINE: baseline, INCREMENT: increment}


def write(folder: Path, options: list[str], found: dict[str, str]) -> Path:
    """The files that dump2dcm makes of the texts; the increment's, which is the root."""
    for uid, text in found.items():
        dump = folder / f"{uid}.dump"
        dump.write_text(text, encoding="latin-1")
        command = [str(dcmtk("dump2dcm")), *options, str(dump), str(folder / f"{uid}.dcm")]
        subprocess.run(command, check=True, capture_output=True)
    return folder / f"{INCREMENT}.dcm"


@pytest.mark.parametrize("options", ENCODINGS, ids=" ".join)
def test_a_tree_of_dcmtks_is_verified_and_resolved(tmp_path: Path, options: list[str]) -> None:
    root = write(tmp_path, options, texts())
    assert list(verify(root)) == []
    items = {one.item.study_instance_uid: one.item.dataset() for one in resolve(load_tree(root))}
    assert {uid: int(item.NumberOfStudyRelatedInstances) for uid, item in items.items()} == {
        f"{ROOT}.1.1": 301,
        f"{ROOT}.1.2": 6,
    }
    assert {str(item.PatientName) for item in items.values()} == {"M\u00fcller^J\u00fcrgen"}
    assert {tuple(item.ModalitiesInStudy) for item in items.values()} == {("CT", "SR")}


@pytest.mark.parametrize("options", ENCODINGS, ids=" ".join)
def test_faults_in_a_tree_of_dcmtks_are_found(tmp_path: Path, options: list[str]) -> None:
    found = texts()
    found[BASELINE] = found[BASELINE].replace("[STUDY]", "[SERIES]").replace("(0020,0010) SH [1]\n", "", 1)
    found[INCREMENT] = found[INCREMENT].replace("UV 3", "UV 4").replace("[20260101110000", "[20270101110000")
    rules = {finding.rule for finding in verify(write(tmp_path, options, found))}
    assert rules == {"same-level", "level-sequence", "type-2", "total-number", "scope"}
