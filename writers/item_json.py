"""A study record in the DICOM JSON Model (PS3.18 Annex F), as pydicom makes it."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

_CHARACTER_SET: Final = "00080005"


def to_dicom_json(dataset: Dataset) -> dict[str, Any]:
    """The JSON object of a data set, bulk data inline.

    JSON is UTF-8, so Specific Character Set (0008,0005) is left out at every depth (F.2: absent, or ISO_IR
    192). What pydicom cannot express, because a value breaks its VR, becomes a string or, if it is bytes, UN
    with InlineBinary.
    """
    found = {}
    for element in dataset:
        key = f"{int(element.tag):08X}"
        if key != _CHARACTER_SET:
            found[key] = _element(element)
    return found


def _element(element: DataElement) -> dict[str, Any]:
    if element.VR == "SQ":
        return {"vr": "SQ", "Value": [to_dicom_json(item) for item in element.value]} if element.value else {"vr": "SQ"}
    try:
        found: dict[str, Any] = element.to_json_dict(None, 0)
    except (ValueError, TypeError, OverflowError, AttributeError):
        return _as_it_is(element)
    return found


def _as_it_is(element: DataElement) -> dict[str, Any]:
    if isinstance(element.value, bytes):
        return {"vr": "UN", "InlineBinary": b64encode(element.value).decode("ascii")}
    values = element.value if element.VM > 1 else [element.value]
    return {"vr": element.VR, "Value": [str(value) for value in values]}
