"""Patients on a real Redis (docs/decisions/0010): whatever comes first, whoever comes between, whatever is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from threading import Condition, Thread
from typing import Any, Final, NamedTuple
from uuid import uuid4
from zoneinfo import ZoneInfo

import orjson
import pytest

import state.record as state_record
import state.studies as state_studies
from consumers.apply import Applier
from consumers.counts import Counts
from consumers.formats.native import NativeFormat
from consumers.grouping import Decoded
from consumers.owing import Owing
from state.anchors import Anchors
from state.attributes import Level
from state.connection import Command, Connection, Meanwhile, ScriptCall
from state.debts import Debts
from state.errors import ShardMoved, StateUnreachable
from state.patient_news import Patient
from state.patients import Patients
from state.repository import partition_field
from state.studies import Studies
from state.times import MICROSECONDS, to_iso
from tests.harness import Deployment
from tests.oracle.adversary import BEGIN, CT, Universe, random_events
from tests.oracle.events import Json
from tests.oracle.journal import Journal, own_records
from tests.oracle.shown import shown
from writers.study_items import StudyItems

NAME, ID, ISSUER, BIRTH_DATE, SEX = "00100010", "00100020", "00100021", "00100030", "00100040"
_TAGS: Final = {"name": (NAME, "PN"), "patient": (ID, "LO"), "issuer": (ISSUER, "LO"), "sex": (SEX, "CS")}
NOW: Final = BEGIN + 10_000 * MICROSECONDS
LATER: Final = BEGIN + 20_000 * MICROSECONDS


def at(second: int) -> int:
    return BEGIN + second * MICROSECONDS


def elements(said: Mapping[str, str]) -> Json:
    return {_TAGS[name][0]: {"vr": _TAGS[name][1], "Value": [text] if text else []} for name, text in said.items()}


def stored(study: int, second: int, action: str = "store", **said: str) -> Json:
    """An event of the first instance of a study, which says that of its patient."""
    uids = {"0020000D": f"1.2.{study}", "0020000E": f"1.2.{study}.1", "00080018": f"1.2.{study}.1.1", "00080016": CT}
    dataset = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()} | elements(said)
    return {"action": action, "time": to_iso(at(second)), "dataset": dataset}


def updated(study: int, second: int, **said: str) -> Json:
    dataset = {"0020000D": {"vr": "UI", "Value": [f"1.2.{study}"]}} | elements(said)
    return {"action": "update", "level": "STUDY", "time": to_iso(at(second)), "dataset": dataset}


def told(second: int, prior: Mapping[str, str] | None = None, /, **said: str) -> Json:
    """A PATIENT event."""
    event = {"action": "update", "level": "PATIENT", "time": to_iso(at(second)), "dataset": elements(said)}
    return event if prior is None else event | {"prior": elements(prior)}


class Shown(NamedTuple):
    """What an inventory would show of a study's patient, and its Study Update DateTime in seconds."""

    second: float
    patient: str
    issuer: str
    name: str


@pytest.fixture
def deploy(tmp_path: Path, redis_url: str) -> Iterator[Callable[..., Deployment]]:
    """Makes deployments, each of a repository of its own."""
    made: list[Deployment] = []

    def make(**given: str) -> Deployment:
        made.append(Deployment(tmp_path, redis_url, "p" + uuid4().hex[:12], **given))
        made[-1].clock.now = NOW
        return made[-1]

    yield make
    for deployment in made:
        deployment.close()


@pytest.fixture
def one(deploy: Callable[..., Deployment]) -> Deployment:
    return deploy()


def apply(deployment: Deployment, *events: Json, first: int = 0) -> int:
    """Apply events as one batch; the next offset."""
    return deployment.apply([(event, NOW) for event in events], first)


def apply_singly(deployment: Deployment, *events: Json, first: int = 0) -> int:
    for event in events:
        first = apply(deployment, event, first=first)
    return first


def listed(deployment: Deployment) -> dict[str, int]:
    """The studies in the index, with their Study Update DateTime."""
    found: dict[str, int] = {}
    for keys in deployment.shard_keys:
        members: list[tuple[bytes, float]] = deployment.redis.zrange(keys.updated, 0, -1, withscores=True)  # type: ignore[assignment]
        found |= {uid.decode(): int(time) for uid, time in members}
    return found


def state(deployment: Deployment) -> dict[int, Shown]:
    """All studies that the state lists, by number."""
    times, found = listed(deployment), {}
    for read in deployment.opened.studies.read(times):
        uid, record = read.record.study_instance_uid, read.record
        assert record.update_time == times[uid], "the index has another time"
        said = [str(record.shown_attributes.get(tag, "")) for tag in (ID, ISSUER, NAME)]
        found[int(uid.rpartition(".")[2])] = Shown((times[uid] - BEGIN) / MICROSECONDS, *said)
    return found


def members(deployment: Deployment) -> list[set[bytes]]:
    """Index and news of each shard."""
    found: list[set[bytes]] = []
    for keys in deployment.shard_keys:
        for key in (keys.patients, keys.news):
            one: list[bytes] = deployment.redis.zrange(key, 0, -1)  # type: ignore[assignment]
            found.append(set(one))
    return found


# --- what is shown -------------------------------------------------------------------------------------------------

Events = Sequence[Json]
DOE: Final = {"patient": "P1", "name": "Doe"}
JUNE: Final = {"patient": "P1", "name": "June"}
ROE: Final = {"patient": "P2", "name": "Roe"}
FROM_P1: Final = {"patient": "P1"}
FROM_P2: Final = {"patient": "P2"}

STORIES: Final[dict[str, tuple[Events, dict[int, Shown]]]] = {
    "a rename": (
        [stored(1, 10, **DOE), stored(2, 11, **DOE), stored(3, 12, **ROE), told(20, **JUNE)],
        {1: Shown(20, "P1", "", "June"), 2: Shown(20, "P1", "", "June"), 3: Shown(12, "P2", "", "Roe")},
    ),
    "a merge": (
        [stored(1, 10, **DOE), stored(2, 11, **ROE), told(20, FROM_P1, **ROE)],
        {1: Shown(20, "P2", "", "Roe"), 2: Shown(20, "P2", "", "Roe")},
    ),
    "a chain of merges, and back": (
        [stored(1, 10, **DOE), told(20, FROM_P1, **ROE), told(30, FROM_P2, patient="P3", name="Poe"),
         told(40, {"patient": "P3"}, patient="P1", name="Again"), told(50, patient="P2", name="Nobody")],
        {1: Shown(40, "P1", "", "Again")},
    ),
    "a rename after a merge, of both": (
        [stored(1, 10, **DOE), told(20, FROM_P1, **ROE), told(30, **JUNE), told(31, patient="P2", name="Rose")],
        {1: Shown(31, "P2", "", "Rose")},
    ),
    "late news": (
        [stored(1, 30, **DOE), told(20, **JUNE)],
        {1: Shown(30, "P1", "", "Doe")},
    ),
    "news of an hour that lies between two events of a study": (
        [stored(1, 10, **DOE), updated(1, 30, name="Mine"), told(20, patient="P1", name="Theirs")],
        {1: Shown(30, "P1", "", "Mine")},
    ),
    "an update of a study that says another patient": (
        [stored(1, 10, **DOE), told(20, **JUNE), updated(1, 30, **ROE), told(40, patient="P1", name="Not mine"),
         told(50, patient="P2", name="Rose")],
        {1: Shown(50, "P2", "", "Rose")},
    ),
    "an update that says the issuer alone": (
        [stored(1, 10, **DOE), updated(1, 20, issuer="X"), told(15, patient="P1", issuer="X", name="Old"),
         told(30, **JUNE), told(31, patient="P1", issuer="X", name="New")],
        {1: Shown(31, "P1", "X", "New")},
    ),
    "a study without Patient ID": (
        [stored(1, 10, name="Nobody"), told(20, **JUNE)],
        {1: Shown(10, "", "", "Nobody")},
    ),
    "another issuer": (
        [stored(1, 10, issuer="X", **DOE), stored(2, 11, issuer="Y", **DOE), told(20, issuer="X", **JUNE)],
        {1: Shown(20, "P1", "X", "June"), 2: Shown(11, "P1", "Y", "Doe")},
    ),
    "a merge into a patient without issuer": (
        [stored(1, 10, issuer="X", **DOE), told(20, {"patient": "P1", "issuer": "X"}, **ROE)],
        {1: Shown(20, "P2", "", "Roe")},
    ),
    "a removed study": (
        [stored(1, 10, **DOE), stored(1, 15, "delete"), told(20, **JUNE)],
        {1: Shown(20, "P1", "", "June")},
    ),
    "the same news twice": (
        [stored(1, 10, **DOE), told(20, **JUNE), told(20, **JUNE)],
        {1: Shown(20, "P1", "", "June")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
def test_what_is_told_of_patients_is_shown_by_their_studies(story: str, deploy: Callable[..., Deployment]) -> None:
    events, expected = STORIES[story]
    together, singly = deploy(), deploy()
    apply(together, *events)
    apply_singly(singly, *events)
    assert state(together) == state(singly) == expected


@pytest.mark.parametrize("story", STORIES)
def test_news_may_come_before_or_after_what_it_concerns(story: str, deploy: Callable[..., Deployment]) -> None:
    """Events of studies keep their order among themselves; those of patients may come anywhere.

    News that counted until other news came has raised the Study Update DateTime for good.
    """
    events, expected = STORIES[story]
    news = [event for event in events if event.get("level") == "PATIENT"]
    others = [event for event in events if event.get("level") != "PATIENT"]
    rng = Random(story)
    for order in ([*news, *others], [*others, *reversed(news)], _mixed(rng, news, others), _mixed(rng, news, others)):
        deployment = deploy()
        apply_singly(deployment, *order)
        found = state(deployment)
        assert {number: one[1:] for number, one in found.items()} == {
            number: one[1:] for number, one in expected.items()
        }
        assert all(found[number].second >= one.second for number, one in expected.items())


def _mixed(rng: Random, news: Events, others: Events) -> list[Json]:
    turns = rng.sample([True] * len(news) + [False] * len(others), len(news) + len(others))
    drawn, ordered = iter(rng.sample(news, len(news))), iter(others)
    return [next(drawn) if turn else next(ordered) for turn in turns]


@pytest.mark.parametrize("story", STORIES)
def test_applying_everything_again_changes_nothing_and_nothing_is_inventoried_again(
    story: str, one: Deployment
) -> None:
    events, expected = STORIES[story]
    apply_singly(one, *events)
    before = members(one)
    one.produce()
    assert one.opened.studies.owed() == 0
    one.forget_offsets()
    apply(one, *events)
    assert (state(one), members(one)) == (expected, before)
    assert one.opened.studies.owed() == 0


def test_a_rename_reaches_every_study_of_a_patient_whatever_shard_it_lies_in(
    one: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.apply._PAGE", 40)  # a patient may have more studies than are looked at at once
    offset = apply(one, *(stored(number, 10, **(DOE if number % 2 else ROE)) for number in range(300)))
    apply(one, told(20, **JUNE), stored(300, 15, **DOE), stored(1, 15, **ROE), first=offset)
    names = {number: study.name for number, study in state(one).items()}
    assert names == {number: "June" if number % 2 else "Roe" for number in range(300)} | {300: "June", 1: "Roe"}


def test_the_study_update_datetime_never_goes_back_though_the_news_no_longer_concerns_the_study(
    one: Deployment,
) -> None:
    offset = apply_singly(one, stored(1, 10, **DOE), told(50, **JUNE))
    apply(one, updated(1, 30, **ROE), first=offset)
    assert state(one) == {1: Shown(50, "P2", "", "Roe")}
    apply(one, stored(1, 40, **ROE), first=offset + 1)
    assert state(one)[1].second == 50


def test_news_does_not_make_a_study_s_own_events_late(one: Deployment) -> None:
    """A removal between the study's own events and the news is made at its own time, not after the news."""
    events = [stored(1, 10, **DOE), told(100, **JUNE), _study_removed(1, 20), stored(1, 30, **DOE)]
    apply_singly(one, *events)
    [read] = one.opened.studies.read(["1.2.1"])
    assert not read.record.is_removed
    assert state(one) == {1: Shown(100, "P1", "", "June")}


def _study_removed(study: int, second: int) -> Json:
    dataset = {"0020000D": {"vr": "UI", "Value": [f"1.2.{study}"]}}
    return {"action": "delete", "level": "STUDY", "time": to_iso(at(second)), "dataset": dataset}


# --- what is in the state and in inventories -----------------------------------------------------------------------


def test_the_delta_after_a_rename_holds_the_renamed_studies_as_of_the_news(one: Deployment) -> None:
    offset = apply(one, stored(1, 10, **DOE), stored(2, 11, **DOE), stored(3, 12, **ROE))
    first = one.produce()
    apply(one, told(20, **JUNE), first=offset)
    one.clock.now = LATER
    one.publish_progress(_applier(one), offset)
    second = one.produce()
    assert own_records(one.path(first)) == {"1.2.1", "1.2.2", "1.2.3"}
    assert own_records(one.path(second)) == {"1.2.1", "1.2.2"}
    journal = Journal(Level.INSTANCE, first.scope_begin)
    for number, event in enumerate(
        (stored(1, 10, **DOE), stored(2, 11, **DOE), stored(3, 12, **ROE), told(20, **JUNE))
    ):
        journal.add(event, NOW, 0, number)
    journal.check_present(one.path(second))


def test_news_before_the_chain_s_start_counts_as_of_the_start(one: Deployment) -> None:
    offset = apply(one, stored(1, 50, **DOE))
    manifest = one.produce()
    apply_singly(one, stored(2, 10, **DOE), told(20, **JUNE), first=offset)
    assert manifest.scope_begin == at(50)
    assert {study.second for study in state(one).values()} == {50}


def test_a_study_that_is_known_to_the_index_alone_is_listed_nowhere_and_is_whole_when_it_comes(one: Deployment) -> None:
    """Its store was under way when the news came: there is nothing but a rev, which makes that store look again."""
    one.opened.patients.enter({"1.2.9": Patient("P1", "")}, Anchors())
    offset = apply(one, stored(1, 10, **DOE), told(20, **JUNE))
    [key] = [keys.study("1.2.9") for keys in one.shard_keys if one.redis.exists(keys.study("1.2.9"))]
    assert set(one.redis.hgetall(key)) == {b"rev"}
    assert state(one).keys() == {1}
    assert (one.opened.studies.count(), one.opened.studies.owed()) == (1, 1)
    assert own_records(one.path(one.produce())) == {"1.2.1"}
    apply(one, stored(9, 10, **DOE), first=offset)
    assert state(one)[9] == Shown(20, "P1", "", "June")
    assert own_records(one.path(one.produce())) == {"1.2.9"}


def test_patients_whose_digests_are_the_same_are_told_apart(one: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("state.patients._digest", lambda patient: b"0" * 8)
    apply_singly(one, stored(1, 10, **DOE), stored(2, 11, **ROE), told(20, **JUNE), told(30, FROM_P2, **DOE))
    assert state(one) == {1: Shown(30, "P1", "", "Doe"), 2: Shown(30, "P1", "", "Doe")}
    apply(one, stored(3, 5, patient="P3", name="Poe"), first=4)
    assert state(one)[3] == Shown(5, "P3", "", "Poe")


@pytest.mark.parametrize("patient", ["山田 太郎", 'P"1', "P[1", "(P1", "P\\1".replace("\\", "/"), "0", "x" * 64])
def test_a_patient_id_may_be_any_text(one: Deployment, patient: str) -> None:
    apply_singly(
        one, stored(1, 10, patient=patient, issuer=patient), told(20, patient=patient, issuer=patient, name="June")
    )
    assert state(one) == {1: Shown(20, patient, patient, "June")}


# --- two consumers at once -----------------------------------------------------------------------------------------


class Hooked(Connection):
    """Calls ``before`` before each exchange and ``after`` after it, with its number from 0."""

    before: Callable[[int], None] = staticmethod(lambda number: None)
    after: Callable[[int], None] = staticmethod(lambda number: None)
    exchanges = 0

    def send(self, commands: Sequence[Command]) -> list[Any]:
        return self._hooked(lambda: super(Hooked, self).send(commands))

    def call(self, calls: Iterable[ScriptCall], meanwhile: Meanwhile = None) -> list[Any]:
        return self._hooked(lambda: super(Hooked, self).call(list(calls), meanwhile))

    def _hooked(self, exchange: Callable[[], list[Any]]) -> list[Any]:
        number, self.exchanges = self.exchanges, self.exchanges + 1
        self.before(number)
        found = exchange()
        self.after(number)
        return found


@dataclass
class Party:
    """A consumer of one partition, its batch decoded, over a connection of its own."""

    applier: Applier
    batch: list[Decoded]
    connection: Hooked

    def apply(self) -> None:
        self.applier.apply(self.batch)
        self.applier.advance({record.partition: record.offset for record in self.batch})


def _applier(deployment: Deployment, connection: Connection | None = None, partition: int = 0) -> Applier:
    connection = connection or deployment.opened.connection
    shards = deployment.settings.state.shards
    studies = Studies(connection, deployment.name, shards)
    applier = Applier(
        studies,
        Patients(connection, deployment.name, shards),
        Owing(Debts(connection, deployment.name, shards), follows=True),
        Counter(),
    )
    applier.assign(partition_field("by-hand", partition))
    return applier


@contextmanager
def party(deployment: Deployment, partition: int, events: Events, first: int = 0) -> Iterator[Party]:
    connection = Hooked(deployment.settings.redis)
    counts: Counts = Counter()
    decoder = NativeFormat(deployment.settings.consumer, ZoneInfo("UTC"), counts)
    name = partition_field("by-hand", partition)
    batch = [
        Decoded(name, first + number, decoder.decode(orjson.dumps(event), NOW)) for number, event in enumerate(events)
    ]
    applier = _applier(deployment, connection, partition)
    connection.exchanges = 0
    try:
        yield Party(applier, batch, connection)
    finally:
        connection.close()


@dataclass(frozen=True)
class Race:
    """What is there before, and what two consumers apply at once."""

    before: Events
    first: Events
    second: Events
    expected: dict[int, Shown]


RACES: Final = {
    "a store and a rename": Race([], [stored(1, 10, **DOE)], [told(20, **JUNE)], {1: Shown(20, "P1", "", "June")}),
    "stores and a merge": Race(
        [],
        [stored(1, 10, **DOE), stored(2, 10, **ROE), stored(3, 10, **DOE)],
        [told(20, FROM_P1, **ROE)],
        {1: Shown(20, "P2", "", "Roe"), 2: Shown(20, "P2", "", "Roe"), 3: Shown(20, "P2", "", "Roe")},
    ),
    "two merges of a chain": Race(
        [stored(1, 10, **DOE), stored(2, 11, **ROE)],
        [told(20, FROM_P1, **ROE)],
        [told(30, FROM_P2, patient="P3", name="Poe")],
        {1: Shown(30, "P3", "", "Poe"), 2: Shown(30, "P3", "", "Poe")},
    ),
    "a chain of merges, and the store at its beginning": Race(
        [told(20, FROM_P1, **ROE)],
        [stored(1, 10, **DOE)],
        [told(30, FROM_P2, patient="P3", name="Poe")],
        {1: Shown(30, "P3", "", "Poe")},
    ),
    "a rename and a merge that leads to it": Race(
        [stored(1, 10, **DOE)],
        [told(30, patient="P2", name="Rose")],
        [told(20, FROM_P1, **ROE)],
        {1: Shown(30, "P2", "", "Rose")},
    ),
    "a study that becomes another patient's and news of both": Race(
        [stored(1, 10, **DOE)],
        [updated(1, 15, **ROE)],
        [told(20, **JUNE), told(21, patient="P2", name="Rose")],
        {1: Shown(21, "P2", "", "Rose")},
    ),
    "an issuer said late and news of both patients": Race(
        [stored(1, 10, **DOE)],
        [updated(1, 15, issuer="X")],
        [told(14, **JUNE), told(21, patient="P1", issuer="X", name="New")],
        {1: Shown(21, "P1", "X", "New")},
    ),
    "two renames of many studies": Race(
        [stored(number, 10, **DOE) for number in range(20)],
        [told(20, **JUNE)],
        [told(21, patient="P1", name="July")],
        {number: Shown(21, "P1", "", "July") for number in range(20)},
    ),
    "stores and news in both": Race(
        [],
        [stored(1, 10, **DOE), told(30, FROM_P2, patient="P3", name="Poe")],
        [stored(2, 10, **ROE), told(20, FROM_P1, **ROE)],
        {1: Shown(30, "P3", "", "Poe"), 2: Shown(30, "P3", "", "Poe")},
    ),
}


def run_first_with_second_before(deployment: Deployment, race: Race, number: int) -> int:
    """Apply the first's batch, and the second's whole before exchange ``number`` or at the end; how many there were."""
    apply_singly(deployment, *race.before)
    with party(deployment, 1, race.first) as first, party(deployment, 2, race.second) as second:
        came = False

        def come(exchange: int) -> None:
            nonlocal came
            if exchange == number and not came:
                came = True
                second.apply()

        first.connection.before = come
        first.apply()
        exchanges = first.connection.exchanges
        if not came:
            second.apply()
    return exchanges


@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
@pytest.mark.parametrize("name", RACES)
def test_another_consumer_may_come_between_any_two_exchanges(
    name: str, turned: bool, deploy: Callable[..., Deployment]
) -> None:
    race = RACES[name]
    if turned:
        race = Race(race.before, race.second, race.first, race.expected)
    number, exchanges = 0, 1
    while number <= exchanges:
        deployment = deploy()
        exchanges = run_first_with_second_before(deployment, race, number)
        assert state(deployment) == race.expected, f"the second came before exchange {number}"
        number += 1
    assert number > 3


def instance(series: int, number: int, second: int) -> Json:
    """The store of an instance of study 1, as one of those of patient P1."""
    event = stored(1, second, **DOE)
    uids = {"0020000E": f"1.2.1.{series}", "00080018": f"1.2.1.{series}.{number}"}
    return event | {"dataset": event["dataset"] | {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}}


@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
def test_a_study_of_several_chunks_is_read_as_it_was_at_one_moment_whoever_comes_between(
    turned: bool, deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks name series by their place; one that came between the two reads has a place that the first did not see.

    As a series of it was removed, all of the study is read for the news too.
    """
    for module in (state_record, state_studies):
        monkeypatch.setattr(module, "CHUNK_TARGET", 3)
    removed: Json = {"0020000D": {"vr": "UI", "Value": ["1.2.1"]}, "0020000E": {"vr": "UI", "Value": ["1.2.1.9"]}}
    before = [instance(1, number, 10) for number in range(12)]
    before.append({"action": "delete", "level": "SERIES", "time": to_iso(at(11)), "dataset": removed})
    further = [instance(series, number, 12) for series in (3, 4, 5) for number in range(6)]
    first, second = ([told(20, **JUNE)], further) if not turned else (further, [told(20, **JUNE)])
    race = Race(before, first, second, {1: Shown(20, "P1", "", "June")})
    number, exchanges = 0, 1
    while number <= exchanges:
        deployment = deploy()
        exchanges = run_first_with_second_before(deployment, race, number)
        assert state(deployment) == race.expected, f"the second came before exchange {number}"
        [read] = deployment.opened.studies.read(["1.2.1"])
        assert read.record.number_of_instances == len(list(read.record.instances())) == 30
        number += 1


class Turns:
    """Lets the exchanges of several threads come one at a time, whose is next drawn at random."""

    def __init__(self, rng: Random, parties: int) -> None:
        self._rng = rng
        self._changed = Condition()
        self._waiting: set[int] = set()
        self._chosen: int | None = None
        self._parties = parties

    def take(self, party: int, _: int) -> None:
        """Wait for this party's turn; it lasts until its next :meth:`take` or its :meth:`leave`."""
        with self._changed:
            self._waiting.add(party)
            self._choose()
            self._changed.wait_for(lambda: self._chosen == party, timeout=60)
            assert self._chosen == party, "nobody gave way"
            self._waiting.remove(party)
            self._chosen = None

    def leave(self) -> None:
        with self._changed:
            self._parties -= 1
            self._choose()

    def _choose(self) -> None:
        if self._chosen is None and self._waiting and len(self._waiting) == self._parties:
            self._chosen = self._rng.choice(sorted(self._waiting))
            self._changed.notify_all()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", RACES)
def test_the_exchanges_of_two_consumers_may_come_in_any_order(
    name: str, seed: int, deploy: Callable[..., Deployment]
) -> None:
    race, deployment = RACES[name], deploy()
    apply_singly(deployment, *race.before)
    turns = Turns(Random(seed), 2)
    errors: list[BaseException] = []
    with party(deployment, 1, race.first) as first, party(deployment, 2, race.second) as second:

        def run(who: Party) -> None:
            try:
                who.apply()
            except BaseException as error:
                errors.append(error)
            finally:
                turns.leave()

        threads = []
        for number, who in enumerate((first, second)):
            who.connection.before = partial(turns.take, number)
            threads.append(Thread(target=run, args=(who,)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    assert not errors
    assert state(deployment) == race.expected


# --- crashes and losses --------------------------------------------------------------------------------------------


class Crash(BaseException):
    """What stands for kill -9."""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("name", RACES)
def test_a_crash_before_or_after_any_exchange_is_made_good_by_who_comes_next(
    name: str, moment: str, deploy: Callable[..., Deployment]
) -> None:
    """Index and news are written, the studies are not; or the reply was not seen."""
    race = RACES[name]
    events = [*race.first, *race.second]
    number, exchanges = 0, 1
    while number < exchanges:
        deployment = deploy()
        apply_singly(deployment, *race.before)
        with party(deployment, 1, events) as crashing:

            def crash(exchange: int, at: int = number) -> None:
                if exchange == at:
                    raise Crash

            setattr(crashing.connection, moment, crash)
            with pytest.raises(Crash):
                crashing.apply()
        with party(deployment, 1, events) as successor:
            successor.apply()
            exchanges = successor.connection.exchanges
        assert state(deployment) == race.expected, f"crashed {moment} exchange {number}"
        number += 1
    assert number > 3


def test_a_server_that_is_away_in_the_middle_loses_nothing(one: Deployment) -> None:
    race = RACES["stores and a merge"]
    events = [*race.first, *race.second]
    with party(one, 1, events) as trying:
        for number in range(5):

            def fail(exchange: int, at: int = number) -> None:
                if exchange == at:
                    raise StateUnreachable("away")

            trying.connection.exchanges = 0
            trying.connection.after = fail
            with pytest.raises(StateUnreachable):
                trying.apply()
            trying.applier.assign(partition_field("by-hand", 1))
        trying.connection.after = Hooked.after
        trying.apply()
    assert state(one) == race.expected


LOSSES: Final[dict[str, Events]] = {
    "stores, renames and merges": [
        stored(1, 10, **DOE),
        stored(2, 11, **ROE),
        told(20, **JUNE),
        stored(3, 12, **DOE),
        told(30, FROM_P1, **ROE),
        stored(1, 13, **DOE),
        told(40, patient="P2", name="Rose"),
        stored(4, 14, **ROE),
    ],
    "identifiers said in parts": [
        stored(1, 10, **DOE),
        updated(1, 11, issuer="X"),
        updated(1, 12, patient="P2"),
        told(20, patient="P2", issuer="X", name="Rose"),
        updated(1, 13, issuer=""),
        told(30, patient="P2", name="Ruth"),
        updated(1, 40, patient="P3"),
        told(50, patient="P3", name="Poe"),
    ],
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("lost_after", range(1, 8))
def test_a_shard_that_lost_its_tail_is_made_whole_by_a_replay(
    name: str, lost_after: int, deploy: Callable[..., Deployment]
) -> None:
    """Each shard in turn falls back to what it held after so many events. That the index is whole again shows when each
    study's patient is told of once more.
    """
    events, deployment = list(LOSSES[name]), deploy()
    offset = apply_singly(deployment, *events[:lost_after])
    held = deployment.dump_shards()
    apply_singly(deployment, *events[lost_after:], first=offset)
    expected = state(deployment)
    for shard in range(deployment.settings.state.shards):
        deployment.lose(shard, held[shard])
        apply(deployment, *events)
        assert state(deployment) == expected, f"shard {shard}"
        patients = {(one.patient, one.issuer) for one in expected.values()}
        news = [told(60 + shard, patient=patient, issuer=issuer, name=f"Name {shard}") for patient, issuer in patients]
        apply(deployment, *news, first=len(events))
        events += news
        expected = {number: one._replace(second=60 + shard, name=f"Name {shard}") for number, one in expected.items()}
        assert state(deployment) == expected, f"shard {shard}"


@pytest.mark.parametrize("name", LOSSES)
def test_news_that_comes_while_a_lost_index_entry_is_not_yet_replayed_reaches_its_study(
    name: str, deploy: Callable[..., Deployment]
) -> None:
    """The study's partition and the patient's have two owners, and one does not know what the other has to replay."""
    events = LOSSES[name]
    latest = told(60, **({"patient": "P3"} if "parts" in name else {"patient": "P2"}), name="Latest")
    for shard in range(8):
        deployment = deploy()
        held = deployment.dump_shards()
        apply_singly(deployment, *events)
        deployment.lose(shard, held[shard])
        with party(deployment, 1, [latest]) as telling:
            telling.apply()
        apply(deployment, *events)
        expected = deploy()
        apply_singly(expected, *events, latest)
        assert state(deployment) == state(expected), f"shard {shard}"


def lose_before(deployment: Deployment, shard: int, held: Mapping[bytes, bytes], at: int, exchange: int) -> None:
    if exchange == at:
        deployment.lose(shard, held)


def apply_whatever_falls(who: Party) -> int:
    """Apply the batch in two parts as the consumer's loop does; how often all had to be read again."""
    name, half, conflicts = who.batch[0].partition, len(who.batch) // 2, 0
    while True:
        applied = who.applier.assign(name)
        try:
            for part in (who.batch[:half], who.batch[half:]):
                if part := [record for record in part if record.offset > applied]:
                    who.applier.apply(part)
            who.applier.advance({name: who.batch[-1].offset})
            who.applier.check()
        except ShardMoved:
            conflicts += 1
        else:
            return conflicts


@pytest.mark.parametrize("name", LOSSES)
def test_what_a_shard_loses_of_its_patients_before_its_offset_moves_is_noticed(
    name: str, deploy: Callable[..., Deployment]
) -> None:
    """It falls back before any exchange to what it held at the start: its offset is often where it was then."""
    events = LOSSES[name]
    latest = [told(60, patient=one, name="Latest") for one in ("P1", "P2", "P3")]
    undisturbed = deploy()
    apply(undisturbed, *events, *latest)
    expected = state(undisturbed)
    patients = undisturbed.opened.patients
    shards = {patients.shard_of(Patient(f"P{number}", issuer)) for number in (1, 2) for issuer in ("", "X")}
    conflicts, at, exchanges = 0, 0, 1
    while at < exchanges:
        for shard in shards:
            deployment = deploy()
            held = deployment.dump_shards()
            with party(deployment, 1, events) as falling:
                falling.connection.before = partial(lose_before, deployment, shard, held[shard], at)
                conflicts += apply_whatever_falls(falling)
                exchanges = max(exchanges, falling.connection.exchanges if not conflicts else 0)
            with party(deployment, 2, latest) as telling:
                telling.apply()
            assert state(deployment) == expected, f"shard {shard} before exchange {at}"
        at += 1
    assert conflicts > 3


@pytest.mark.parametrize("seed", range(8))
def test_any_events_in_any_batches_with_falls_between_end_as_the_oracle_says(
    seed: int, deploy: Callable[..., Deployment]
) -> None:
    rng = Random(seed)
    deployment, journal = deploy(), Journal(Level.INSTANCE)
    events = list(islice(random_events(rng, Universe(studies=4, series=2, instances=5, patients=3, renamed=0.1)), 80))
    for number, event in enumerate(events):
        journal.add(event, NOW, 0, number)
    offset, held, held_at = 0, deployment.dump_shards(), 0
    while offset < len(events):
        size = rng.choice((1, 1, 3, 9))
        offset = apply(deployment, *events[offset : offset + size], first=offset)
        if rng.random() < 0.3:
            for shard in rng.sample(range(8), rng.randint(1, 3)):
                deployment.lose(shard, held[shard])
            apply(deployment, *events[held_at:offset], first=held_at)
            held, held_at = deployment.dump_shards(), offset
    items = StudyItems(Level.INSTANCE)
    found = {}
    for read in deployment.opened.studies.read(listed(deployment)):
        encoded = items.encode(read.record, 0)[8:]  # without the Item's tag and length
        found[read.record.study_instance_uid] = shown(encoded, read.record.update_time)
    journal.check_states(found)
