"""The pieces of `make bench`: messages as an archive sends them, and a report that programs can read."""

from __future__ import annotations

import os
import re
import time
import zlib
from collections import Counter
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
import pytest

from consumers.counts import Counts
from consumers.events import Event
from consumers.formats.native import NativeFormat
from consumers.publish import line_key
from state.attributes import Level
from state.vr import is_uid
from stocktake.settings import load
from tests.benchmarks import report
from tests.benchmarks.events import INTERLEAVED, Message, instance_events, study_events
from tests.benchmarks.measuring import Measured, Stopwatch, cpu_seconds, family, in_own_process, peak_memory
from tests.benchmarks.uids import KINDS, Uid

PERFORMANCE = (Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")

kinds = pytest.mark.parametrize("uid", KINDS.values(), ids=KINDS)
messages = pytest.mark.parametrize(
    "some", [list(instance_events(40, 10)), list(study_events(400))], ids=["instances", "studies"]
)


# --- messages --------------------------------------------------------------------------------------------------


def decode(value: bytes, counts: Counts) -> Event:
    """The one event of a message that arrives now."""
    decoder = NativeFormat(load(None, {}).consumer, ZoneInfo("UTC"), counts)
    [event] = decoder.decode(value, time.time_ns() // 1000)
    assert isinstance(event, Event)
    return event


def test_the_same_arguments_give_the_same_messages() -> None:
    assert list(instance_events(30, 10)) == list(instance_events(30, 10))
    assert list(study_events(30)) == list(study_events(30))


@messages
def test_messages_are_about_as_large_as_an_archive_sends_them(some: list[Message]) -> None:
    assert 1100 <= sum(len(value) for _, value in some) / len(some) <= 1300


@messages
def test_every_message_is_an_event_of_the_study_that_is_its_key(some: list[Message]) -> None:
    for key, value in some:
        assert line_key(value) == key
        assert decode(value, Counter()).study_instance_uid.encode() == key


@messages
def test_the_program_keeps_every_value_and_believes_every_time(some: list[Message]) -> None:
    counts: Counts = Counter()
    for _, value in some:
        decode(value, counts)
    assert not counts["values_repaired"] + counts["values_emptied"] + counts["times_ahead"] + counts["times_absent"]


@messages
def test_no_event_comes_twice(some: list[Message]) -> None:
    assert len({orjson.loads(value)["id"] for _, value in some}) == len(some)


def test_as_many_studies_come_at_the_same_time_as_an_archive_receives() -> None:
    keys = [key for key, _ in islice(instance_events(60, 10), 3 * INTERLEAVED)]
    for begin in range(0, len(keys), INTERLEAVED):
        assert set(keys[begin : begin + INTERLEAVED]) == set(keys[:INTERLEAVED])
    assert len(set(keys)) == INTERLEAVED


def test_every_instance_of_every_study_is_stored_once_in_series_of_the_length_asked_for() -> None:
    instances: Counter[tuple[str, str | None]] = Counter()
    seen = set()
    for _, value in instance_events(25, 10, first=7, series_length=4):
        event = decode(value, Counter())
        [entity] = event.entities
        instances[event.study_instance_uid, entity.series_instance_uid] += 1
        seen.add(entity.sop_instance_uid)
    assert len(seen) == 250
    assert Counter(instances.values()) == {4: 50, 2: 25}


def test_a_study_event_tells_patient_study_and_counts() -> None:
    for _, value in study_events(50):
        event = decode(value, Counter())
        [entity] = event.entities
        assert event.level is Level.STUDY
        assert entity.expected_series
        assert entity.expected_instances
        assert {"00080061", "00081030", "00100010", "00100020", "00200010"} <= entity.study.keys()


def test_a_patient_has_two_or_three_studies() -> None:
    patients = Counter(decode(value, Counter()).entities[0].study["00100020"] for _, value in study_events(500))
    assert set(patients.values()) == {2, 3}
    assert len(patients) == 200


def test_study_events_can_be_made_in_chunks() -> None:
    assert [*study_events(20), *study_events(30, first=20)] == list(study_events(50))


@kinds
def test_every_uid_is_valid_and_stands_for_one_thing(uid: Uid) -> None:
    numbers = [(n, s, i) for n in range(50) for s in range(3) for i in range(20)]
    made = {uid(*one) for one in numbers}
    assert len(made) == len(numbers)
    assert all(is_uid(one) for one in made)  # at most 64 characters among the rest


def test_a_vendors_uids_pack_far_better_than_random_ones() -> None:
    packed = {
        kind: len(zlib.compress("\n".join(uid(7, 1, i) for i in range(1, 101)).encode("ascii")))
        for kind, uid in KINDS.items()
    }
    assert 4 * packed["vendor"] < packed["uuid"] < packed["pydicom"] * 1.2


# --- measuring -------------------------------------------------------------------------------------------------


def test_a_function_runs_in_a_process_of_its_own() -> None:
    assert in_own_process(os.getpid) not in family(os.getpid())


def test_a_stopwatch_tells_what_processes_used_between_its_start_and_its_stop() -> None:
    watch = Stopwatch({"own": (os.getpid(),)})
    begun = cpu_seconds(os.getpid())
    watch.start()
    while cpu_seconds(os.getpid()) < begun + 0.05:
        pass
    measured = watch.stop(200)
    assert measured.events == 200
    assert 0.03 <= measured.cpu["own"] <= cpu_seconds(os.getpid())
    assert measured.peak_bytes == peak_memory(os.getpid()) > 1_000_000


# --- the report ------------------------------------------------------------------------------------------------


def runs(seconds: float) -> list[Measured]:
    """Three repetitions of 1000 events, of which the second took that long and the others more and less."""
    return [
        Measured(1000, seconds * factor, 50_000_000 + round(factor * 10), dict.fromkeys(report.ROLES, seconds))
        for factor in (0.5, 1.0, 4.0)
    ]


@pytest.fixture
def found() -> report.Figures:
    return report.figures({key: runs(1.0 + number) for number, key in enumerate(report.PATHS)})


def test_rates_are_medians_and_memory_is_the_most(found: report.Figures) -> None:
    assert found["poll_per_second"] == 1000
    assert found["tuned_poll_per_second"] == 500
    assert found["poll_peak_mb"] == pytest.approx(50.00004)


def test_ratios_are_those_of_the_medians(found: report.Figures) -> None:
    assert found["decode_vs_poll"] == pytest.approx(1 / 3)
    for name, (path, base) in report.RATIOS.items():
        assert found[name] == pytest.approx(found[f"{path}_per_second"] / found[f"{base}_per_second"])
    for name, (path, base) in report.CPU_RATIOS.items():
        assert found[name] == pytest.approx(found[f"{base}_own_cpu_per_100k"] / found[f"{path}_own_cpu_per_100k"])


def test_the_tables_have_a_row_for_every_path_and_ratio(found: report.Figures) -> None:
    rows = [line.strip("| ").split("|") for line in report.table(found).splitlines() if line.startswith("| ")]
    first = Counter(row[0].strip() for row in rows)
    assert first.keys() - {"path", "ratio"} == {
        *(name for name, _ in report.PATHS.values()),
        *(f"`{name}`" for name in (*report.RATIOS, *report.CPU_RATIOS)),
    }
    assert set(first.values()) == {1}
    [tuned] = [row for row in rows if row[0].strip() == report.PATHS["tuned_poll"][0]]
    assert [cell.strip() for cell in tuned[1:]] == ["500", "0.50", "50", *["200.00"] * 3]


def test_the_file_is_a_flat_object_of_names_and_numbers(found: report.Figures, tmp_path: Path) -> None:
    report.write(found, tmp_path / "build" / "bench.json")
    read = orjson.loads((tmp_path / "build" / "bench.json").read_bytes())
    assert read.keys() == found.keys()
    assert all(isinstance(value, float) for value in read.values())
    assert read["decode_vs_poll"] == 0.333


def test_the_machine_is_named_with_its_cores_and_the_versions_that_matter() -> None:
    line = report.machine()
    for part in (
        r"^\d{4}-\d\d-\d\d, ",
        r"\b\d+ cores of \w",
        r"\bPython 3\.\d+",
        r"\bkafka-python 3\.",
        r"\borjson \d",
    ):
        assert re.search(part, line), line


def test_the_document_names_every_ratio() -> None:
    named = set(re.findall(r"`(\w+)`", PERFORMANCE))
    assert {*report.RATIOS, *report.CPU_RATIOS} <= named
