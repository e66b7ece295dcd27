"""The service's sign of life says what the latest look at the state found, whatever went wrong in one before."""

from __future__ import annotations

import asyncio
import logging
from threading import Event as Flag
from typing import Any, cast

import pytest

from consumers.health import Health
from state.errors import StateUnreachable
from stocktake.web.server import Pulse
from stocktake.wiring import OpenRepository


class World:
    """A state that answers as it is told, look by look; and what the service said of itself after each."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.said: list[str] = []
        self.pulse = Pulse(cast("Health", self))
        self.connection = self

    def run(self) -> list[str]:
        self.pulse.look([cast("OpenRepository", self)], cast("Flag", self))
        return self.said

    def now(self) -> int:
        answer = self.answers.pop(0)
        if answer is not None:
            raise answer
        return 1

    # --- the health and the flag

    def beat(self, waiting_for: str) -> None:
        self.said.append(waiting_for)

    def is_set(self) -> bool:
        return not self.answers

    def wait(self, timeout: Any) -> None:
        asyncio.run(self.pulse.beat())


def test_it_is_ready_while_the_state_answers() -> None:
    assert World(None, StateUnreachable("away"), None).run() == ["", "redis", ""]


def test_an_error_that_nobody_foresaw_makes_it_not_ready_is_told_once_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World(ValueError("Doe^Jane"), ValueError("Doe^Jane"), None, ValueError("again"))
    with caplog.at_level(logging.ERROR, "stocktake.web.server"):
        assert world.run() == [failing := "a look at the state, which fails", failing, "", failing]
    assert caplog.messages == ["the state cannot be looked at: ValueError; the service is not ready"] * 2
