"""One deadline from the moment that the program was asked to end."""

from __future__ import annotations

from threading import Event

from consumers.clock import Deadline, StopFlag


class Seconds:
    """A clock that goes on when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_each_step_gets_what_those_before_it_have_left() -> None:
    seconds = Seconds()
    deadline = Deadline.after(20.0, seconds)
    seconds.now += 15.0
    assert deadline.left == 5.0
    seconds.now += 15.0
    assert deadline.left == 0.0


def test_the_time_runs_from_the_moment_of_the_first_request_to_stop() -> None:
    seconds = Seconds()
    stop = StopFlag(seconds)
    assert stop.since is None
    stop.set()
    seconds.now += 3.0
    stop.set()
    assert stop.is_set()
    assert Deadline.of_stop(stop, 20.0, seconds).left == 17.0


def test_without_a_request_to_stop_the_time_runs_from_now() -> None:
    seconds = Seconds()
    assert Deadline.of_stop(StopFlag(seconds), 20.0, seconds).left == 20.0
    plain = Event()
    plain.set()
    assert Deadline.of_stop(plain, 20.0, seconds).left == 20.0
