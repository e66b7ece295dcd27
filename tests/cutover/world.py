"""Two repositories that are compared, each with its events, and what the oracle says of both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final
from uuid import uuid4

from monitor.figures import row_of
from monitor.lags import Lags
from state.attributes import Level
from state.comparison import OPEN, Place
from state.errors import StateUnreachable
from state.history import MINUTE, History
from state.keys import LISTED_PLACES
from state.pair import Acknowledgement, Pair, Recomparison
from state.repository import partition_field
from state.times import MICROSECONDS, to_iso
from stocktake.comparing import compare_side, settle
from stocktake.settings import Settings
from stocktake.wiring import comparison_of, open_repository
from tests.harness import Deployment
from tests.oracle.adversary import BEGIN, CT, Universe, random_event, study_uid
from tests.oracle.events import Json, moment
from tests.oracle.journal import Journal
from tests.oracle.places import Rules, content, differing, figures, in_scope, plain
from tests.oracle.study import State

UNIVERSE: Final = Universe(studies=4, series=2, instances=5, largest_batch=3)
TAGS: Final = ("00081030", "00080020", "00100010")
KEYWORDS: Final = "StudyDescription,StudyDate,PatientName"
SIDES: Final = ("source", "target")
RULES: Final[tuple[tuple[dict[str, str], Rules], ...]] = (
    ({}, Rules(TAGS)),
    ({"ATTRIBUTES": "StudyDate"}, Rules(("00080020",))),
    ({"ATTRIBUTES": "", "IGNORED_MODALITIES": "CT,OT"}, Rules((), frozenset({"CT", "OT"}))),
    ({"STUDY_DATE_FROM": "20260103"}, Rules(TAGS, study_date_from="20260103")),
    ({"STUDY_UIDS": "both.csv"}, Rules(TAGS)),
    ({"STUDY_UIDS": "one.csv"}, Rules(TAGS)),
)
BOTH_MAPPED: Final = 4  # rules
ONE_MAPPED: Final = 5
# What the target makes of some Study Instance UIDs; which of them the comparison knows is up to the rules.
RENAMED: Final = {study_uid(number): f"1.2.826.0.9.{number}" for number in (0, 1)}
MAPPINGS: Final = {"both.csv": RENAMED, "one.csv": dict(list(RENAMED.items())[:1])}
_FIELD: Final = partition_field("by-hand", 0)


def renamed(event: Json) -> Json:
    """The event as the target tells it."""
    datasets = [
        dataset | {"0020000D": {"vr": "UI", "Value": [RENAMED.get(uid, uid)]}}
        if (uid := _study_of(dataset))
        else dataset
        for dataset in event.get("datasets", ())
    ]
    return event | {"datasets": datasets} if datasets else event


def _study_of(dataset: Json) -> str:
    return str(dataset["0020000D"]["Value"][0]) if "0020000D" in dataset else ""


class Side:
    """One repository: its events in their order, and how many of them were applied in this life of its consumer."""

    def __init__(self, deployment: Deployment, level: Level) -> None:
        self.deployment = deployment
        self.journal = Journal(level)
        self.events: list[tuple[Json, int]] = []

    def tell(self, events: list[Json]) -> None:
        """Append events to the topic."""
        for event in events:
            self.journal.add(event, moment(event["time"]) + MICROSECONDS, 0, len(self.events))
            self.events.append((event, moment(event["time"]) + MICROSECONDS))

    def consume(self) -> None:
        """Apply whatever is not applied, as a consumer that has just started."""
        first = min(self.deployment.opened.studies.offsets(_FIELD)) + 1
        self.deployment.apply(self.events[first:], first)

    def replay(self, last: int) -> None:
        """Have events applied again from after an offset on."""
        self.deployment.opened.studies.lower_offsets(_FIELD, min(last, len(self.events) - 1))
        self.consume()

    def states(self) -> dict[str, State]:
        return {uid: self.journal.state(uid) for uid in self.journal.entries}


class World:
    """Both sides, with ``rules`` of :data:`RULES`; ``given`` are other settings, such as those of a cluster."""

    def __init__(self, redis_url: str, folder: Path, level: Level, rules: int = 0, **given: str) -> None:
        self._redis_url, self._folder, self._level, self._given = redis_url, folder, level, given
        self._names = dict(zip(SIDES, (f"r{uuid4().hex[:8]}" for _ in SIDES), strict=True))
        self._numbers = 0
        self._acknowledged: dict[str, object] = {}
        self._since: dict[str, int | None] = {}
        self.rules = rules
        # Which instances a study has is known, and compared, whatever level inventories have.
        self._sides = {side: Side(self._deployment(side), Level.INSTANCE) for side in SIDES}

    def close(self) -> None:
        for side in self._sides.values():
            side.deployment.close()

    def _deployment(self, side: str) -> Deployment:
        given, _ = RULES[self.rules]
        if "STUDY_UIDS" in given:
            path = self._folder / given["STUDY_UIDS"]
            path.write_text("".join(f"{old},{new}\n" for old, new in MAPPINGS[path.name].items()))
            given = given | {"STUDY_UIDS": str(path)}
        other = self._names["target" if side == "source" else "source"]
        cutover = {"ATTRIBUTES": KEYWORDS} | given
        return Deployment(
            self._folder,
            self._redis_url,
            self._names[side],
            INVENTORY__LEVEL=str(self._level),
            STATE__SHARDS="3",
            CUTOVER__SOURCE=self._names["source"],
            CUTOVER__TARGET=self._names["target"],
            **{f"CUTOVER__{name}": value for name, value in cutover.items()},
            **{f"REPOSITORIES__{other.upper()}__TOPICS": "other"},
            **self._given,
        )

    @property
    def sides(self) -> list[Side]:
        """Source and target."""
        return list(self._sides.values())

    @property
    def settings(self) -> Settings:
        """As the source's processes have them."""
        return self._sides["source"].deployment.settings

    @property
    def environ(self) -> dict[str, str]:
        """The same as environment variables."""
        return self._sides["source"].deployment.environ

    @property
    def pair(self) -> Pair:
        deployment = self._sides["source"].deployment
        assert deployment.settings.cutover is not None
        return Pair(deployment.opened.connection, deployment.settings.cutover.rules, deployment.settings.state.shards)

    # --- what happens ------------------------------------------------------------------------------------------

    def tell(self, side: str, seed: int, count: int) -> None:
        """Random events of one side."""
        rng = Random(seed)
        events = [self._event(rng) for _ in range(count)]
        self._sides[side].tell(list(map(renamed, events)) if side == "target" else events)
        self._sides[side].consume()

    def store(self, side: str, study: str, instance: str) -> None:
        """One instance is stored on one side."""
        self._numbers += 1
        values = {"0020000D": study, "0020000E": f"{study}.1", "00080018": instance, "00080016": CT}
        dataset = {tag: {"vr": "UI", "Value": [value]} for tag, value in values.items()}
        time = to_iso(BEGIN + self._numbers * MICROSECONDS)
        self._sides[side].tell([{"action": "store", "level": "INSTANCE", "time": time, "dataset": dataset}])
        self._sides[side].consume()

    def migrate(self, seed: int, count: int) -> None:
        """The target is told what the source was, from some event on."""
        source, target = (self._sides[side] for side in SIDES)
        first = Random(seed).randrange(len(source.events) + 1)
        target.tell([renamed(event) for event, _ in source.events[first : first + count]])
        target.consume()

    def replay(self, side: str, last: int) -> None:
        self._sides[side].replay(last)

    def change_settings(self, rules: int) -> None:
        """Both sides start again with other rules; nothing is compared anew yet."""
        self.rules = rules
        for side, found in self._sides.items():
            found.deployment.close()
            found.deployment = self._deployment(side)

    def change_rules(self, rules: int) -> None:
        """The same, and everything is compared anew."""
        self.change_settings(rules)
        for _ in range(2):  # the first round may leave to the second what the other side still told by other rules
            for side in self._sides:
                self.recompare(side)

    def recompare(self, side: str) -> None:
        deployment = self._sides[side].deployment
        opened = open_repository(deployment.settings, deployment.name)
        comparison = comparison_of(deployment.settings, deployment.name)
        assert comparison is not None
        compare_side(deployment.settings, opened)
        for shard in range(deployment.settings.state.shards):
            Recomparison(opened.connection, opened.studies, comparison).shard(shard)
        opened.close()

    def settle(self) -> None:
        """What a consumer's process does every second: compare what the pair knows by another UID."""
        for side in SIDES:
            settle(self.recomparison(side))

    def recomparison(self, side: str) -> Recomparison:
        """As a process of that side has it."""
        deployment = self._sides[side].deployment
        comparison = comparison_of(deployment.settings, deployment.name)
        assert comparison is not None
        return Recomparison(deployment.opened.connection, deployment.opened.studies, comparison)

    def place(self, uid: str) -> Place | None:
        """Where a study is."""
        found = self.pair.study(uid)
        return None if found is None else found.place

    def states(self) -> list[dict[str, State]]:
        """Of both sides what the oracle says, by the UIDs that the pair knows the studies by."""
        given, _ = RULES[self.rules]
        names = {new: old for old, new in MAPPINGS.get(given.get("STUDY_UIDS", ""), {}).items()}
        source, target = (side.states() for side in self.sides)
        return [source, {names.get(uid, uid): state for uid, state in target.items()}]

    def acknowledge(self, seed: int) -> None:
        """Somebody has seen a study that is open."""
        listed = self.pair.page(OPEN, None, 100)
        if listed:
            one = Random(seed).choice(listed)
            assert self.pair.acknowledge(one.study_instance_uid, Acknowledgement("me", BEGIN, "seen"))
            self._acknowledged[one.study_instance_uid] = self._seen(one.study_instance_uid)

    def _seen(self, uid: str) -> object:
        """What somebody who looks at a study sees of it."""
        _, rules = RULES[self.rules]
        states = [states.get(uid) for states in self.states()]
        return [
            None
            if state is None
            else (
                state["removal"] is None,
                in_scope(state, rules),
                content(state),
                ",".join(plain(state, tag) for tag in rules.attributes),
            )
            for state in states
        ]

    def _event(self, rng: Random) -> Json:
        self._numbers += 1
        return random_event(rng, UNIVERSE, self._numbers)

    def put_row(self, time: int, arrived: int, settled: int) -> None:
        """A row of history at that second, with these counts."""
        assert self.settings.cutover is not None
        history = History(self._sides["source"].deployment.opened.connection, self.settings.cutover.rules)
        row = row_of(self.pair.standing(), Lags(0, None, None, None), time * MICROSECONDS)
        history.keep(replace(row, arrived=arrived, settled=settled))

    @staticmethod
    def unreachable() -> None:
        """What a state does that is away."""
        raise StateUnreachable("away")

    def keep_history(self) -> None:
        """A row of this minute."""
        deployment = self._sides["source"].deployment
        assert deployment.settings.cutover is not None
        connection = deployment.opened.connection
        history = History(connection, deployment.settings.cutover.rules)
        row = row_of(self.pair.standing(), Lags(0, None, None, None), BEGIN)
        history.keep(row)
        history.keep(replace(row, arrived=0))
        assert history.rows(MINUTE, row.time, row.time) == [row]

    # --- what is checked ---------------------------------------------------------------------------------------

    def check(self) -> None:
        """Sets and figures are what the oracle computes from scratch."""
        self.settle()
        _, rules = RULES[self.rules]
        source, target = self.states()
        places, groups, days, by_study = figures(source, target, rules)
        standing = self.pair.standing()
        assert {place.name: count for place, count in standing.places.items() if count} == places
        assert {(one[0].name, *one[1:]): count for one, count in standing.groups.items() if count} == groups
        assert {(place.name, day): count for (place, day), count in standing.days.items() if count} == days
        open_now = {uid for uid, place in by_study.items() if Place[place] in OPEN}
        assert standing.open == len(open_now) == standing.arrived - standing.settled
        assert sum(standing.lags.values()) == standing.settled
        assert (standing.oldest is None) == (not open_now)
        listed = self.pair.page([Place(code) for code in LISTED_PLACES], None, 1000)
        assert {one.study_instance_uid: one.place.name for one in listed} == {
            uid: place for uid, place in by_study.items() if Place[place] in OPEN or place == "OUT_OF_SCOPE"
        }
        paged, after = [], None
        while some := self.pair.page([Place(code) for code in LISTED_PLACES], after, 2):
            paged += some
            assert some[-1].since is not None
            after = (some[-1].since, some[-1].study_instance_uid)
        assert paged == listed
        for one in listed:
            self._check_reasons(one.study_instance_uid, source, target, rules)
        self._check_acknowledged(open_now)
        self._check_since(open_now)

    def _check_reasons(self, uid: str, source: dict[str, State], target: dict[str, State], rules: Rules) -> None:
        found = self.pair.study(uid)
        assert found is not None
        for summary, states in ((found.source, source), (found.target, target)):
            assert (summary is None) == (uid not in states)
            if summary is not None:
                assert summary.live == (states[uid]["removal"] is None)
                assert summary.instances == int(states[uid]["number of instances"] or 0)
        if found.source is not None and found.target is not None:
            pairs = zip(rules.attributes, found.source.attributes, found.target.attributes, strict=False)
            assert [tag for tag, one, other in pairs if one != other] == differing(source[uid], target[uid], rules)

    def _check_acknowledged(self, open_now: set[str]) -> None:
        """What was seen stays so only while there is nothing else to see."""
        self._acknowledged = {uid: seen for uid, seen in self._acknowledged.items() if uid in open_now}
        marked = {one.study_instance_uid for one in self.pair.page(OPEN, None, 1000) if one.acknowledged is not None}
        assert marked <= self._acknowledged.keys()
        assert self.pair.standing().acknowledged == len(marked)
        self._acknowledged = {uid: seen for uid, seen in self._acknowledged.items() if uid in marked}
        for uid, seen in self._acknowledged.items():
            assert seen == self._seen(uid), uid

    def _check_since(self, open_now: set[str]) -> None:
        """A study that stays open has been so since the same moment, whatever its place."""
        found = {uid: study.since for uid in open_now if (study := self.pair.study(uid)) is not None}
        for uid, since in self._since.items():
            assert found.get(uid, since) == since, uid
        self._since = found
