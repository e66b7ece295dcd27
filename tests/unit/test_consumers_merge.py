"""A record after any events is what the contract says (design, section 3): the program's own path against the oracle.

Each event goes the whole way: decoded, merged, encoded as an Item, read back.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from consumers.events import Event
from consumers.formats.native import NativeFormat
from consumers.merge import merge
from state.attributes import Level
from state.record import StudyRecord
from stocktake.settings import load
from tests.oracle.adversary import BEGIN, CT, Universe, random_events, study_uid
from tests.oracle.events import Json, read_event
from tests.oracle.shown import shown
from tests.oracle.study import State, Study
from writers.scanning import Wanted
from writers.study_item import WANTED, read_study_item
from writers.study_items import StudyItems

STUDY = "1.2.3"
SECOND = 1_000_000
NOW = BEGIN + 10_000 * SECOND
LEVELS = [Level.STUDY, Level.SERIES, Level.INSTANCE]


class Records:
    """Records as the program merges them."""

    def __init__(self) -> None:
        self.found: dict[str, StudyRecord] = {}
        self.offset = 0
        self._items = {level: StudyItems(level) for level in LEVELS}
        self._format = NativeFormat(load(None, {}).consumer, UTC, Counter())

    def apply(self, event: Json, offset: int | None = None) -> None:
        """Apply a message: the next of its partition, or one that is read again."""
        if offset is None:
            self.offset += 1
            offset = self.offset
        for decoded in self._format.decode(orjson.dumps(event), NOW):
            assert isinstance(decoded, Event)
            uid = decoded.study_instance_uid
            merge(self.found.setdefault(uid, StudyRecord(uid)), [(decoded, "t:0", offset)])

    def effective(self, uid: str, level: Level) -> State:
        """The record as an inventory of that level shows it."""
        encoded = self._items[level].encode(self.found[uid], NOW)
        item = read_study_item(
            encoded[8:], False, Wanted(WANTED), UTC, Path(), 0, ("ISO_IR 192",)
        )  # without the Item's tag and length
        return shown(item.data, item.study_update_datetime)


def after(*events: Json) -> State:
    """What the program makes of events of one study."""
    records = Records()
    for event in events:
        records.apply(event)
    return records.effective(STUDY, Level.INSTANCE)


def expected(*events: Json) -> State:
    """What the contract makes of them."""
    study = Study()
    for event in events:
        study.apply(read_event(event, NOW))
    return study.effective(Level.INSTANCE, None)


def event(action: str, second: int, series: int = 0, instance: int = 0, **attributes: Any) -> Json:
    """An event of the lowest level that it names; ``attributes`` by tag with a leading ``t``: (VR, values...)."""
    dataset: Json = {"0020000D": {"vr": "UI", "Value": [STUDY]}}
    level = "STUDY"
    if series:
        level = "SERIES"
        dataset["0020000E"] = {"vr": "UI", "Value": [f"{STUDY}.{series}"]}
    if instance:
        level = "INSTANCE"
        dataset["00080018"] = {"vr": "UI", "Value": [f"{STUDY}.{series}.{instance}"]}
        if action == "store":
            dataset["00080016"] = {"vr": "UI", "Value": [CT]}
    for tag, (vr, *values) in attributes.items():
        dataset[tag.removeprefix("t")] = {"vr": vr, "Value": values} if values else {"vr": vr}
    time = f"2026-09-21T15:{second // 60:02}:{second % 60:02}+00:00"
    return {"action": action, "level": level, "time": time, "dataset": dataset}


def instances_of(state: State) -> dict[str, bool]:
    """The instances shown, and whether each is removed."""
    return {
        uid: one["removal"] is not None
        for series in state["series"].values()
        for uid, one in series["instances"].items()
    }


# --- any events --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
def test_after_every_event_the_record_is_what_the_contract_says(seed: int) -> None:
    rng = Random(seed)
    universe = Universe(studies=2, series=rng.randint(1, 3), instances=rng.randint(1, 8))
    records, studies = Records(), {study_uid(number): Study() for number in range(2)}
    for number, told in enumerate(islice(random_events(rng, universe), 60)):
        read = read_event(told, NOW)
        studies[read.study_uid].apply(read)
        records.apply(told)
        found = records.effective(read.study_uid, LEVELS[number % 3])
        assert found == studies[read.study_uid].effective(LEVELS[number % 3], None), f"after event {told}"


@pytest.mark.parametrize("seed", range(60))
def test_replaying_a_suffix_in_order_ends_in_the_same_record(seed: int) -> None:
    rng = Random(seed)
    events = list(islice(random_events(rng, Universe(studies=1, series=2, instances=4)), 25))
    records = Records()
    for told in events:
        records.apply(told)
    before = records.effective(study_uid(0), Level.INSTANCE)
    for offset in range(rng.randrange(len(events)), len(events)):
        records.apply(events[offset], offset + 1)
    assert records.effective(study_uid(0), Level.INSTANCE) == before


# --- the rules one by one ------------------------------------------------------------------------------------------


def test_the_study_update_datetime_never_goes_back() -> None:
    first, late = event("store", 20, 1, 1), event("store", 10, 1, 2)
    assert after(first)["time"] == after(first, late)["time"] == after(late, first)["time"]


def test_an_attribute_given_empty_becomes_empty() -> None:
    named = event("store", 10, 1, 1, t00100010=("PN", {"Alphabetic": "Doe^Jane"}))
    assert after(named)["attributes"] == {"00100010": "Doe^Jane"}
    assert after(named, event("update", 20, t00100010=("PN",)))["attributes"] == {}


def test_the_last_instance_gone_removes_the_series_and_the_last_series_the_study() -> None:
    events = [event("store", 1, 1, 1), event("store", 2, 2, 1), event("delete", 3, 1, 1)]
    state = after(*events)
    assert [one["removal"] is not None for one in state["series"].values()] == [True, False]
    assert state["removal"] is None
    state = after(*events, event("delete", 4, 2, 1))
    assert state["removal"] is not None
    assert state["number of series"] == state["number of instances"] == "0"


def test_what_was_announced_and_not_yet_seen_keeps_a_study_from_going_with_its_last_instance() -> None:
    announced = event("store", 1, t00201206=("IS", 1), t00201208=("IS", 2))
    stored, gone = event("store", 2, 1, 1), event("delete", 3, 1, 1)
    assert after(announced, stored, gone)["removal"] is None
    assert after(announced, stored, gone, event("store", 4, 1, 2), event("delete", 5, 1, 2))["removal"] is not None


def test_a_store_of_one_instance_revives_a_removed_study_with_that_instance_alone() -> None:
    events = [event("store", 1, 1, 1), event("store", 2, 1, 2), event("store", 3, 2, 1), event("delete", 4)]
    assert instances_of(after(*events, event("store", 5, 2, 9))) == {f"{STUDY}.2.9": False}


def test_a_store_of_one_series_revives_a_removed_study_with_what_that_series_held() -> None:
    events = [event("store", 1, 1, 1), event("store", 2, 1, 2), event("store", 3, 2, 1), event("delete", 4)]
    assert instances_of(after(*events, event("store", 5, 1))) == {f"{STUDY}.1.1": False, f"{STUDY}.1.2": False}


def test_a_store_of_the_study_revives_all_of_it() -> None:
    events = [event("store", 1, 1, 1), event("store", 2, 2, 1), event("delete", 3)]
    state = after(*events, event("store", 4))
    assert state["removal"] is None
    assert instances_of(state) == {f"{STUDY}.1.1": False, f"{STUDY}.2.1": False}


def test_a_store_older_than_the_removal_belongs_to_the_life_that_ended() -> None:
    events = [event("store", 1, 1, 1), event("delete", 10)]
    state = after(*events, event("store", 9, 1, 2))
    assert state["removal"] is not None
    assert instances_of(state) == {f"{STUDY}.1.1": False}


def test_a_removal_that_is_told_again_does_not_end_the_life_that_began_after_it() -> None:
    removal = event("delete", 10)
    state = after(event("store", 1, 1, 1), removal, event("store", 11, 1, 1), removal)
    assert state["removal"] is None
    assert instances_of(state) == {f"{STUDY}.1.1": False}


def test_a_study_revived_by_one_instance_goes_again_with_that_instance() -> None:
    """What was announced of the study before it was removed is not what it holds now."""
    announced = event("store", 1, t00201206=("IS", 3), t00201208=("IS", 30))
    events = [announced, event("store", 2, 1, 1), event("delete", 3), event("store", 4, 1, 1), event("delete", 5, 1, 1)]
    assert after(*events) == expected(*events)
    assert after(*events)["removal"] is not None


def test_an_update_of_an_instance_that_no_store_named_changes_the_study_alone() -> None:
    state = after(event("store", 1, 1, 1), event("update", 2, 2, 1, t00081030=("LO", "Head"), t0008103E=("LO", "t2")))
    assert state["attributes"] == {"00081030": "Head"}
    assert list(state["series"]) == [f"{STUDY}.1"]


def test_a_removal_that_names_another_series_than_the_store_did_loses_no_tombstone() -> None:
    """The instance is gone, and the inventory must say so, whichever series the archive names."""
    state = after(
        event("store", 1, 1, 1), event("store", 1, 1, 2), event("delete", 2, 2, 1, t00080018=("UI", f"{STUDY}.1.1"))
    )
    assert instances_of(state)[f"{STUDY}.1.1"] is True


def test_a_replay_does_not_drop_what_a_removal_that_came_late_kept() -> None:
    """The smallest of the cases above: the removal is older than the second store, and the tombstone holds both."""
    events = [event("store", 1, 1, 1), event("store", 3, 1, 2), event("delete", 2)]
    assert instances_of(after(*events)) == {f"{STUDY}.1.1": False, f"{STUDY}.1.2": False}
    assert after(*events, *events) == after(*events)
