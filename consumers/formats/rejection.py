"""Rejection notes (IHE Imaging Object Change Management, RAD TF-3 4.66): Key Object Selections whose title rejects.

What such a document names in its Current Requested Procedure Evidence Sequence (PS3.3 C.17.6.2, C.17.2) is no longer to
be used, for the reason that its title states. The four titles of the profile are codes of CID 7010, and the same codes
are reasons for removal in CID 7031.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from msgspec import Raw

from consumers.events import Rejection
from state.values import Item
from state.vr import is_uid

KEY_OBJECT_SELECTION: Final = "1.2.840.10008.5.1.4.1.1.88.59"

_TITLE: Final = "0040A043"  # Concept Name Code Sequence
_EVIDENCE: Final = "0040A375"  # Current Requested Procedure Evidence Sequence
_SERIES: Final = "00081115"  # Referenced Series Sequence
_INSTANCES: Final = "00081199"  # Referenced SOP Sequence
_SOP_INSTANCE_UID: Final = "00081155"  # Referenced SOP Instance UID
_STUDY_INSTANCE_UID: Final = "0020000D"
_SERIES_INSTANCE_UID: Final = "0020000E"
_CODE_VALUE: Final = "00080100"
_SCHEME: Final = "00080102"
_MEANING: Final = "00080104"
_TITLES: Final = {
    "113001": "Rejected for Quality Reasons",
    "113037": "Rejected for Patient Safety Reasons",
    "113038": "Incorrect Modality Worklist Entry",
    "113039": "Data Retention Policy Expired",
}


def rejection(dataset: Mapping[str, Raw], study_instance_uid: str) -> Rejection | None:
    """What a Key Object Selection rejects of its study, and which other studies it names; None if it rejects nothing.

    A document that does not hold together rejects what can be read of it.
    """
    reason = next((found for item in _items(dataset, _TITLE) if (found := _reason(item))), None)
    if reason is None:
        return None
    instances: list[tuple[str, str]] = []
    elsewhere: set[str] = set()
    for study in _items(dataset, _EVIDENCE):
        uid = _uid(study, _STUDY_INSTANCE_UID)
        if uid == study_instance_uid:
            instances += [
                (series_uid, sop_uid)
                for series in _below(study, _SERIES)
                if (series_uid := _uid(series, _SERIES_INSTANCE_UID))
                for instance in _below(series, _INSTANCES)
                if (sop_uid := _uid(instance, _SOP_INSTANCE_UID))
            ]
        elif uid:
            elsewhere.add(uid)
    if not instances and not elsewhere:
        return None
    return Rejection(reason, tuple(instances), tuple(sorted(elsewhere)))


def _reason(title: dict[str, Any]) -> Item:
    code = _text(title, _CODE_VALUE)
    if _text(title, _SCHEME) != "DCM" or code not in _TITLES:
        return {}
    return {_CODE_VALUE: code, _SCHEME: "DCM", _MEANING: _TITLES[code]}


def _items(dataset: Mapping[str, Raw], tag: str) -> list[dict[str, Any]]:
    raw = dataset.get(tag)
    if raw is None:
        return []
    try:
        return _objects(orjson.loads(bytes(raw)))
    except (orjson.JSONDecodeError, RecursionError):
        return []


def _below(item: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    return _objects(item.get(tag))


def _objects(element: Any) -> list[dict[str, Any]]:
    """The Items of a sequence."""
    values = element.get("Value") if isinstance(element, dict) else None
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _text(item: dict[str, Any], tag: str) -> str:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0].strip() if isinstance(values, list) and values and isinstance(values[0], str) else ""


def _uid(item: dict[str, Any], tag: str) -> str:
    uid = _text(item, tag).strip("\0 ")
    return uid if is_uid(uid) else ""
