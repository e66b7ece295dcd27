"""What an inventory's record says of a study, in the form of the oracle's own account."""

from __future__ import annotations

import base64
from typing import Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from state.values import Item, Value
from tests.oracle.study import State, filled

_OWN: Final = {  # of every level: what names the entity, and what Stocktake itself answers for
    "0020000D", "0020000E", "00080018", "00080404", "0008041F", "00080405", "00080406", "00080061", "00201206",
    "00201208", "00080424", "00080425",
}  # fmt: skip


def shown(record: Dataset, update_time: int | None) -> State:
    """The state that a study Item shows; ``update_time`` is its Study Update DateTime in UTC microseconds."""
    state: State = {
        "time": update_time,
        "removal": _removal(record),
        "attributes": _attributes(record),
        "modalities": _text(record["ModalitiesInStudy"]),
        "number of series": _text(record["NumberOfStudyRelatedSeries"]),
        "number of instances": _text(record["NumberOfStudyRelatedInstances"]),
    }
    if "InventoriedSeriesSequence" in record:
        state["series"] = {str(one.SeriesInstanceUID): _series(one) for one in record.InventoriedSeriesSequence}
        assert len(state["series"]) == len(record.InventoriedSeriesSequence)
    return state


def _series(record: Dataset) -> State:
    state: State = {"removal": _removal(record), "attributes": _attributes(record)}
    if "InventoriedInstancesSequence" in record:
        state["instances"] = {
            str(one.SOPInstanceUID): {"removal": _removal(one), "attributes": _attributes(one)}
            for one in record.InventoriedInstancesSequence
        }
        assert len(state["instances"]) == len(record.InventoriedInstancesSequence)
    return state


def _removal(record: Dataset) -> list[Item] | None:
    if "RemovedFromOperationalUse" not in record:
        assert "ReasonForRemovalCodeSequence" not in record
        return None
    assert record.RemovedFromOperationalUse == "Y"
    return [flat(one) for one in record.ReasonForRemovalCodeSequence]


def _attributes(record: Dataset) -> Item:
    return {tag: value for tag, value in flat(record).items() if tag not in _OWN}


def flat(record: Dataset) -> Item:
    """Every attribute that has a value, by tag; the sequences of series and instances are left out."""
    found: Item = {}
    for element in record:
        tag = f"{int(element.tag):08X}"
        if tag not in {"00080424", "00080425"}:
            found[tag] = _value(element)
    return filled(found)


def _value(element: DataElement) -> Value:
    return [flat(item) for item in element.value] if element.VR == "SQ" else _text(element)


def _text(element: DataElement) -> str:
    value = element.value
    if value is None:
        return ""
    return "\\".join(_one(each, element.VR) for each in (value if isinstance(value, MultiValue) else [value]))


def _one(value: object, vr: str) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return f"{int(str(value)):08X}" if vr == "AT" else str(value)
