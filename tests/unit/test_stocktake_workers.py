"""What the parent of workers decides, and how their members of the groups are named."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from threading import Event as Flag

import pytest

from consumers.errors import DeadLetterLimit
from state.errors import StateUnreachable
from stocktake.members import announce, health_files, member_settings
from stocktake.roles import Roles
from stocktake.settings import SettingsError, load
from stocktake.workers import Deaths


def test_each_death_makes_the_wait_longer_and_the_fifth_within_a_minute_is_the_end() -> None:
    deaths = Deaths()
    assert [deaths.wait_after(now) for now in (100.0, 101.0, 110.0, 130.0, 159.0)] == [0.5, 1.0, 2.0, 4.0, None]


def test_deaths_of_long_ago_are_forgotten() -> None:
    deaths = Deaths()
    assert [deaths.wait_after(100.0 + 61 * number) for number in range(20)] == [0.5] * 20
    assert [deaths.wait_after(2000.0 + 16 * number) for number in range(20)] == [0.5, 1.0, 2.0, *[4.0] * 17]


def test_each_member_has_a_name_and_a_health_file_of_its_own(tmp_path: Path) -> None:
    given = {"STOCKTAKE_KAFKA__INSTANCE_ID": "node", "STOCKTAKE_CONSUMER__HEALTH_FILE": str(tmp_path / "health")}
    found = member_settings(load(None, given), "main", 2)
    assert found.kafka.instance_id == "node-2"
    assert found.consumer.health_file == tmp_path / "health.main.2"


def test_without_names_and_health_files_there_are_none_for_members() -> None:
    settings = load(None, {})
    assert member_settings(settings, "main", 2) == settings
    announce(settings, ["main"], 2)


def test_members_are_announced_in_place_of_those_that_ran_before(tmp_path: Path) -> None:
    path = tmp_path / "health"
    settings = load(None, {"STOCKTAKE_CONSUMER__HEALTH_FILE": str(path)})
    announce(settings, ["main", "other"], 12)
    (tmp_path / "health.main.1").write_text("of an earlier run")
    (tmp_path / "health.main.1.partial").touch()
    announce(settings, ["main"], 3)
    assert health_files(path, "main") == [(number, tmp_path / f"health.main.{number}") for number in (1, 2, 3)]
    assert (tmp_path / "health.main.1").read_text() == ""
    assert [number for number, _ in health_files(path, "other")] == list(range(1, 13))


def test_a_health_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    settings = load(None, {"STOCKTAKE_CONSUMER__HEALTH_FILE": str(tmp_path / "nowhere" / "health")})
    with pytest.raises(SettingsError, match=r"consumer\.health_file: .*nowhere/health cannot be written"):
        announce(settings, ["main"], 1)


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
