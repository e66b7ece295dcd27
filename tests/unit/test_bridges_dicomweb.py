"""The bridge that polls QIDO-RS: what it tells, what it does not, when it says that all is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import Any, cast

import orjson
import pytest

from consumers.archives.archive import ArchiveBusy
from consumers.archives.client import ArchiveClient
from consumers.archives.qido import Search
from consumers.bridges.bridge import Feed
from consumers.bridges.dicomweb import NAME, DicomwebFeed, PollPolicy, differs
from consumers.publish import Publisher, PublishError
from state.connection import Connection
from state.positions import Positions
from state.record import SeriesRecord, StudyRecord, Tombstone
from state.seen import Seen, Sight
from state.studies import PartsWanted, Studies
from state.times import MICROSECONDS, parse_time
from tests.servers.fake_dicomweb import FakeArchive, archive_policy, element, instance, run_archive

NOON = parse_time("2024-05-10T12:00:00Z")
POLICY = PollPolicy(window=7, page=100, older=0, heartbeat=10.0)


class Hashes:
    """A server that knows hashes alone."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[bytes, bytes]] = {}

    def send(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        return [self._one(*command) for command in commands]

    def _one(self, name: str, key: str, *words: Any) -> Any:
        words = tuple(word.encode() if isinstance(word, str) else word for word in words)
        held = self.kept.setdefault(key, {})
        match name:
            case "HSET":
                held.update(zip(words[::2], words[1::2], strict=True))
            case "HGET":
                return held.get(words[0])
            case "HGETALL":
                return dict(held)
            case "HDEL":
                for word in words:
                    held.pop(word, None)
        return None


class Sink:
    """A publisher that keeps what it is given, and may fail."""

    def __init__(self) -> None:
        self.looks: list[str] = []
        self.times: list[int] = []
        self.beats: list[int] = []
        self.unconfirmed = 0
        self.failing = False

    def partitions(self) -> list[int]:
        return [0]

    def send(self, key: bytes, value: bytes, partition: int | None = None) -> None:
        told = orjson.loads(value)
        if told["action"] == "heartbeat":
            assert not self.unconfirmed
            self.beats.append(parse_time(told["time"]))
            return
        assert told["action"] == "look"
        uid = told["dataset"]["0020000D"]["Value"][0]
        assert key == uid.encode()
        self.looks.append(uid)
        self.times.append(parse_time(told["time"]))
        self.unconfirmed += 1

    def flush(self) -> None:
        if self.failing:
            raise PublishError("away")
        self.unconfirmed = 0

    def told(self) -> list[str]:
        """The looks since this was asked last."""
        looks, self.looks = self.looks, []
        return sorted(looks)


class Known(Studies):
    """What the state has of studies."""

    def __init__(self) -> None:
        self.records: dict[str, StudyRecord] = {}

    def read_parts(self, wanted: Mapping[str, PartsWanted], meanwhile: Any = None) -> dict[str, StudyRecord]:
        return {uid: self.records.get(uid) or StudyRecord(uid) for uid in wanted}


@dataclass
class World:
    """An archive, a state, a topic and a clock."""

    archive: FakeArchive
    client: ArchiveClient
    policy: PollPolicy = POLICY
    server: Hashes = field(default_factory=Hashes)
    known: Known = field(default_factory=Known)
    sink: Sink = field(default_factory=Sink)
    counts: Counter[str] = field(default_factory=Counter)
    now: int = NOON

    def __post_init__(self) -> None:
        self.connection = cast(Connection, self.server)
        self.seen = Seen(self.connection, "r", 4)
        self.feed = self.start()

    def start(self) -> DicomwebFeed:
        """A bridge that has just been started."""
        self.feed = DicomwebFeed(
            Search(self.client),
            self.known,
            self.seen,
            Positions(self.connection, "r"),
            self.policy,
            UTC,
            self.counts,
            lambda: self.now,
            lambda: self.now / MICROSECONDS,
        )
        checked: Feed = self.feed
        checked.begin(cast(Publisher, self.sink))
        return self.feed

    def poll(self, minutes: int = 1) -> list[str]:
        """A whole poll; what it told."""
        self.now += minutes * 60 * MICROSECONDS
        while self.feed.step():
            pass
        return self.sink.told()

    def add(self, number: int, day: str | None = "20240508", instances: int = 1, **values: Any) -> str:
        uid = f"1.2.{number}"
        self.archive.add(*(instance(uid, f"{uid}.1", f"{uid}.1.{one}", day, **values) for one in range(instances)))
        return uid


@pytest.fixture
def world() -> Iterator[World]:
    with run_archive(FakeArchive()) as archive:
        client = ArchiveClient(archive_policy(archive.url))
        yield World(archive, client)
        client.close()


# --- the window ----------------------------------------------------------------------------------------------------


def test_a_study_is_told_when_it_is_new_and_not_again(world: World) -> None:
    new = [world.add(number) for number in range(3)]
    assert world.poll() == new
    assert world.poll() == []
    assert world.poll() == []
    assert world.counts == {"polls": 3, "looks_new": 3, "looks_vanished": 0}


def test_a_look_has_the_time_at_which_the_poll_began(world: World) -> None:
    world.add(1)
    world.poll()
    assert world.sink.times == [world.now]


@pytest.mark.parametrize(
    "change",
    [
        {"00201208": element("IS", 9)},
        {"00201206": element("IS", 9)},
        {"00080061": element("CS", "CT", "SR")},
        {"00100010": element("PN", {"Alphabetic": "Other^Name"})},
        {"00080050": element("SH", "A2")},
        {"77770010": element("LO", "DCM4CHEE Archive 5"), "77771021": element("DT", "20240509101112+0000")},
    ],
)
def test_a_study_of_which_the_archive_says_another_thing_is_told(world: World, change: dict[str, Any]) -> None:
    changed, _ = world.add(1), world.add(2)
    world.poll()
    world.archive.extra[changed] = change
    assert world.poll() == [changed]
    assert world.poll() == []


@pytest.mark.parametrize(
    "change",
    [
        {"00081190": element("UR", "http://another/host")},
        {"00080056": element("CS", "NEARLINE")},
        {"77770010": element("LO", "DCM4CHEE Archive 5"), "77771022": element("DT", "20240509101112+0000")},
        {"00080061": element("CS", "CT ")},
        {"00201208": element("IS", "1")},
    ],
)
def test_where_a_study_is_kept_or_how_it_is_written_is_no_change(world: World, change: dict[str, Any]) -> None:
    uid = world.add(1)
    world.poll()
    world.archive.extra[uid] = change
    assert world.poll() == []


def test_a_study_that_vanished_is_told_once(world: World) -> None:
    gone, _ = world.add(1), world.add(2)
    world.poll()
    world.archive.remove(gone)
    assert world.poll() == [gone]
    assert world.poll() == []
    assert world.counts["looks_vanished"] == 1


def test_a_study_that_leaves_the_window_is_forgotten_and_not_taken_to_have_vanished(world: World) -> None:
    world.add(1, "20240503")
    stays = world.add(2, "20240509")
    world.poll()
    assert world.poll(minutes=24 * 60) == []
    assert world.seen.read().keys() == {stays}


def test_studies_outside_of_the_window_are_not_told(world: World) -> None:
    world.add(1, "20240502")
    ahead = world.add(2, "20300101")
    world.add(3, None)
    assert world.poll() == [ahead]


def test_a_server_that_does_not_search_by_dates_fills_nothing_with_old_studies(world: World) -> None:
    world.archive.ignores_dates = True
    world.add(1, "20100101")
    new = world.add(2)
    assert world.poll() == [new]
    assert world.seen.read().keys() == {new}


@pytest.mark.parametrize("cap", [1, 3, None])
def test_a_window_is_read_in_pages(world: World, cap: int | None) -> None:
    world.policy = replace(POLICY, page=4)
    world.start()
    world.archive.cap = cap
    new = sorted(world.add(number) for number in range(10))
    assert sorted({*world.poll()}) == new
    assert world.poll() == []


def test_a_bridge_that_is_started_again_tells_what_changed_meanwhile_and_no_more(world: World) -> None:
    changed, gone, same = (world.add(number) for number in range(3))
    world.poll()
    world.add(0, instances=2)
    world.archive.remove(gone)
    new = world.add(9)
    world.start()
    assert world.poll() == [changed, gone, new]
    assert same in world.seen.read()


def test_what_is_not_confirmed_is_told_again(world: World) -> None:
    uid = world.add(1)
    world.sink.failing = True
    with pytest.raises(PublishError):
        world.poll()
    assert world.seen.read() == {}
    assert world.sink.beats == []
    world.sink = Sink()
    world.feed.begin(cast(Publisher, world.sink))
    assert world.poll() == [uid]
    assert len(world.sink.beats) == 1


def test_an_archive_that_fails_half_way_makes_nothing_vanish(world: World) -> None:
    world.policy = replace(POLICY, page=2)
    world.start()
    for number in range(6):
        world.add(number)
    world.poll()
    world.now += MICROSECONDS
    assert world.feed.step()
    world.archive.busy = 1
    with pytest.raises(ArchiveBusy):
        world.feed.step()
    world.feed.begin(cast(Publisher, world.sink))
    assert world.poll() == []
    assert world.counts["polls"] == 2


# --- heartbeats ----------------------------------------------------------------------------------------------------


def test_a_heartbeat_tells_of_the_time_before_the_poll_began(world: World) -> None:
    for number in range(5):
        world.add(number)
    world.poll()
    assert world.sink.beats == [world.now - MICROSECONDS]
    world.now += MICROSECONDS
    world.feed.step()
    assert len(world.sink.beats) == 1  # not every second


def test_there_is_no_heartbeat_before_all_of_a_poll_is_told(world: World) -> None:
    world.policy = replace(POLICY, page=2)
    world.start()
    for number in range(5):
        world.add(number)
    while world.feed.step():
        assert world.sink.beats == []
    assert len(world.sink.beats) == 1


# --- older studies -------------------------------------------------------------------------------------------------


def record(uid: str, instances: int = 1, modality: str = "CT", series: int = 1, updated: int = 5) -> StudyRecord:
    made = StudyRecord(uid, own_time=updated, known_instances=instances)
    for number in range(series):
        held = instances if number == 0 else 0
        made.series[f"{uid}.{number}"] = SeriesRecord({"00080060": modality}, stored=True, instances=held)
    return made


def test_older_studies_are_compared_page_by_page_and_again_from_the_first(world: World) -> None:
    world.policy = replace(POLICY, older=2)
    world.start()
    for number in range(5):
        uid = world.add(number, "20100101" if number else None)
        world.known.records[uid] = record(uid)
    changed = world.add(3, "20100101", instances=2)
    assert [uid for _ in range(5) for uid in world.poll()] == [changed]
    assert world.counts["rounds"] == 1
    assert [uid for _ in range(5) for uid in world.poll()] == [changed]  # until the look has told the state


def test_an_older_study_that_the_state_does_not_know_is_told(world: World) -> None:
    world.policy = replace(POLICY, older=10)
    world.start()
    unknown = world.add(1, "20100101")
    assert world.poll() == [unknown]


def test_a_study_of_the_window_is_told_by_its_poll_alone(world: World) -> None:
    world.policy = replace(POLICY, older=10)
    world.start()
    new = world.add(1)
    assert world.poll() == [new]
    assert world.poll() == []


def test_a_round_goes_on_after_a_restart(world: World) -> None:
    world.policy = replace(POLICY, older=2)
    world.start()
    for number in range(40):
        uid = world.add(number, "20100101")
        world.known.records[uid] = record(uid)
    for _ in range(15):
        world.poll()
    position = Positions(world.connection, "r").read(NAME)
    assert position is not None
    world.start()
    world.poll()
    after = Positions(world.connection, "r").read(NAME)
    assert after is not None
    assert after["older"] > position["older"] > 10


@pytest.mark.parametrize(
    ("row", "differs_so"),
    [
        ({}, False),
        ({"00201206": element("IS", 1), "00201208": element("IS", 3), "00080061": element("CS", "CT")}, False),
        ({"00201206": element("IS", 2)}, True),
        ({"00201208": element("IS", "4")}, True),
        ({"00080061": element("CS", "CT", "SR")}, True),
        ({"00080061": element("CS")}, False),
        ({"77770010": element("LO", "DCM4CHEE Archive 5"), "77771021": element("DT", "20240509101112+0000")}, True),
        ({"77770010": element("LO", "DCM4CHEE Archive 5"), "77771021": element("DT", "19700101000000+0000")}, False),
    ],
)
def test_what_is_not_said_is_no_difference(row: dict[str, Any], differs_so: bool) -> None:
    assert differs(row, record("1.2.1", 3), UTC) == differs_so


def test_a_study_that_is_removed_here_and_listed_there_differs() -> None:
    removed = record("1.2.1")
    removed.tombstone = Tombstone(5, {})
    assert differs({}, removed, UTC)


# --- what was seen -------------------------------------------------------------------------------------------------


def test_what_was_seen_is_kept_by_shard_and_forgotten_when_told_to() -> None:
    server = Hashes()
    seen = Seen(cast(Connection, server), "r", 4)
    sights = {f"1.2.{number}": Sight("20240501", bytes([number % 256]) * 8) for number in range(3000)}
    seen.note(sights)
    assert seen.read() == sights
    assert len(server.kept) == 4
    seen.forget({uid for uid in sights if uid != "1.2.7"})
    assert seen.read() == {"1.2.7": sights["1.2.7"]}
    seen.note({})
    seen.forget(())
