"""Who is expected to leave word of their health, and in which files."""

from __future__ import annotations

from pathlib import Path

import pytest

from stocktake.members import Member, announced, announcing, consumers
from stocktake.settings import Settings, SettingsError, load


def with_file(path: Path) -> Settings:
    return load(None, {"STOCKTAKE_HEALTH__FILE": str(path)})


def test_each_member_has_a_file_of_its_own_and_a_name_for_people(tmp_path: Path) -> None:
    path = tmp_path / "health"
    told = {
        Member("consumer", "main", 2): ("health.consumer.main.2", "consumer of repository main, worker 2"),
        Member("writer", "main"): ("health.writer.main", "writer of repository main"),
        Member("bridge", "north"): ("health.bridge.north", "bridge of repository north"),
        Member("service"): ("health.service", "service"),
    }
    assert {one: (one.file(path).name, str(one)) for one in told} == told


def test_workers_follow_every_repository() -> None:
    assert [(one.repository, one.worker) for one in consumers(["a", "b"], 2)] == [
        ("a", 1),
        ("a", 2),
        ("b", 1),
        ("b", 2),
    ]


def test_those_announced_are_found_by_repository_and_role(tmp_path: Path) -> None:
    path = tmp_path / "health"
    members = [Member("service"), *consumers(["main", "other"], 12), Member("writer", "main")]
    with announcing(with_file(path), members):
        for stray in ("health", "health.nobody.main", "health.consumer.main.x", "health.consumer.main.1.17.tmp"):
            (tmp_path / stray).touch()
        assert announced(path, ["main"]) == [*consumers(["main"], 12), Member("writer", "main"), Member("service")]
        assert announced(path, ["other"], "consumer") == consumers(["other"], 12)
        assert announced(path, ["other"], "writer") == []
        assert announced(path, ["main", "other"], "service") == [Member("service")]


def test_members_are_announced_in_place_of_those_that_ran_before(tmp_path: Path) -> None:
    path = tmp_path / "health"
    settings = with_file(path)
    for name in ("consumer.main.1", "consumer.main.4", "consumer.other.4", "writer.main", "service"):
        (tmp_path / f"health.{name}").write_text("of an earlier run")
    with announcing(settings, consumers(["main"], 3)):
        assert announced(path, ["main"], "consumer") == consumers(["main"], 3)
        assert (tmp_path / "health.consumer.main.1").read_text() == ""
        assert announced(path, ["main", "other"]) == [
            *consumers(["main"], 3),
            Member("consumer", "other", 4),
            Member("writer", "main"),
            Member("service"),
        ]


def test_who_ended_in_order_is_not_expected_any_more(tmp_path: Path) -> None:
    path = tmp_path / "health"
    with announcing(with_file(path), [Member("service"), Member("writer", "main")]):
        Member("writer", "main").file(path).write_text("well")
    assert list(tmp_path.iterdir()) == []


def test_who_failed_is_still_expected(tmp_path: Path) -> None:
    path = tmp_path / "health"
    with pytest.raises(OSError, match="gone"), announcing(with_file(path), [Member("service")]):
        raise OSError("gone")
    assert announced(path, ["main"]) == [Member("service")]


def test_without_a_file_nobody_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with announcing(load(None, {}), [Member("service")]):
        assert list(tmp_path.iterdir()) == []


def test_a_health_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    settings = with_file(tmp_path / "nowhere" / "health")
    expected = pytest.raises(SettingsError, match=r"health\.file: .*nowhere/health cannot be written")
    with expected, announcing(settings, [Member("service")]):
        pass


def test_the_setting_of_before_is_refused_with_its_new_name() -> None:
    with pytest.raises(SettingsError, match=r"^STOCKTAKE_CONSUMER__HEALTH_FILE: unknown setting; it is health\.file"):
        load(None, {"STOCKTAKE_CONSUMER__HEALTH_FILE": "/tmp/health"})  # noqa: S108 -- a text, no file
