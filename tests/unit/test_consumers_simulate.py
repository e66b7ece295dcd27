"""The simulated archive: reproducible, streamed, valid DICOM JSON, every kind of event."""

from __future__ import annotations

import gc
import io
import sys
import tracemalloc
from argparse import ArgumentParser
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import pytest
from pydicom import Dataset
from pydicom.uid import UID

from consumers.simulate import START, Mix, simulate
from consumers.simulated_values import REASONS
from state.attributes import Level, recordable
from state.times import MICROSECONDS, parse_time
from stocktake.commands import simulate as command
from stocktake.exits import Exit
from stocktake.settings import load

Event = dict[str, Any]


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return list(simulate(400, 7, max_instances=30))


def datasets(event: Event) -> list[dict[str, Any]]:
    return event["datasets"] if "datasets" in event else [event["dataset"]]


def study_uid(event: Event) -> str:
    return str(datasets(event)[0]["0020000D"]["Value"][0])


def test_the_same_arguments_give_the_same_events(events: list[Event]) -> None:
    assert orjson.dumps(events) == orjson.dumps(list(simulate(400, 7, max_instances=30)))


def test_another_seed_gives_other_studies(events: list[Event]) -> None:
    other = {study_uid(event) for event in simulate(50, 8, max_instances=5)}
    assert other.isdisjoint(study_uid(event) for event in events)


def test_as_many_studies_are_begun_as_asked(events: list[Event]) -> None:
    assert len({study_uid(event) for event in events}) == 400


def test_studies_have_one_to_max_instances_with_a_small_median_and_a_heavy_tail() -> None:
    instances: defaultdict[str, set[str]] = defaultdict(set)
    for event in simulate(500, 1, mix=Mix(batches=1.0, study_only=0.0)):
        if event["action"] == "store" and event["level"] == "INSTANCE":
            instances[study_uid(event)].update(data["00080018"]["Value"][0] for data in datasets(event))
    sizes = [len(uids) for uids in instances.values()]
    assert len(sizes) == 500
    assert min(sizes) == 1
    assert 8 <= median(sizes) <= 25
    assert 800 < max(sizes) <= 3000


def test_memory_does_not_grow_with_the_number_of_studies() -> None:
    stream = simulate(1_000_000, 1, max_instances=5)
    tracemalloc.start()
    held = []
    for _ in range(4):
        for _ in islice(stream, 3_000):  # of some 900 studies
            pass
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[-1] < held[0] * 2  # what is remembered varies in size, and does not add up


def test_studies_are_interleaved(events: list[Event]) -> None:
    changes = sum(study_uid(one) != study_uid(next_) for one, next_ in pairwise(events))
    assert changes > len(events) * 0.8


def test_the_datasets_of_one_message_are_of_one_study(events: list[Event]) -> None:
    for event in events:
        assert len({data["0020000D"]["Value"][0] for data in datasets(event)}) == 1
        assert ("dataset" in event) != ("datasets" in event)


def test_every_kind_of_event_is_there(events: list[Event]) -> None:
    kinds = Counter((event["action"], event["level"]) for event in events)
    assert set(kinds) == {
        (action, level) for action in ("store", "delete") for level in ("STUDY", "SERIES", "INSTANCE")
    } | {("update", "STUDY"), ("update", "SERIES")}
    assert kinds.most_common(1)[0][0] == ("store", "INSTANCE")
    assert any("datasets" in event for event in events)
    assert any("time" not in event for event in events)
    assert {"00100020", "00100021", "00100010", "00100030"} in [
        set(event["dataset"]) - {"0020000D"} for event in events if event["action"] == "update"
    ]
    emptied = [
        value
        for event in events
        if event["action"] == "update"
        for value in event["dataset"].values()
        if "Value" not in value
    ]
    assert emptied


def test_removals_come_with_and_without_a_reason_and_some_are_taken_back_later(events: list[Event]) -> None:
    removals = [event for event in events if event["action"] == "delete"]
    stated = [event["reason"] for event in removals if "reason" in event]
    assert 0 < len(stated) < len(removals)
    assert {(each["CodeValue"], each["CodeMeaning"]) for each in stated} <= set(REASONS)
    assert {each["CodingSchemeDesignator"] for each in stated} == {"DCM"}
    restored = set()
    for removal in removals:
        after = events[events.index(removal) + 1 :]
        for event in after:
            same_study = event["action"] == "store" and study_uid(event) == study_uid(removal)
            if same_study and "time" in event and parse_time(event["time"]) > parse_time(removal["time"]):
                restored.add((removal["level"], event["level"]))
    assert {("STUDY", "STUDY"), ("STUDY", "INSTANCE"), ("SERIES", "SERIES")} <= restored


def test_some_events_come_again_exactly_at_once_or_much_later(events: list[Event]) -> None:
    places = defaultdict(list)
    for place, event in enumerate(events):
        places[event["id"]].append(place)
    again = [found for found in places.values() if len(found) > 1]
    assert all(events[place] == events[found[0]] for found in again for place in found)
    assert any(found[1] - found[0] == 1 for found in again)
    assert any(found[1] - found[0] > 200 for found in again)


def test_times_never_lie_ahead_of_the_clock_and_some_are_late_by_hours() -> None:
    start = parse_time("2027-03-01T12:00:00+01:00")
    newest = start
    late = 0
    for count, event in enumerate(simulate(200, 3, start=start, max_instances=20), start=1):
        if "time" not in event:
            continue
        time = parse_time(event["time"])
        late += newest - time > 3600 * MICROSECONDS
        newest = max(newest, time)
        assert time <= start + count * 5 * MICROSECONDS  # the clock moves a quarter of a second an event
    assert late > 0


def test_without_late_events_time_stays_close_to_the_clock() -> None:
    mix = Mix(late=0.0, duplicates=0.0, untimed=0.0)
    times = [parse_time(event["time"]) for event in simulate(100, 3, max_instances=20, mix=mix)]
    assert times[0] >= START - MICROSECONDS
    assert all(two - one > -MICROSECONDS for one, two in pairwise(times))


def test_every_dataset_is_dicom_json_with_valid_uids_down_to_its_level(events: list[Event]) -> None:
    needed = {"STUDY": 1, "SERIES": 2, "INSTANCE": 3}
    for event in events[::4]:
        for data in datasets(event):
            parsed = Dataset.from_json(data)
            uids = [parsed.StudyInstanceUID, parsed.get("SeriesInstanceUID"), parsed.get("SOPInstanceUID")]
            given = [uid for uid in uids if uid is not None]
            assert len(given) == needed[event["level"]]
            assert all(UID(uid).is_valid and len(uid) <= 64 for uid in given)
            if event["action"] == "store" and event["level"] == "INSTANCE":
                assert parsed.SOPClassUID.name.endswith(("Storage", "Presentation"))
            for element in parsed.iterall():  # also converts every value, where a bad one would warn
                assert element.VR in {"CS", "DA", "IS", "LO", "PN", "SH", "SQ", "TM", "UI", "US"}


def test_datasets_hold_only_what_an_inventory_can_hold_and_counts(events: list[Event]) -> None:
    allowed = recordable(Level.STUDY) | recordable(Level.SERIES) | recordable(Level.INSTANCE)
    counts_and_uids = {"0020000D", "0020000E", "00080018", "00201206", "00201208", "00201209"}
    assert {tag for event in events for data in datasets(event) for tag in data} <= set(allowed) | counts_and_uids


def test_names_come_in_many_scripts_and_some_are_empty(events: list[Event]) -> None:
    names = [data["00100010"] for event in events for data in datasets(event) if "00100010" in data]
    assert {len(name["Value"][0]) for name in names if "Value" in name} == {1, 3}
    assert any("Value" not in name for name in names)
    text = "".join(str(name) for name in names)
    for letters in ("ü", "É", "Ł", "山田", "И", "ا", "Δ"):
        assert letters in text


def run_command(*arguments: str) -> Exit:
    parser = ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args(arguments), load(None, {}))


def test_the_command_prints_one_event_a_line(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    code = run_command("--studies", "5", "--seed", "2", "--max-instances", "3", "--start", "20270101")
    out, err = capfdbinary.readouterr()
    assert code is Exit.DONE
    assert err == b""
    start = parse_time("2027-01-01T00:00:00Z")
    assert [orjson.loads(line) for line in out.splitlines()] == list(simulate(5, 2, start=start, max_instances=3))


@pytest.mark.parametrize("arguments", [("--studies", "0"), ("--start", "soon"), ("--max-instances", "-1")])
def test_the_command_refuses_what_it_cannot_use(arguments: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_command(*arguments)
    assert stopped.value.code == Exit.USAGE


class _ClosedPipe(io.BytesIO):
    def write(self, _data: object, /) -> int:
        raise BrokenPipeError


@pytest.fixture
def closed_stdout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with (tmp_path / "stdout").open("wb") as file:
        pipe = _ClosedPipe()
        pipe.fileno = file.fileno  # type: ignore[method-assign]
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe))
        yield


@pytest.mark.usefixtures("closed_stdout")
def test_a_reader_that_stops_reading_is_no_error() -> None:
    assert run_command("--studies", "3") is Exit.DONE
