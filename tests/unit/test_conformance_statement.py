"""docs/conformance.md held to what the writer writes: its tables are made of that, and list nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from state.attributes import Level, item_attributes
from stocktake.setting_table import NAMED, SETTINGS
from tests.conformance_tables import PAGE, samples, tables, with_tables
from tests.standard_table import STUDIES, TagPath, standard_rows
from writers import iod
from writers.sinks import dicom

TEXT = PAGE.read_text(encoding="utf-8")


def paths(item: Dataset, parent: TagPath) -> Iterator[tuple[TagPath, str]]:
    """Every element below, by its path of tags, with its VR."""
    for element in item:
        path = (*parent, f"{element.tag:08X}")
        yield path, str(element.VR)
        if isinstance(element.value, Sequence):
            for one in element.value:
                yield from paths(one, path)


def test_the_tables_are_what_is_written() -> None:
    assert with_tables(TEXT) == TEXT, "run python -m tests.conformance_tables"


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.INSTANCE])
def test_a_records_table_has_every_attribute_of_the_standards_table_but_the_character_set(level: Level) -> None:
    listed = re.findall(r"\((\w{4}),(\w{4})\)", " ".join(line.split("|")[2] for line in tables()[level.lower()][2:]))
    assert {group + element for group, element in listed} == item_attributes(level).keys() - {"00080005"}


def test_everything_in_a_records_item_is_in_the_standards_table_at_that_place_with_that_vr() -> None:
    standard = standard_rows()
    written = {
        path: vr
        for sample in samples()
        for item in sample.InventoriedStudiesSequence
        for path, vr in paths(item, STUDIES)
    }
    assert written
    for path, vr in written.items():
        assert standard[path].vr == vr, path
    # No Item has a character set of its own, and an event's reason is a plain code.
    possible = {path for path in standard if path[:-1][: len(STUDIES)] == STUDIES}
    assert all(path[-1] == "00080005" or "00080406" in path for path in possible - written.keys())


def test_no_attribute_is_private_and_no_item_has_a_character_set() -> None:
    for sample in samples():
        assert not any(element.tag.is_private for element in sample.iterall())
        assert sum(element.tag == 0x00080005 for element in sample.iterall()) == 1


def test_of_all_sequences_the_studies_alone_has_undefined_length() -> None:
    for sample in samples():
        undefined = [one.tag for one in sample.iterall() if one.VR == "SQ" and one.is_undefined_length]
        assert undefined == [0x00080423]
        items = [item for one in sample.iterall() if one.VR == "SQ" for item in one.value]
        assert not any(item.is_undefined_length_sequence_item for item in items)


def test_the_file_meta_information_is_what_the_page_says() -> None:
    meta = dcmread(BytesIO(iod.file_meta("2.25.7", iod.TRANSFER_SYNTAXES["EXPLICIT"])), force=True).file_meta
    section = TEXT.partition("#### 7.2.1 ")[2].partition("#### 7.2.2 ")[0]
    listed = set(re.findall(r"^\| [^|]+ \| \((0002),(\w{4})\)", section, re.MULTILINE))
    assert listed == {(f"{one.tag.group:04X}", f"{one.tag.element:04X}") for one in meta} - {("0002", "0000")}
    assert f"| {meta.ImplementationClassUID} |" in section
    assert f"| `{meta.ImplementationVersionName}` |" in section


def test_every_uid_of_the_standard_is_named_as_the_dictionary_names_it() -> None:
    named = re.findall(r"^\| ([^|]+) \| (1\.2\.840\.10008[\d.]+) \|", TEXT, re.MULTILINE)
    assert named
    for name, uid in named:
        assert UID(uid).name.removeprefix("DICOM ") == name.replace(" (retired)", ""), uid
    for uid in re.findall(r"\b1\.2\.840\.10008[\d.]*\d", TEXT):
        assert UID(uid).type, uid


def test_the_status_codes_are_those_that_the_sender_knows() -> None:
    section = TEXT.partition("#### 7.3.2 ")[2].partition("#### 7.3.3 ")[0]
    codes = {int(one, 16) for one in re.findall(r"\b([0-9A-F]{4})\b", section)}
    assert codes == {dicom._SUCCESS, dicom._DUPLICATE, *dicom._WARNINGS}
    assert "A7xx" in section
    assert range(0xA700, 0xA800) == dicom._OUT_OF_RESOURCES


def test_every_setting_that_is_named_is_one() -> None:
    known = {one.name for one in SETTINGS} | {one.name for some in NAMED.values() for one in some}
    groups = {name.partition(".")[0] for name in known}
    named = set(re.findall(r"`([a-z]+\.(?:<name>\.)?[a-z_]+)\b[^`]*`", TEXT))
    assert {name for name in named if name.partition(".")[0] in groups} <= known
