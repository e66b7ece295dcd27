"""`--ask` waits for the writer that leads, says what it waits for, and gives up only when it should."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import cast

import pytest

from state.chain import Chain
from state.errors import StateUnreachable
from state.repository import Repository, Watermark
from state.requests import Answer, InventoryRequests, Kind
from stocktake.asking import Asking
from stocktake.cli import main
from stocktake.exits import CommandError, Exit


class World:
    """The state as the test has it, and a clock. ``at``: what happens once so many seconds have passed."""

    name = "main"

    def __init__(self, *, leads: bool = True) -> None:
        self.now = 0.0
        self.leads = leads
        self.away = False
        self.asked: list[Kind] = []
        self.answer: Answer | None = None
        self.missing: tuple[str, ...] = ()
        self.at: list[tuple[float, Callable[[], None]]] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for moment, happen in [one for one in self.at if one[0] <= self.now]:
            self.at.remove((moment, happen))
            happen()

    def wait_for(self, kind: Kind = "baseline", timeout: float | None = None) -> Answer:
        requests, chain, repository = cast("InventoryRequests", self), cast("Chain", self), cast("Repository", self)
        return Asking(requests, chain, repository, 35.0, timeout, lambda: self.now, self.sleep).wait_for(kind)

    def later(self, moment: float, **changes: object) -> None:
        self.at.append((moment, lambda: vars(self).update(changes)))

    # --- what is asked of the state

    def is_led(self) -> bool:
        if self.away:
            raise StateUnreachable("Redis cannot be reached")
        return self.leads

    def ask(self, kind: Kind) -> int:
        self.asked.append(kind)
        return len(self.asked)

    def look(self, kind: Kind) -> tuple[int, Answer | None]:
        return max((number for number, one in enumerate(self.asked, 1) if one == kind), default=0), self.answer

    def watermark(self) -> Watermark:
        return Watermark(None if self.missing else 1, {}, self.missing)


DONE = Answer(1, 7, "2.25.7", {"sequence": 7})


def test_the_answer_is_waited_for() -> None:
    world = World()
    world.later(100.0, answer=DONE)
    assert world.wait_for("rollup") == DONE
    assert world.asked == ["rollup"]


def test_nothing_is_asked_for_while_nobody_leads_and_that_ends_once_the_lease_would_have_passed() -> None:
    world = World(leads=False)
    with pytest.raises(CommandError, match=r"no writer of repository main leads: start `stocktake write`") as failed:
        world.wait_for()
    assert failed.value.code == Exit.FAULTS
    assert not world.asked
    assert 35 <= world.now < 36


def test_a_writer_that_dies_leaves_the_request_to_the_next_one() -> None:
    world = World()
    world.later(10.0, leads=False)
    world.later(44.0, leads=True)
    world.later(60.0, answer=DONE)
    assert world.wait_for() == DONE
    assert world.asked == ["baseline"]


def test_a_writer_that_dies_without_a_next_one_ends_the_wait_and_the_request_stays() -> None:
    world = World()
    world.later(10.0, leads=False)
    with pytest.raises(CommandError, match="the request stays, and the next writer produces it"):
        world.wait_for()


def test_what_is_not_produced_in_time_is_told_so() -> None:
    world = World()
    with pytest.raises(CommandError, match="a baseline was not produced within 20 seconds; the request stays"):
        world.wait_for(timeout=20.0)
    assert world.now == 20.0


def test_a_request_that_the_server_has_lost_is_made_again() -> None:
    world = World()
    world.later(5.0, asked=[])
    world.later(9.0, answer=DONE)
    assert world.wait_for() == DONE
    assert world.asked == ["baseline"]


def test_a_request_that_the_server_has_lost_is_made_again_also_if_its_number_went_to_another() -> None:
    world = World()
    world.later(5.0, asked=["next"])
    world.later(9.0, answer=Answer(2, 8, "2.25.8"))
    assert world.wait_for().sequence == 8
    assert world.asked == ["next", "baseline"]


def test_an_answer_to_an_earlier_request_is_none() -> None:
    world = World()
    world.asked = ["baseline"]
    world.answer = DONE
    world.later(5.0, answer=Answer(2, 8, "2.25.8"))
    assert world.wait_for().sequence == 8


def test_a_state_that_is_away_is_waited_for_and_the_time_does_not_count_as_one_without_a_writer() -> None:
    world = World()
    world.later(5.0, away=True)
    world.later(300.0, away=False, answer=DONE)
    assert world.wait_for() == DONE


def test_what_is_waited_for_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.missing = ("t:0",)
    world.later(50.0, answer=DONE)
    with caplog.at_level(logging.INFO, "stocktake.asking"):
        world.wait_for()
    assert caplog.messages == [
        "asked the writer of repository main for a baseline: request 1",
        "there is no watermark yet: t:0; the writer waits for it",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["baseline", "--ask", "--force"],
        ["rollup", "--timeout", "5s"],
        ["delta", "--ask", "--from", "2026-01-01", "--output", "x.dcm"],
    ],
)
def test_options_that_do_not_go_together_are_refused(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STOCKTAKE_REPOSITORIES__MAIN__TOPICS", "t")
    assert main(arguments) == Exit.USAGE
    assert "--ask" in capsys.readouterr().err
