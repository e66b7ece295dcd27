"""What the parent of workers decides, and how their members of the groups are named."""

from __future__ import annotations

from functools import partial
from threading import Event as Flag

import pytest

from consumers.errors import DeadLetterLimit
from state.errors import StateUnreachable
from stocktake.members import member_settings
from stocktake.roles import Roles
from stocktake.settings import load
from stocktake.workers import Deaths


def test_each_death_makes_the_wait_longer_and_the_fifth_within_a_minute_is_the_end() -> None:
    deaths = Deaths()
    assert [deaths.wait_after(now) for now in (100.0, 101.0, 110.0, 130.0, 159.0)] == [0.5, 1.0, 2.0, 4.0, None]


def test_deaths_of_long_ago_are_forgotten() -> None:
    deaths = Deaths()
    assert [deaths.wait_after(100.0 + 61 * number) for number in range(20)] == [0.5] * 20
    assert [deaths.wait_after(2000.0 + 16 * number) for number in range(20)] == [0.5, 1.0, 2.0, *[4.0] * 17]


def test_each_worker_has_a_name_of_its_own_in_the_groups() -> None:
    settings = load(None, {"STOCKTAKE_KAFKA__INSTANCE_ID": "node"})
    assert member_settings(settings, 2).kafka.instance_id == "node-2"


def test_without_a_name_workers_have_none() -> None:
    settings = load(None, {})
    assert member_settings(settings, 2) == settings


def fail_when(flag: Flag, error: Exception) -> None:
    assert flag.wait(30)
    raise error


def test_the_first_role_that_fails_ends_all_and_its_error_is_the_one_that_is_raised() -> None:
    stop, now = Flag(), Flag()
    now.set()
    roles = Roles(stop)
    roles.start("waits", partial(fail_when, stop, StateUnreachable("later")))
    roles.start("fails", partial(fail_when, now, DeadLetterLimit("first")))
    with pytest.raises(DeadLetterLimit, match="first"):
        roles.join(30)
    assert roles.failed()


def test_a_server_that_does_not_answer_is_no_error_once_the_program_ends(caplog: pytest.LogCaptureFixture) -> None:
    stop = Flag()
    roles = Roles(stop)
    roles.start("waits", partial(fail_when, stop, StateUnreachable("Redis is away")))
    stop.set()
    roles.join(30)
    assert "waits, while ending: Redis is away" in caplog.text


def test_a_role_that_does_not_end_in_time_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    stop, forever = Flag(), Flag()
    roles = Roles(stop)
    roles.start("hangs", partial(fail_when, forever, StateUnreachable("much later")))
    stop.set()
    roles.join(0.1)
    assert "hangs has not ended within 0.1 seconds" in caplog.text
    forever.set()
