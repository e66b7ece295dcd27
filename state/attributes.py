"""Which attributes an Inventory can hold, at which level, with which VR: the standard's table as data.

The table is ``standard/inventory_module.tsv``: every row of PS3.3 Table C.38.1-1 (Inventory Module) with its macros
expanded, as extracted from highdicom 0.28.2's module-attribute map. Columns: keyword (one ``>`` for each depth), tag,
VR and VM, type, path. Everything that asks "may an inventory hold this?" or "must it?" asks this module, so a newer
edition of the standard is a newer file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final


class Level(StrEnum):
    """An entity of the Study Root information model, or of the patient above it."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    INSTANCE = "INSTANCE"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One row of the table. ``tag`` is eight upper-case hexadecimal digits, as in the DICOM JSON Model."""

    keyword: str
    tag: str
    vr: str
    vm: str
    type: str
    children: dict[str, Attribute] = field(default_factory=dict, hash=False)


# Attributes that tie the levels together or that Stocktake itself answers for. An event's value for them is not
# taken over as it stands: the first three become structure, the others are derived when a record is written.
STUDY_INSTANCE_UID: Final = "0020000D"
SERIES_INSTANCE_UID: Final = "0020000E"
SOP_INSTANCE_UID: Final = "00080018"
SPECIFIC_CHARACTER_SET: Final = "00080005"
ITEM_INVENTORY_DATETIME: Final = "00080404"
REMOVED_FROM_OPERATIONAL_USE: Final = "00080405"
REASON_FOR_REMOVAL: Final = "00080406"
STUDY_UPDATE_DATETIME: Final = "0008041F"
INVENTORIED_STUDIES: Final = "00080423"
INVENTORIED_SERIES: Final = "00080424"
INVENTORIED_INSTANCES: Final = "00080425"
NUMBER_OF_STUDY_RELATED_SERIES: Final = "00201206"
NUMBER_OF_STUDY_RELATED_INSTANCES: Final = "00201208"
MODALITIES_IN_STUDY: Final = "00080061"
MODALITY: Final = "00080060"
SOP_CLASS_UID: Final = "00080016"
PATIENT_ID: Final = "00100020"
ISSUER_OF_PATIENT_ID: Final = "00100021"

DERIVED: Final = frozenset(
    {
        STUDY_INSTANCE_UID,
        SERIES_INSTANCE_UID,
        SOP_INSTANCE_UID,
        SPECIFIC_CHARACTER_SET,
        ITEM_INVENTORY_DATETIME,
        REMOVED_FROM_OPERATIONAL_USE,
        REASON_FOR_REMOVAL,
        STUDY_UPDATE_DATETIME,
        INVENTORIED_SERIES,
        INVENTORIED_INSTANCES,
        NUMBER_OF_STUDY_RELATED_SERIES,
        NUMBER_OF_STUDY_RELATED_INSTANCES,
    }
)


@cache
def inventory_module() -> dict[str, Attribute]:
    """The Inventory Module's top-level attributes by tag; sequences carry theirs in ``children``."""
    top: dict[str, Attribute] = {}
    stack: list[dict[str, Attribute]] = [top]
    text = files("state").joinpath("standard/inventory_module.tsv").read_text(encoding="utf-8")
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        name, tag, vr_vm, type_, _path = line.split("\t")
        keyword = name.lstrip(">")
        depth = len(name) - len(keyword)
        vr, vm = vr_vm.split(" ", 1)
        attribute = Attribute(keyword, tag[1:5] + tag[6:10], vr, vm, type_)
        del stack[depth + 1 :]
        stack[depth][attribute.tag] = attribute
        stack.append(attribute.children)
    return top


@cache
def item_attributes(level: Level) -> dict[str, Attribute]:
    """What one Item of the given level may hold: of Inventoried Studies, Series or Instances Sequence, by tag."""
    studies = inventory_module()[INVENTORIED_STUDIES].children
    if level is Level.STUDY:
        return studies
    series = studies[INVENTORIED_SERIES].children
    if level is Level.SERIES:
        return series
    if level is Level.INSTANCE:
        return series[INVENTORIED_INSTANCES].children
    raise ValueError(f"no Items of level {level} in an Inventory")


@cache
def recordable(level: Level) -> dict[str, Attribute]:
    """The attributes of that level which a record keeps as an archive states them (not those derived)."""
    return {tag: row for tag, row in item_attributes(level).items() if tag not in DERIVED}


@cache
def patient_attributes() -> dict[str, Attribute]:
    """What a study Item says of its patient: the Patient module's attributes, all of group 0010 and no other's."""
    return {tag: row for tag, row in recordable(Level.STUDY).items() if tag.startswith("0010")}


@lru_cache(maxsize=1 << 10)
def patient_tags(tags: tuple[str, ...]) -> frozenset[str]:
    """Those of the tags that are a patient's attributes. An archive says the same tags of every study."""
    return frozenset(tags) & patient_attributes().keys()
