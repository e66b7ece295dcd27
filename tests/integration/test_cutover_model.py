"""Two repositories that are compared: whatever comes in whatever order, sets and figures are what the oracle says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import Phase

import state.connection
from monitor.reasons import reasons
from state.attributes import Level
from state.comparison import OPEN, Place
from state.connection import Script
from tests.cutover.machine import play
from tests.cutover.world import SIDES, World

EXAMPLES = 60


def test_sets_and_figures_equal_those_computed_from_scratch(redis_url: str, tmp_path: Path) -> None:
    play(redis_url, tmp_path, EXAMPLES)


def test_a_study_that_is_compared_anew_stays_open_since_when_it_was(redis_url: str, tmp_path: Path) -> None:
    world = World(redis_url, tmp_path, Level.INSTANCE)
    try:
        for number, side in enumerate(SIDES):
            world.store(side, "1.2.3", f"1.2.3.4.{number}")
        [before] = world.pair.page(OPEN, None, 10)
        assert (before.place, list(reasons(before, ()))) == (Place.DIFFERENT, ["other instances at the target"])
        world.change_rules(1)
        assert [one.place for one in world.pair.page(OPEN, None, 10)] == [Place.DIFFERENT]
        found = world.pair.study("1.2.3")
        assert found is not None
        assert found.since == before.since
        assert (world.pair.standing().arrived, world.pair.standing().settled) == (1, 0)
    finally:
        world.close()


@pytest.mark.parametrize(
    ("guard", "instead"),
    [
        ('and "I" or "D"', 'and "D" or "D"'),
        ("counts[before] = (counts[before] or 0) - 1", ""),
        ('if redis.call("HGET", KEYS[k], "rev") == ARGV[at + 1] then', "if ARGV[at] == 1 then"),
        ('OPEN[old] and (previous == "" or summary == "" or said(summary) ~= said(previous))', "false"),
        ('paged("SADD", KEYS[PAIR + UNCOMPARED - 1], elsewhere)', ""),
        ('since = tonumber(redis.call("ZSCORE", keys[LISTED[old]], uid) or now)', ""),
    ],
)
def test_an_error_planted_on_purpose_is_caught(
    redis_url: str, tmp_path: Path, guard: str, instead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = state.connection._load_scripts()
    changed = {name: Script(name, script.text.replace(guard, instead)) for name, script in scripts.items()}
    assert changed != scripts
    monkeypatch.setattr(state.connection, "_load_scripts", lambda: changed)
    with pytest.raises(AssertionError):
        play(redis_url, tmp_path, 200, phases=(Phase.generate,), derandomize=True)
