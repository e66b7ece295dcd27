"""What is kept of a data set that an archive answers (PS3.18 Annex F): what an inventory can hold, in its usual form.

Archives write elements in odd ways. One that can be read for certain is put right (a value outside of a list, no VR);
any other is left out, as a native event with it would be none. Values are looked at where events are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from consumers.archives.archive import DicomJson
from consumers.formats.rejection import KEY_OBJECT_SELECTION
from state.attributes import (
    MODALITIES_IN_STUDY,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Attribute,
    Level,
    recordable,
)
from state.vr import BYTES, CHECKS, is_uid

EVIDENCE: Final = "0040A375"  # Current Requested Procedure Evidence Sequence: which instances a key object is about
RETRIEVE_URL: Final = "00081190"
RETRIEVE_AE_TITLE: Final = "00080054"


def _attribute(keyword: str, tag: str, vr: str, *children: Attribute) -> Attribute:
    return Attribute(keyword, tag, vr, "1", "1", {child.tag: child for child in children})


_UID_ROWS: Final = {
    row.tag: row
    for row in (
        _attribute("StudyInstanceUID", STUDY_INSTANCE_UID, "UI"),
        _attribute("SeriesInstanceUID", SERIES_INSTANCE_UID, "UI"),
        _attribute("SOPInstanceUID", SOP_INSTANCE_UID, "UI"),
    )
}
_EVIDENCE_ROW: Final = _attribute(
    "CurrentRequestedProcedureEvidenceSequence",
    EVIDENCE,
    "SQ",
    _UID_ROWS[STUDY_INSTANCE_UID],
    _attribute(
        "ReferencedSeriesSequence",
        "00081115",
        "SQ",
        _UID_ROWS[SERIES_INSTANCE_UID],
        _attribute(
            "ReferencedSOPSequence",
            "00081199",
            "SQ",
            _attribute("ReferencedSOPClassUID", "00081150", "UI"),
            _attribute("ReferencedSOPInstanceUID", "00081155", "UI"),
        ),
    ),
)


@cache
def of_study() -> dict[str, Attribute]:
    """What is kept of a study as such."""
    return recordable(Level.STUDY)


@cache
def of_study_alone() -> dict[str, Attribute]:
    """What is a study's or its patient's whatever data set it stands in; not how or where something is kept.

    Modalities in Study is what an archive derives, for a study's own row.
    """
    others = {RETRIEVE_URL, RETRIEVE_AE_TITLE, MODALITIES_IN_STUDY}
    others |= recordable(Level.SERIES).keys() | recordable(Level.INSTANCE).keys()
    return {tag: row for tag, row in of_study().items() if tag not in others}


@cache
def of_series_alone() -> dict[str, Attribute]:
    """What is a series' whatever data set of it or below it stands in."""
    return {tag: row for tag, row in recordable(Level.SERIES).items() if tag not in recordable(Level.INSTANCE)}


@cache
def of_instance() -> dict[str, Attribute]:
    """What is kept of an instance's data set: what it says of itself, its series, study and patient.

    A Retrieve URL or AE title there is the instance's, and an inventory has none of that: they would pass for the
    study's.
    """
    return of_study_alone() | recordable(Level.SERIES) | recordable(Level.INSTANCE)


def of_key_object() -> dict[str, Attribute]:
    """What is kept of a Key Object Selection itself: what it is about too, as it may be a rejection note."""
    return recordable(Level.INSTANCE) | {EVIDENCE: _EVIDENCE_ROW}


def kept(dataset: Mapping[str, Any], wanted: Mapping[str, Attribute]) -> DicomJson:
    """The wanted elements of a data set that can be read."""
    found: DicomJson = {}
    for tag, attribute in wanted.items():
        element = dataset.get(tag)
        if element is not None and (whole := _element(element, attribute)) is not None:
            found[tag] = whole
    return found


def kept_instance(dataset: Mapping[str, Any]) -> DicomJson:
    """What is kept of an instance's data set without the UIDs that tie it to its study and series."""
    found = kept(dataset, of_instance())
    if uid_of(dataset, SOP_CLASS_UID) == KEY_OBJECT_SELECTION:
        found |= kept(dataset, {EVIDENCE: _EVIDENCE_ROW})
    return found


def uid_of(dataset: Mapping[str, Any], tag: str) -> str | None:
    """The UID of an element; None if it is absent, several, or no UID."""
    text = first_of(dataset, tag)
    if not isinstance(text, str):
        return None
    text = text.strip(" \0")
    return text if is_uid(text) else None


def number_of(dataset: Mapping[str, Any], tag: str) -> int | None:
    """The number of an element, also of one that is written as a text; None if it is no count."""
    value = first_of(dataset, tag)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number < 2**31 else None


def first_of(dataset: Mapping[str, Any], tag: str) -> Any:
    """The only value of an element; None if there is none, or several."""
    values = values_of(dataset, tag)
    return values[0] if len(values) == 1 else None


def values_of(dataset: Mapping[str, Any], tag: str) -> list[Any]:
    """The values of an element, empty if it has none."""
    element = dataset.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    if isinstance(values, list):
        return values
    return [] if values is None else [values]


def _element(element: Any, attribute: Attribute) -> DicomJson | None:
    if not isinstance(element, dict):
        return None
    vr = element.get("vr", attribute.vr)
    if not isinstance(vr, str) or (vr not in CHECKS and vr not in BYTES and vr != "SQ"):
        return None
    if (vr == "SQ") != (attribute.vr == "SQ") and vr != "UN":
        return None
    if attribute.vr in BYTES:
        return {name: element[name] for name in ("vr", "InlineBinary") if name in element} or None
    values = element.get("Value")
    if values is None:
        # With a value that stands elsewhere (BulkDataURI) it is not known to be empty.
        return None if element.keys() - {"vr", "Value"} else {"vr": vr}
    if not isinstance(values, list):
        values = [values]
    if attribute.vr == "SQ":
        values = [kept(item, attribute.children) for item in values if isinstance(item, dict)]
        values = [item for item in values if item]
    return {"vr": vr, "Value": values} if values else {"vr": vr}
