"""A study record to its Item of Inventoried Studies Sequence (0008,0423), complete down to the Inventory Level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from state.attributes import (
    INVENTORIED_INSTANCES,
    INVENTORIED_SERIES,
    ITEM_INVENTORY_DATETIME,
    MODALITIES_IN_STUDY,
    MODALITY,
    NUMBER_OF_STUDY_RELATED_INSTANCES,
    NUMBER_OF_STUDY_RELATED_SERIES,
    REASON_FOR_REMOVAL,
    REMOVED_FROM_OPERATIONAL_USE,
    SERIES_INSTANCE_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    STUDY_UPDATE_DATETIME,
    Level,
    item_attributes,
)
from state.record import InstanceRecord, StudyRecord, Tombstone
from state.times import to_dt
from state.values import Value
from writers.encoder import ItemEncoder, to_bytes
from writers.terms import REMOVED


@dataclass(slots=True)
class ItemCounts:
    """What was written, for the manifest."""

    studies: int = 0
    series: int = 0
    instances: int = 0
    removed_studies: int = 0
    incomplete_studies: int = 0
    unknown_modalities: int = 0


@dataclass(slots=True)
class StudyItems:
    """Encodes study records at one Inventory Level; series and instances in the order of their UIDs."""

    level: Level
    counts: ItemCounts = field(default_factory=ItemCounts)
    _study: ItemEncoder = field(init=False)
    _series: ItemEncoder = field(init=False)
    _instance: ItemEncoder = field(init=False)

    def __post_init__(self) -> None:
        self._study = ItemEncoder(item_attributes(Level.STUDY))
        self._series = ItemEncoder(item_attributes(Level.SERIES))
        self._instance = ItemEncoder(item_attributes(Level.INSTANCE))

    @property
    def too_long(self) -> int:
        """Values that were emptied because no element could hold them."""
        return self._study.too_long + self._series.too_long + self._instance.too_long

    def encode(self, record: StudyRecord, item_inventory_datetime: int) -> bytes:
        """The Item of a whole record, as it was at ``item_inventory_datetime`` (UTC microseconds)."""
        [item] = self.encode_all([(record, item_inventory_datetime)])
        return item

    def encode_all(self, records: Sequence[tuple[StudyRecord, int]]) -> list[bytes]:
        """The Items of several: much faster for each of a hundred than :meth:`encode`."""
        written = {moment: to_dt(moment) for moment in {moment for _, moment in records}}
        rows = [self._study_values(record, written[moment]) for record, moment in records]
        return [to_bytes(item) for item in self._study.items(rows)]

    def _study_values(self, record: StudyRecord, item_inventory_datetime: str) -> dict[str, Value]:
        values: dict[str, Value] = {
            **(record.shown_attributes if record.laid_over.attributes else record.attributes),
            STUDY_INSTANCE_UID: record.study_instance_uid,
            ITEM_INVENTORY_DATETIME: item_inventory_datetime,
            STUDY_UPDATE_DATETIME: to_dt(record.update_time),
            MODALITIES_IN_STUDY: record.modalities,
            NUMBER_OF_STUDY_RELATED_SERIES: _count(record.number_of_series),
            NUMBER_OF_STUDY_RELATED_INSTANCES: _count(record.number_of_instances),
        }
        self.counts.studies += 1
        if record.series or record.tombstone is not None:
            removal = record.removal()
            _mark_removed(values, removal)
            self.counts.removed_studies += removal is not None
            self.counts.incomplete_studies += record.is_incomplete
        if self.level is not Level.STUDY:
            values[INVENTORIED_SERIES] = self._encode_series(record)
        return values

    def _encode_series(self, record: StudyRecord) -> str:
        instances = self._by_series(record) if self.level is Level.INSTANCE else {}
        rows: list[dict[str, Value]] = []
        for uid in sorted(record.series):
            series = record.series[uid]
            if not series.is_inventoried:
                continue
            values: dict[str, Value] = {
                **series.attributes,
                SERIES_INSTANCE_UID: uid,
                MODALITY: series.modality,
            }
            _mark_removed(values, record.series_removal(uid))
            if self.level is Level.INSTANCE:
                values[INVENTORIED_INSTANCES] = self._encode_instances(instances.get(uid, []))
            self.counts.series += 1
            self.counts.unknown_modalities += not series.attributes.get(MODALITY)
            rows.append(values)
        return "".join(self._series.items(rows))

    def _by_series(self, record: StudyRecord) -> dict[str, list[tuple[str, InstanceRecord]]]:
        found: dict[str, list[tuple[str, InstanceRecord]]] = {}
        for uid, instance in record.instances():
            if instance.is_inventoried:
                found.setdefault(instance.series_instance_uid, []).append((uid, instance))
        return found

    def _encode_instances(self, instances: list[tuple[str, InstanceRecord]]) -> str:
        instances.sort(key=itemgetter(0))
        rows: list[dict[str, Value]] = []
        for uid, instance in instances:
            values: dict[str, Value] = {**instance.attributes, SOP_INSTANCE_UID: uid}
            if instance.tombstone is not None:
                _mark_removed(values, instance.tombstone)
            rows.append(values)
        self.counts.instances += len(rows)
        return "".join(self._instance.items(rows))


def _mark_removed(values: dict[str, Value], tombstone: Tombstone | None) -> None:
    """Removed from Operational Use (1C) and Reason for Removal (2C: an empty sequence if no reason was stated)."""
    if tombstone is not None:
        values[REMOVED_FROM_OPERATIONAL_USE] = REMOVED
        values[REASON_FOR_REMOVAL] = [tombstone.reason] if tombstone.reason else []


def _count(number: int | None) -> str:
    return "" if number is None else str(number)
