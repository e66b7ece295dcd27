"""What a consumer's health file says, how often it is written, and what a probe makes of it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import orjson
import pytest

from consumers.clock import Clock
from consumers.health import Health, Server, check
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


def leave_word(path: Path, *, ready: bool = True, waiting_for: Server | None = None) -> Time:
    time = Time()
    health = Health(path, time.clock())
    time.seconds += 1.0
    health.beat(ready=ready, assigned=3, waiting_for=waiting_for)
    return time


def test_the_file_says_when_the_loop_was_alive_last_and_how(tmp_path: Path) -> None:
    time = leave_word(tmp_path / "health", ready=False, waiting_for="redis")
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
        health.beat(ready=True, assigned=1, waiting_for=None)
        written.add((tmp_path / "health").stat().st_mtime_ns)
    assert len(written) <= 6


def test_without_a_path_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Health(None, Time().clock()).beat(ready=True, assigned=1, waiting_for=None)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    time = Time()
    health = Health(tmp_path / "none" / "health", time.clock())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            time.seconds += 2.0
            health.beat(ready=True, assigned=1, waiting_for=None)
    assert caplog.text.count("cannot be written") <= 1


def test_a_consumer_that_goes_on_and_has_its_partitions_is_well(tmp_path: Path) -> None:
    time = leave_word(tmp_path / "health")
    time.seconds += 30.0
    assert check(tmp_path / "health", time.now, 30.0) == []


def test_a_consumer_that_fell_silent_is_not_alive(tmp_path: Path) -> None:
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
def test_a_consumer_that_waits_for_a_server_is_alive_and_not_ready(tmp_path: Path, server: Server) -> None:
    time = leave_word(tmp_path / "health", ready=False, waiting_for=server)
    assert check(tmp_path / "health", time.now, 30.0) == [f"not ready: waiting for {server}"]


def test_a_consumer_without_its_partitions_is_alive_and_not_ready(tmp_path: Path) -> None:
    time = leave_word(tmp_path / "health", ready=False)
    [problem] = check(tmp_path / "health", time.now, 30.0)
    assert problem.startswith("not ready: ")
