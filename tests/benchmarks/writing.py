"""Inventories written and read: pydicom, the encoder from records in memory, all of it from Redis, and reading alone.

Records are those of :mod:`tests.benchmarks.events`: studies told at study level, and studies of 500 instances.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from redis import Redis

from consumers.formats.native import NativeFormat
from consumers.merge import merge
from state.attributes import Attribute, Level, inventory_module
from state.keys import ShardKeys
from state.record import StudyRecord
from state.studies import ReadStudy, batches
from state.times import to_dt
from state.values import Item
from stocktake.memory import prepare_memory, spare_the_collector
from stocktake.settings import Settings
from stocktake.wiring import open_producer, open_repository
from tests.benchmarks.events import Message, instance_events, study_events
from tests.benchmarks.growth import Feeder
from tests.benchmarks.measuring import in_own_process, peak_memory
from tests.benchmarks.servers import own_redis
from writers import iod
from writers.assembly import write_file
from writers.reader import InventoryFile
from writers.records import Limits, RunFiles, write_records
from writers.terms import COMPLETE, INVENTORY_STORAGE

Figures = dict[str, float]

INSTANCES: Final = 500  # of a study, at INSTANCE level

_NOW: Final = 1_790_000_000_000_000
_READING: Final = 1000  # studies in one round trip, where nothing else is done with them
_BATCH: Final = 5000
_UNLIMITED: Final = Limits(10**12, 10**15)
_IN_ONE_FILE: Final = {Level.STUDY: 10_000, Level.INSTANCE: 200}  # with pydicom, whose data sets take the memory


@dataclass(frozen=True, slots=True)
class Work:
    """Records of one level: ``studies`` of them."""

    level: Level
    studies: int

    @property
    def name(self) -> str:
        return self.level.lower()

    def settings(self, given: Settings) -> Settings:
        return replace(given, inventory=replace(given.inventory, level=self.level))

    def messages(self, first: int = 0, count: int | None = None) -> Iterator[Message]:
        studies = self.studies if count is None else count
        if self.level is Level.STUDY:
            return study_events(studies, first=first)
        return instance_events(studies, INSTANCES, first=first)

    def records(self, settings: Settings, first: int, count: int) -> list[StudyRecord]:
        """The records that the events come to."""
        found: dict[str, StudyRecord] = {}
        decoder = NativeFormat(settings.consumer, ZoneInfo("UTC"), Counter(), self.level)
        for offset, (key, value) in enumerate(self.messages(first, count)):
            for event in decoder.decode(value, _NOW, key):
                uid = event.study_instance_uid  # type: ignore[union-attr]  # no event here is a patient's
                merge(found.setdefault(uid, StudyRecord(uid)), [(event, "p", offset)])  # type: ignore[list-item]
        return list(found.values())

    def pages(self, settings: Settings) -> Iterator[list[StudyRecord]]:
        """All of them, as many at a time as go into one file of pydicom's."""
        size = _IN_ONE_FILE[self.level]
        for first in range(0, self.studies, size):
            yield self.records(settings, first, min(size, self.studies - first))


def measure(settings: Settings, studies: int, with_instances: int, memory: Iterable[int]) -> Figures:
    """All figures. ``memory``: how many studies are in the states of which one process makes a baseline; its memory."""
    found: Figures = {}
    for work in (Work(Level.STUDY, studies), Work(Level.INSTANCE, with_instances)):
        sys.stderr.write(f"{work.studies:,} studies at {work.level} level\n")
        found |= _measure(settings, work)
    peaks = []
    for count in memory:
        sys.stderr.write(f"the memory that a baseline of {count:,} studies takes\n")
        with own_redis(settings) as redis:
            in_own_process(fill, redis.settings, Work(Level.STUDY, count))
            written = in_own_process(baseline, redis.settings, Work(Level.STUDY, count), 1)
        peaks.append(written["peak_mb"])
        found |= {f"rss_mb_{count}": written["peak_mb"], f"baseline_{count}_per_second": written["written"]}
    found["rss_growth_mb"] = peaks[-1] - peaks[0]
    return found


def _measure(settings: Settings, work: Work) -> Figures:
    by_pydicom = in_own_process(with_pydicom, settings, work)
    from_memory = in_own_process(from_records, settings, work)
    with own_redis(settings) as redis:
        in_own_process(fill, redis.settings, work)
        reading = in_own_process(read_only, redis.settings, work)
        from_redis = in_own_process(baseline, redis.settings, work, settings.inventory.processes)
    name = "write" if work.level is Level.STUDY else "write_instances"
    read = "read" if work.level is Level.STUDY else "read_instances"
    return {
        f"{work.name}_pydicom_per_second": by_pydicom["written"],
        f"{work.name}_pydicom_peak_mb": by_pydicom["peak_mb"],
        f"{work.name}_from_memory_per_second": from_memory["written"],
        f"{work.name}_from_redis_per_second": from_redis["written"],
        f"{work.name}_from_redis_peak_mb": from_redis["peak_mb"],
        f"{work.name}_redis_read_per_second": reading["records"],
        f"{work.name}_redis_raw_read_per_second": reading["raw"],
        f"write_{work.name}_vs_pydicom": from_memory["written"] / by_pydicom["written"],
        f"{name}_from_redis_vs_pydicom": from_redis["written"] / by_pydicom["written"],
        f"{name}_from_redis_vs_read": from_redis["written"] / reading["records"],
        f"{name}_from_redis_vs_raw_read": from_redis["written"] / reading["raw"],
        f"{work.name}_pydicom_read_per_second": by_pydicom["read"],
        f"{work.name}_reader_per_second": from_memory["read"],
        f"{read}_vs_pydicom": from_memory["read"] / by_pydicom["read"],
    }


# --- each in a process of its own; studies a second -------------------------------------------------------------


def with_pydicom(settings: Settings, work: Work) -> Figures:
    """Data sets built and saved, then the files read and an element of every Item looked at."""
    written = read = 0.0
    with TemporaryDirectory() as folder:
        path = Path(folder) / "pydicom.dcm"
        for records in work.pages(settings):
            gc.collect()
            gc.freeze()  # our records are no burden of pydicom's
            begun = perf_counter()
            _dataset(records, work.level).save_as(path, enforce_file_format=True)
            written += perf_counter() - begun
            begun = perf_counter()
            for study in dcmread(path).InventoriedStudiesSequence:
                _touch(study)
            read += perf_counter() - begun
    return {"written": work.studies / written, "read": work.studies / read, "peak_mb": _peak()}


def from_records(settings: Settings, work: Work) -> Figures:
    """An Inventory of records in memory, on disk; then read by the streaming reader."""
    spare_the_collector()
    written = read = 0.0
    with TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "whole.dcm"
        for records in work.pages(settings):
            begun = perf_counter()
            _write(settings, work, records, folder, path)
            written += perf_counter() - begun
            begun = perf_counter()
            with InventoryFile(path) as inventory:
                found = sum(bool(item.study_instance_uid) for item in inventory.studies())
                inventory.check_whole(found)
            read += perf_counter() - begun
    return {"written": work.studies / written, "read": work.studies / read, "peak_mb": _peak()}


def fill(settings: Settings, work: Work) -> None:
    """Apply the work's events to an empty state."""
    with (
        closing(open_repository(work.settings(settings), None)) as opened,
        Redis.from_url(settings.redis.url) as client,
    ):
        Feeder(work.settings(settings), opened, client).feed(work.messages(), _BATCH)


def read_only(settings: Settings, work: Work) -> Figures:
    """Every study read from Redis as the writer reads it, into records; and only its fields, a thousand a time."""
    spare_the_collector()
    with closing(open_repository(work.settings(settings), None)) as opened:
        shards = [(shard, opened.studies.updated(shard, None, None)) for shard in range(opened.studies.shards)]
        begun = perf_counter()
        for shard, uids in shards:
            keys = ShardKeys(opened.policy.name, shard)
            for page in batches(uids, _READING):
                opened.connection.send([("HGETALL", keys.study(uid)) for uid in page])
        raw = perf_counter() - begun
        begun = perf_counter()
        for _, uids in shards:
            for _ in opened.studies.read(uids):
                pass
        records = perf_counter() - begun
    return {"raw": work.studies / raw, "records": work.studies / records}


def baseline(settings: Settings, work: Work, processes: int) -> Figures:
    """A baseline of the whole state, published and settled: everything that ``stocktake baseline`` does."""
    prepare_memory()
    with TemporaryDirectory() as folder:
        inventory = replace(
            work.settings(settings).inventory, dir=Path(folder), processes=processes, max_records_per_instance=10**9
        )
        with closing(open_repository(replace(settings, inventory=inventory), None)) as opened:
            producer, lease = open_producer(replace(settings, inventory=inventory), opened)
            if not lease.take():
                raise RuntimeError("the lease is somebody's")
            begun = perf_counter()
            manifest = producer.produce("baseline", force=True)
            seconds = perf_counter() - begun
            lease.release()
        if manifest.counts["studies"] != work.studies:
            raise RuntimeError(f"{manifest.counts['studies']} studies were written, not {work.studies}")
    return {"written": work.studies / seconds, "peak_mb": _peak()}


# --- what they do ------------------------------------------------------------------------------------------------


def _write(settings: Settings, work: Work, records: list[StudyRecord], folder: Path, path: Path) -> None:
    policy = settings.inventory
    files = RunFiles(folder, "run")
    reads = [ReadStudy(record, _NOW) for record in records]
    found = write_records(reads, work.level, _NOW, files, _UNLIMITED)
    heading = iod.Heading("1.2.3", _NOW, (0, _NOW), work.level, "Benchmark", [])
    trailer = iod.trailer(COMPLETE, found.own, found.own, policy, "Benchmark")
    written = write_file(folder / "part", heading, found.segments, trailer, policy, UTC)
    shutil.move(written.path, path)


def _peak() -> float:
    return peak_memory(os.getpid()) / 1e6


def _dataset(records: list[StudyRecord], level: Level) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = INVENTORY_STORAGE
    dataset.SOPInstanceUID = "1.2.3"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.InventoriedStudiesSequence = [_study(record, level) for record in records]
    return dataset


def _study(record: StudyRecord, level: Level) -> Dataset:
    values = record.attributes | {
        "0020000D": record.study_instance_uid,
        "00080404": to_dt(_NOW),
        "0008041F": to_dt(record.update_time),
        "00080061": record.modalities,
        "00201206": str(record.number_of_series),
        "00201208": str(record.number_of_instances),
    }
    item = _item(values)
    if level is Level.INSTANCE:
        instances: dict[str, list[Dataset]] = {}
        for uid, instance in record.instances():
            made = _item(instance.attributes | {"00080018": uid})
            instances.setdefault(instance.series_instance_uid, []).append(made)
        item.InventoriedSeriesSequence = []
        for uid, series in record.series.items():
            made = _item(series.attributes | {"0020000E": uid})
            made.InventoriedInstancesSequence = instances[uid]
            item.InventoriedSeriesSequence.append(made)
    return item


def _item(values: Item) -> Dataset:
    item = Dataset()
    for tag, value in values.items():
        number, vr = _known()[tag]
        if isinstance(value, list):
            item.add_new(number, vr, [_item(one) for one in value])
        elif vr == "US":
            item.add_new(number, vr, int(value))
        else:
            item.add_new(number, vr, value.split("\\") if "\\" in value else value)
    return item


@cache
def _known() -> dict[str, tuple[int, str]]:
    """Tag as a number and VR of every attribute, so that pydicom need not look them up."""
    found: dict[str, tuple[int, str]] = {}

    def add(table: dict[str, Attribute]) -> None:
        for tag, attribute in table.items():
            found[tag] = (int(tag, 16), attribute.vr)
            add(attribute.children)

    add(inventory_module())
    return found


def _touch(study: Dataset) -> Any:
    for series in study.get("InventoriedSeriesSequence", ()):
        for instance in series.InventoriedInstancesSequence:
            instance.SOPInstanceUID  # noqa: B018
    return study.StudyInstanceUID
