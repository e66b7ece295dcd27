"""The loop of a bridge and its heartbeats: what it does when a server is away, and how it stops."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import orjson
import pytest

from consumers.archives.archive import ArchiveBusy, ArchiveRefused
from consumers.bridges.bridge import Bridge
from consumers.bridges.heartbeat import Heartbeats, told_until
from consumers.publish import Publisher, PublishError
from state.errors import StateUnreachable


class Sink:
    """A publisher that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, dict[str, Any], int | None]] = []
        self.flushed = 0
        self.closed = 0

    def partitions(self) -> list[int]:
        return [0, 1, 2]

    def send(self, key: bytes, value: bytes, partition: int | None = None) -> None:
        self.sent.append((key, orjson.loads(value), partition))

    def flush(self) -> None:
        self.flushed = len(self.sent)

    def close(self) -> None:
        self.closed += 1


class Steps:
    """A feed whose steps do what a list says: more, no more, or an error."""

    def __init__(self, *steps: bool | Exception) -> None:
        self.steps = list(steps)
        self.begun = 0
        self.publishers: list[Publisher] = []

    def begin(self, publisher: Publisher) -> None:
        self.begun += 1
        self.publishers.append(publisher)

    def step(self) -> bool:
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


def bridge_of(
    feed: Steps, publishers: list[Sink] | None = None, monotonic: Callable[[], float] | None = None
) -> Bridge:
    made = [] if publishers is None else publishers

    def opened() -> Publisher:
        made.append(Sink())
        return cast(Publisher, made[-1])

    return Bridge("bridge", feed, opened, 7.0, Counter({"stores": 3}), monotonic or (lambda: 0.0))


def test_it_goes_on_at_once_while_there_is_more_and_waits_when_there_is_not() -> None:
    bridge = bridge_of(Steps(True, True, False))
    assert [bridge.turn() for _ in range(3)] == [0.0, 0.0, 7.0]
    assert bridge.progress() == {"stores": 3}
    bridge.close()


@pytest.mark.parametrize("error", [ArchiveBusy("away"), ArchiveRefused("no"), StateUnreachable("away")])
def test_it_begins_again_after_a_pause_that_grows_and_says_so_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    publishers: list[Sink] = []
    feed = Steps(*[error] * 8, False, error)
    bridge = bridge_of(feed, publishers)
    with caplog.at_level(logging.INFO):
        pauses = [bridge.turn() for _ in range(10)]
    assert pauses[:8] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert pauses[8:] == [7.0, 0.5]
    assert feed.begun == 9
    assert len(publishers) == 1
    level = "ERROR" if isinstance(error, ArchiveRefused) else "WARNING"
    assert [record.levelname for record in caplog.records] == [level, "INFO", level]
    bridge.close()


def test_a_publisher_that_failed_is_not_used_again() -> None:
    publishers: list[Sink] = []
    feed = Steps(PublishError("no"), False)
    bridge = bridge_of(feed, publishers)
    bridge.turn()
    bridge.turn()
    assert [one.closed for one in publishers] == [1, 0]
    assert [id(one) for one in feed.publishers] == [id(one) for one in publishers]
    bridge.close()
    assert [one.closed for one in publishers] == [1, 1]


def test_an_archive_that_says_when_to_come_again_is_left_alone_until_then() -> None:
    bridge = bridge_of(Steps(ArchiveBusy("busy", 12.0)))
    assert bridge.turn() == 12.0
    bridge.close()


def test_it_stops_while_it_waits() -> None:
    stop = threading.Event()
    feed = Steps(False)
    bridge = bridge_of(feed)
    thread = threading.Thread(target=bridge.run, args=(stop,))
    thread.start()
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


def test_an_error_that_nobody_expects_ends_it() -> None:
    bridge = bridge_of(Steps(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        bridge.run(threading.Event())


def test_progress_is_told_every_minute_and_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    clock = [0.0]
    stop = threading.Event()
    feed = Steps(True, True, True)
    bridge = bridge_of(feed, monotonic=lambda: clock[0])
    step = feed.step

    def passing() -> bool:
        clock[0] += 40.0
        if len(feed.steps) == 1:
            stop.set()
        return step()

    feed.step = passing  # type: ignore[method-assign]
    with caplog.at_level(logging.INFO):
        bridge.run(stop)
    assert [record.getMessage() for record in caplog.records] == ["bridge: stores 3"]


def test_a_heartbeat_reaches_every_partition_and_not_too_often() -> None:
    clock = [100.0]
    sink = Sink()
    beats = Heartbeats(cast(Publisher, sink), "bridge:x", 10.0, lambda: clock[0])
    assert beats.beat(5_000_000)
    assert [(key, partition) for key, _, partition in sink.sent] == [(b"bridge:x", number) for number in range(3)]
    assert {value["action"] for _, value, _ in sink.sent} == {"heartbeat"}
    assert {value["time"] for _, value, _ in sink.sent} == {"1970-01-01T00:00:05.000000+00:00"}
    assert sink.flushed == 3
    clock[0] += 9.0
    assert not beats.beat(6_000_000)
    clock[0] += 1.0
    assert not beats.beat(4_000_000), "a clock that was set back takes nothing back"
    assert beats.beat(6_000_000)
    assert len(sink.sent) == 6


def test_a_second_that_had_begun_is_not_told_as_over() -> None:
    assert told_until(10_500_000) == 9_500_000
