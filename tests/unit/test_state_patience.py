"""How long a server is waited for: bounded, with pauses that grow and are drawn."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from state.patience import Patience, Waiting


@dataclass
class Machine:
    """Time that passes only by pauses."""

    drawn: float = 0.0
    now: float = 100.0
    pauses: list[float] = field(default_factory=list)

    def waiting(self) -> Waiting:
        return Waiting(monotonic=lambda: self.now, sleep=self.sleep, random=lambda: self.drawn)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def exhaust(machine: Machine, seconds: float) -> None:
    patience = Patience(seconds, machine.waiting())
    error = ConnectionError("gone")

    def pause_for_ever() -> None:
        while True:
            patience.pause(error)

    with pytest.raises(ConnectionError) as raised:
        pause_for_ever()
    assert raised.value is error


def test_no_try_begins_after_the_time_is_over() -> None:
    machine = Machine()
    exhaust(machine, 5.0)
    assert machine.now == pytest.approx(105.0)
    assert sum(machine.pauses) == pytest.approx(5.0)


def test_pauses_double_up_to_a_second() -> None:
    machine = Machine(drawn=1.0)
    exhaust(machine, 10.0)
    assert machine.pauses[:6] == pytest.approx([0.02, 0.04, 0.08, 0.16, 0.32, 0.64])
    assert max(machine.pauses) == 1.0


def test_half_of_a_pause_is_drawn() -> None:
    short, long = Machine(drawn=0.0), Machine(drawn=1.0)
    exhaust(short, 1.0)
    exhaust(long, 1.0)
    assert short.pauses[0] == pytest.approx(long.pauses[0] / 2)


def test_a_try_that_took_all_the_time_is_the_last_one() -> None:
    machine = Machine()
    patience = Patience(5.0, machine.waiting())
    machine.now += 5.0
    with pytest.raises(ConnectionError):
        patience.pause(ConnectionError("gone"))
    assert machine.pauses == []
