"""A cutover as it is looked at: figures and gate, compared anew after a change of rules, kept by the minute."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event as Flag
from typing import Any

import orjson
import pytest

from monitor.forecast import Outlook
from state.attributes import Level
from state.comparison import Place
from state.connection import Connection, Meanwhile, ScriptCall
from state.history import HOUR, MINUTE
from state.pair import Acknowledgement
from state.times import MICROSECONDS
from stocktake.cli import main
from stocktake.comparing import compare_side
from stocktake.cutover import MAX_AGE, OpenCutover, Watch, look_at, open_cutover
from stocktake.exits import Exit
from stocktake.settings import Settings, SettingsError, load
from stocktake.wiring import comparison_of
from tests.cutover.world import BOTH_MAPPED, ONE_MAPPED, RENAMED, World


@pytest.fixture
def world(redis_url: str, tmp_path: Path) -> Iterator[World]:
    """One study in sync, one missing, one extra."""
    made = World(redis_url, tmp_path, Level.INSTANCE)
    for side, study in (("source", "1.2.1"), ("target", "1.2.1"), ("source", "1.2.2"), ("target", "1.2.3")):
        made.store(side, study, f"{study}.1.1")
    yield made
    made.close()


@pytest.fixture
def opened(world: World) -> Iterator[OpenCutover]:
    found = open_cutover(world.settings)
    yield found
    found.close()


def compare_all(settings: Settings, opened: OpenCutover) -> list[int]:
    return [compare_side(settings, side) for side in opened.sides]


def test_the_command_prints_figures_and_gate(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in world.environ.items():
        monkeypatch.setenv(name, value)
    assert main(["cutover", "--compare", "--json"]) == Exit.FAULTS
    found = orjson.loads(capsys.readouterr().out)
    assert {name: count for name, count in found["places"].items() if count} == {"in_sync": 1, "missing": 1, "extra": 1}
    assert (found["open"], found["recompared"], found["gate"]["met"]) == (2, True, False)
    assert found["modalities"] == [{"modality": "OT", "places": {"in_sync": 1, "missing": 1, "extra": 1}, "open": 2}]
    conditions = {one["name"]: one["met"] for one in found["gate"]["conditions"]}
    assert conditions["everything_compared"]
    assert not conditions["nothing_open"]
    assert main(["cutover"]) == Exit.FAULTS
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    for words in ("1 missing at the target", "1 at the target only", "gate         not met", "not known yet"):
        assert words in text


def test_without_a_cutover_the_command_says_what_to_set(redis_url: str) -> None:
    with pytest.raises(SettingsError, match=r"set cutover\.source and cutover\.target"):
        open_cutover(load(None, {"STOCKTAKE_REDIS__URL": redis_url}))


def test_everything_is_compared_once_and_again_after_a_change_of_rules(world: World, opened: OpenCutover) -> None:
    shards = world.settings.state.shards
    assert not look_at(world.settings, opened).figures.recompared
    assert compare_all(world.settings, opened) == [shards, shards]
    assert compare_all(world.settings, opened) == [0, 0]
    assert look_at(world.settings, opened).figures.recompared
    world.change_settings(2)  # OT is out of scope
    again = open_cutover(world.settings)
    try:
        assert not look_at(world.settings, again).figures.recompared
        assert compare_all(world.settings, again) == [shards, shards]
        assert look_at(world.settings, again).figures.standing.places == {Place.OUT_OF_SCOPE: 3}
    finally:
        again.close()


def test_a_comparison_that_is_interrupted_goes_on_where_it_was(world: World, opened: OpenCutover) -> None:
    stop = Flag()
    counts: list[int] = []

    def step(count: int) -> None:
        counts.append(count)
        stop.set()

    assert compare_side(world.settings, opened.sides[0], step, stop) == 0
    assert compare_side(world.settings, opened.sides[0], counts.append) == world.settings.state.shards
    assert sum(counts) == 2  # no study twice


def test_a_shard_that_lost_its_latest_writes_is_compared_again(world: World, opened: OpenCutover) -> None:
    """The note that it was compared stands in the shard itself, and was the last that was written there."""
    source = opened.sides[0]
    comparison = comparison_of(world.settings, source.policy.name)
    assert comparison is not None
    compare_all(world.settings, opened)
    flow = comparison.keys(1)[2]
    source.connection.send([("HDEL", flow, "rules-s", "compared-s")])
    assert compare_all(world.settings, opened) == [1, 0]


def test_what_was_seen_last_is_kept_by_the_minute_and_told_while_it_is_fresh(world: World, opened: OpenCutover) -> None:
    now = [0.0]
    watch = Watch(world.settings, opened, monotonic=lambda: now[0])
    assert watch.latest() is None
    watch.look()
    watch.look()
    found = watch.latest()
    assert found is not None
    moment = found.figures.now // MICROSECONDS
    for step in (MINUTE, HOUR):
        [row] = opened.history.rows(step, moment - 2 * step, moment)
        assert (row.open, row.missing, row.extra, row.in_sync, row.arrived) == (2, 1, 1, 1, row.settled + 2)
    now[0] += MAX_AGE + 1
    assert watch.latest() is None


def test_a_state_that_is_away_is_told_once(
    world: World, opened: OpenCutover, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(world.settings, opened)
    monkeypatch.setattr(opened.pair, "standing", world.unreachable)
    with caplog.at_level(logging.WARNING):
        watch.look()
        watch.look()
    assert caplog.text.count("cutover: away") == 1
    assert watch.latest() is None


def test_only_what_is_open_can_be_acknowledged_and_that_can_be_taken_back(opened: OpenCutover) -> None:
    seen = Acknowledgement("anna", 1, "known")
    assert not opened.pair.acknowledge("1.2.1", seen)
    assert opened.pair.acknowledge("1.2.2", seen)
    found = opened.pair.study("1.2.2")
    assert found is not None
    assert found.acknowledged == seen
    assert opened.pair.acknowledge("1.2.2", None)
    assert opened.pair.standing().acknowledged == 0


def test_the_forecast_follows_the_rows(world: World, opened: OpenCutover) -> None:
    found = look_at(world.settings, opened).figures
    assert found.forecast.outlook is Outlook.UNKNOWN
    for minutes, arrived, settled in ((4, 10, 2), (3, 10, 4), (2, 10, 6)):
        world.put_row(found.now // MICROSECONDS - minutes * MINUTE, arrived - 10, settled - 10)
    found = look_at(world.settings, opened).figures
    assert found.forecast.outlook in (Outlook.EXPECTED, Outlook.NEVER)
    assert found.forecast.net_per_hour is not None


@pytest.fixture
def mapped(redis_url: str, tmp_path: Path) -> Iterator[World]:
    """Of the studies of the source, the target knows two by other UIDs."""
    made = World(redis_url, tmp_path, Level.INSTANCE, BOTH_MAPPED)
    yield made
    made.close()


def test_a_study_that_the_migration_gave_another_uid_is_compared_with_what_it_was(mapped: World) -> None:
    (old, new), *_ = RENAMED.items()
    mapped.store("source", old, "1.2.3.1")
    mapped.settle()
    assert mapped.place(old) is Place.MISSING
    mapped.store("target", new, "1.2.3.1")
    assert mapped.place(old) is Place.MISSING
    mapped.settle()
    assert mapped.place(old) is Place.IN_SYNC
    assert mapped.pair.study(new) is None
    assert mapped.pair.standing().places == {Place.IN_SYNC: 1}


@pytest.mark.parametrize("moment", ["read", "placed"])
def test_whoever_is_overtaken_while_comparing_such_a_study_leaves_it_owed(
    mapped: World, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading it and placing it, or striking it off, it changes, and another process is faster."""
    (old, new), *_ = RENAMED.items()
    mapped.store("source", old, "1.2.3.1")
    mapped.store("source", old, "1.2.3.2")
    mapped.store("target", new, "1.2.3.1")
    slow, fast = mapped.recomparison("target"), mapped.recomparison("target")
    call = Connection.call
    wanted = "place_one" if moment == "read" else "settle_comparison"

    def overtaken(self: Connection, calls: Iterable[ScriptCall], meanwhile: Meanwhile = None) -> list[Any]:
        made = list(calls)
        if made and made[0].script == wanted:
            monkeypatch.undo()
            mapped.store("target", new, "1.2.3.2")
            assert fast.settle(new)
        return call(self, made, meanwhile)

    monkeypatch.setattr(Connection, "call", overtaken)
    assert not slow.settle(new)
    mapped.settle()
    assert mapped.place(old) is Place.IN_SYNC


def test_a_mapping_that_grows_or_shrinks_moves_studies_to_where_they_belong(mapped: World) -> None:
    for number, (old, new) in enumerate(RENAMED.items()):
        mapped.store("source", old, f"1.2.3.{number}")
        mapped.store("target", new, f"1.2.3.{number}")
    mapped.settle()
    assert mapped.pair.standing().places == {Place.IN_SYNC: 2}
    mapped.change_rules(ONE_MAPPED)
    assert mapped.pair.standing().places == {Place.IN_SYNC: 1, Place.MISSING: 1, Place.EXTRA: 1}
    mapped.change_rules(0)
    assert mapped.pair.standing().places == {Place.MISSING: 2, Place.EXTRA: 2}
    mapped.change_rules(BOTH_MAPPED)
    assert mapped.pair.standing().places == {Place.IN_SYNC: 2}
