"""An archive whose events reach a real state at once, and what it says: all that the table has, errors, removals.

Used by the tests of written files; nothing of it needs Kafka.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import orjson

from consumers.apply import Applier
from consumers.counts import Counts
from consumers.formats.native import NativeFormat
from consumers.grouping import Decoded
from consumers.owing import Owing
from state.attributes import SOP_CLASS_UID, Attribute, Level, recordable
from state.chain import Lease
from state.connection import Connection
from state.debts import Debts
from state.patients import Patients
from state.repository import Progress, Repository
from state.studies import Studies
from state.values import Item, Value
from stocktake.memory import prepare_memory
from stocktake.settings import Settings
from tests.records import AWKWARD
from tests.standard_table import INSTANCES, SERIES, STUDIES, TagPath, standard_rows
from writers.manifest import Manifest
from writers.produce import Producer
from writers.runs import Slices
from writers.standalone import Range, write_standalone

CT: Final = "1.2.840.10008.5.1.4.1.1.2"
DAY: Final = 86_400_000_000
NOON: Final = 20_000 * DAY + DAY // 2  # of a day in 2024
PARTITION: Final = "topic:0"
REASON: Final = {
    "CodeValue": "113001",
    "CodingSchemeDesignator": "DCM",
    "CodeMeaning": "Rejected for Quality Reasons",
}


class Archive:
    """A followed repository whose events are applied at once; what it writes lies below ``inventory.dir``."""

    def __init__(self, url: str, name: str, settings: Settings) -> None:
        self.inventory = settings.inventory
        self.counts: Counts = Counter()
        redis = replace(settings.redis, url=url)
        self.connection = Connection(redis)
        self.repository = Repository(self.connection, name)
        self.repository.claim(settings.state.shards, settings.inventory.level)
        self.repository.set_topics({"topic": ("topic", 1)})
        self.studies = Studies(self.connection, name, settings.state.shards)
        self.slices = Slices(self.studies, redis, settings.inventory, prepare_memory)
        self.chain = settings.chain
        self._format = NativeFormat(settings.consumer, UTC, self.counts)
        self._applier = Applier(
            self.studies,
            Patients(self.connection, name, settings.state.shards),
            Owing(Debts(self.connection, name, settings.state.shards), follows=True),
            self.counts,
        )
        self._offset = self._applier.assign(PARTITION)
        self._lease = Lease(self.connection, name, 30)

    def tell(self, events: Iterable[dict[str, Any]]) -> None:
        batch = []
        for event in events:
            self._offset += 1
            batch.append(Decoded(PARTITION, self._offset, self._format.decode(orjson.dumps(event), NOON)))
        self._applier.apply(batch)
        self._applier.advance({PARTITION: self._offset})
        self.repository.publish_progress({PARTITION: Progress(NOON, self._offset, NOON)})

    def produce(self, kind: str = "next", *, force: bool = False) -> tuple[Path, Manifest]:
        assert self._lease.take()
        producer = Producer(
            self.connection, self.slices, self.repository, self._lease, self.inventory, self.chain, UTC, "Test 1"
        )
        producer.folder.prepare()
        manifest = producer.produce(kind, force=force)
        self._lease.release()
        return producer.folder.path / manifest.file, manifest

    def standalone(self, output: Path, wanted: Range) -> Path:
        write_standalone(self.studies, wanted, NOON, output, self.inventory, UTC, "Test 1")
        return output


# --- what it says -----------------------------------------------------------------------------------------------


def event(action: str, study: str, series: str = "", sop: str = "", **more: Any) -> dict[str, Any]:
    """A native event; ``attributes`` by tag in the DICOM JSON Model, other names are the event's own."""
    dataset = {
        tag: {"vr": "UI", "Value": [uid]}
        for tag, uid in {"0020000D": study, "0020000E": series, "00080018": sop}.items()
        if uid
    }
    if sop and action == "store":
        dataset[SOP_CLASS_UID] = {"vr": "UI", "Value": [CT]}
    dataset |= more.pop("attributes", {})
    return {"action": action, "time": "2024-10-01T00:00:00Z", "dataset": dataset} | more


def text(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


def everything(level: Level) -> Item:
    """Every attribute that a record keeps at a level, each sequence with one Item that holds everything it may.

    Original Attributes Sequence is not kept: its Items must hold Modified Attributes Sequence, whose content is free.
    """
    pool = {vr: cycle(values) for vr, values in AWKWARD.items()}

    def whole(table: dict[str, Attribute]) -> Item:
        return {tag: [whole(row.children)] if row.vr == "SQ" else next(pool[row.vr]) for tag, row in table.items()}

    return whole({tag: row for tag, row in recordable(level).items() if row.keyword != "OriginalAttributesSequence"})


def as_json(flat: Item, path: TagPath) -> dict[str, Any]:
    """A flat Item in the DICOM JSON Model (PS3.18 F.2)."""
    return {tag: json_element(value, (*path, tag)) for tag, value in flat.items()}


def json_element(value: Value, path: TagPath) -> dict[str, Any]:
    vr = standard_rows()[path].vr
    if isinstance(value, list):
        return text(vr, *(as_json(item, path) for item in value))
    if vr == "OB":
        return {"vr": vr, "InlineBinary": value}
    parts: list[Any] = [value] if vr in {"LT", "ST", "UT"} else value.split("\\")
    if vr in {"SL", "UL", "US", "UV"}:
        parts = [int(part) for part in parts]
    if vr == "PN":
        names = ("Alphabetic", "Ideographic", "Phonetic")
        parts = [dict(zip(names, part.split("="), strict=False)) for part in parts]
    return text(vr, *parts)


def full_study(study: str) -> list[dict[str, Any]]:
    series, sop = f"{study}.1", f"{study}.1.1"
    return [
        event("store", study, level="STUDY", attributes=as_json(everything(Level.STUDY), STUDIES)),
        event("store", study, series, level="SERIES", attributes=as_json(everything(Level.SERIES), SERIES)),
        event("store", study, series, sop, attributes=as_json(everything(Level.INSTANCE), INSTANCES)),
    ]


def names_of_several_scripts(study: str) -> list[dict[str, Any]]:
    japanese = {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    attributes = {
        "00100010": text("PN", japanese),
        "00081030": text("LO", "قباني لنزار"),
        "00100020": text("LO", "ü" * 64),
        "00080050": text("SH", ""),
        "00080020": {"vr": "DA"},
        "00080030": text("TM", None),
        "00100040": {"vr": "CS", "Value": []},
    }
    return [event("store", study, f"{study}.1", f"{study}.1.{number}", attributes=attributes) for number in range(5)]


def values_that_break_their_vr(study: str) -> list[dict[str, Any]]:
    repaired = {"00080020": text("DA", "2026.01.02"), "00100040": text("CS", "f"), "00080060": text("CS", "ct ")}
    emptied = {
        "00100030": text("DA", "19991332"),
        "00080050": text("SH", "x" * 17),
        "00081030": text("LO", "a\x07bell"),
        "00100010": text("PN", {"Alphabetic": "a" * 65}),
        "00080030": text("TM", "quarter past ten"),
        "00200010": text("SH", "A", "B"),
        "00200013": text("IS", 2**31),
    }
    return [event("store", study, f"{study}.1", f"{study}.1.1", attributes=repaired | emptied)]


def removals(study: str) -> list[dict[str, Any]]:
    """The first study as such, the second with its series, the third with its instances, the fourth in part."""
    stored = [
        event("store", f"{study}.{number}", f"{study}.{number}.{series}", f"{study}.{number}.{series}.{sop}")
        for number in (1, 2, 3, 4)
        for series in (1, 2)
        for sop in (1, 2)
    ]
    gone = [event("delete", f"{study}.1", level="STUDY", reason=REASON)]
    gone += [event("delete", f"{study}.2", f"{study}.2.{series}", level="SERIES") for series in (1, 2)]
    gone += [
        event(
            "delete",
            f"{study}.{number}",
            f"{study}.{number}.{series}",
            f"{study}.{number}.{series}.{sop}",
            reason=REASON,
        )
        for number, series, sop in ((3, 1, 1), (3, 1, 2), (3, 2, 1), (3, 2, 2), (4, 1, 1), (4, 2, 1), (4, 2, 2))
    ]
    return stored + gone


def all_of_it() -> list[dict[str, Any]]:
    return [
        *full_study("1.2.1"),
        *names_of_several_scripts("1.2.2"),
        *values_that_break_their_vr("1.2.3"),
        *removals("1.2.4"),
    ]
