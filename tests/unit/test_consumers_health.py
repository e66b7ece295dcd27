"""What a health file says, how often it is written, and what a probe makes of it."""

from __future__ import annotations

import itertools
import logging
import os
from collections import Counter
from pathlib import Path
from threading import Event as Flag
from types import SimpleNamespace
from typing import cast

import orjson
import pytest

from consumers.archives.archive import ArchiveBusy
from consumers.bridges.bridge import Bridge
from consumers.clock import Clock
from consumers.health import Health, check
from consumers.publish import Publisher
from state.times import MICROSECONDS, to_iso

NOW = 1_800_000_000 * MICROSECONDS


class Time:
    """Seconds since :data:`NOW`; the clock shows what it is set to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @property
    def now(self) -> int:
        return NOW + round(self.seconds * MICROSECONDS)

    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, monotonic=lambda: self.seconds)


def leave_word(path: Path, waiting_for: str = "") -> Time:
    time = Time()
    health = Health(path, time.clock())
    time.seconds += 1.0
    health.beat(waiting_for, assigned=3)
    return time


def test_the_file_says_when_the_loop_was_alive_last_and_how(tmp_path: Path) -> None:
    time = leave_word(tmp_path / "health", "redis")
    assert orjson.loads((tmp_path / "health").read_bytes()) == {
        "beat": to_iso(time.now),
        "ready": False,
        "assigned": 3,
        "waiting_for": "redis",
        "pid": os.getpid(),
    }


def test_the_file_is_there_from_the_beginning_and_nothing_else_is(tmp_path: Path) -> None:
    time = Time()
    Health(tmp_path / "health", time.clock())
    assert check(tmp_path / "health", time.now, 30.0)[0].startswith("not ready")
    assert [path.name for path in tmp_path.iterdir()] == ["health"]


def test_the_file_is_written_at_most_once_a_second(tmp_path: Path) -> None:
    time = Time()
    health = Health(tmp_path / "health", time.clock())
    written = set()
    for _ in range(100):
        time.seconds += 0.05
        health.beat()
        written.add((tmp_path / "health").stat().st_mtime_ns)
    assert len(written) <= 6


def test_without_a_path_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Health(None, Time().clock()).beat()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    time = Time()
    health = Health(tmp_path / "none" / "health", time.clock())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            time.seconds += 2.0
            health.beat()
    assert caplog.text.count("cannot be written") <= 1


def test_a_loop_that_goes_on_and_waits_for_nothing_is_well(tmp_path: Path) -> None:
    time = leave_word(tmp_path / "health")
    time.seconds += 30.0
    assert check(tmp_path / "health", time.now, 30.0) == []


def test_a_loop_that_fell_silent_is_not_alive(tmp_path: Path) -> None:
    time = leave_word(tmp_path / "health")
    time.seconds += 31.0
    [problem] = check(tmp_path / "health", time.now, 30.0)
    assert problem.startswith("not alive: ")
    assert "31 seconds" in problem


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"beat": "yesterday", "ready": true, "waiting_for": null}'])
def test_a_file_without_a_word_is_no_sign_of_life(tmp_path: Path, text: str) -> None:
    (tmp_path / "health").write_text(text)
    [problem] = check(tmp_path / "health", NOW, 30.0)
    assert problem.startswith("not alive: ")


def test_no_file_is_no_sign_of_life(tmp_path: Path) -> None:
    [problem] = check(tmp_path / "health", NOW, 30.0)
    assert problem.startswith("not alive: ")


@pytest.mark.parametrize("server", ["redis", "kafka"])
def test_a_loop_that_waits_for_a_server_is_alive_and_not_ready(tmp_path: Path, server: str) -> None:
    time = leave_word(tmp_path / "health", server)
    assert check(tmp_path / "health", time.now, 30.0) == [f"not ready: waiting for {server}"]


def test_long_work_that_gets_on_is_a_sign_of_life_and_leaves_the_rest_as_it_was(tmp_path: Path) -> None:
    time = Time()
    health = Health(tmp_path / "health", time.clock())
    for waiting_for in ("redis", ""):
        time.seconds += 1.0
        health.beat(waiting_for)
        time.seconds += 40.0
        health.still()
        word = orjson.loads((tmp_path / "health").read_bytes())
        assert (word["beat"], word["waiting_for"]) == (to_iso(time.now), waiting_for or None)


def test_what_was_said_too_soon_to_be_written_is_written_with_the_next_word(tmp_path: Path) -> None:
    time = Time()
    health = Health(tmp_path / "health", time.clock())
    health.beat()
    time.seconds += 1.0
    health.still()
    assert check(tmp_path / "health", time.now, 30.0) == []


class Waits:
    """A flag that is never set, on which time passes."""

    def __init__(self, time: Time) -> None:
        self._time = time

    def is_set(self) -> bool:
        return self._time.seconds > 3600

    def wait(self, seconds: float) -> bool:
        self._time.seconds += seconds
        return self.is_set()


class Asks:
    """The feed of an archive that asks to come again in an hour, after it has told something."""

    def __init__(self) -> None:
        self.steps = 0

    def begin(self, publisher: Publisher) -> None:
        """It begins."""

    def step(self) -> bool:
        self.steps += 1
        if self.steps > 1:
            raise ArchiveBusy("busy", 3600.0)
        return True


def test_a_bridge_that_was_asked_to_wait_for_an_hour_is_alive_all_the_while_and_not_ready(tmp_path: Path) -> None:
    time = Time()
    health = Health(tmp_path / "health", time.clock())
    said = list[tuple[float, str]]()

    def beat(waiting_for: str) -> None:
        said.append((time.seconds, waiting_for))
        time.seconds += 1.0
        health.beat(waiting_for)
        assert check(tmp_path / "health", time.now, 60.0) == (
            [f"not ready: waiting for {waiting_for}"] if waiting_for else []
        )

    publisher = cast("Publisher", SimpleNamespace(close=lambda: None))
    bridge = Bridge("bridge", Asks(), lambda: publisher, 1.0, Counter(), lambda: time.seconds, beat)
    bridge.run(cast("Flag", Waits(time)))
    assert [waiting_for for _, waiting_for in said] == ["", *["the archive"] * (len(said) - 1)]
    moments = [moment for moment, _ in said]
    assert max(after - before for before, after in itertools.pairwise(moments)) <= 10
