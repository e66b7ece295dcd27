"""What a probe is told of all that this machine runs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from consumers.clock import Clock
from consumers.health import FIRST_TURN, Health
from stocktake.cli import main
from stocktake.exits import Exit
from stocktake.members import ROLES, Member, Role, announcing, consumers
from stocktake.settings import Settings, load

ROOT: Final = Path(__file__).parents[2]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    given = {"STOCKTAKE_HEALTH__FILE": str(tmp_path / "health")}
    for name in ("main", "other"):
        given[f"STOCKTAKE_REPOSITORIES__{name.upper()}__TOPICS"] = name
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    return load(None, given)


def leave_word(settings: Settings, member: Member, waiting_for: str = "", *, seconds_ago: float = 0) -> None:
    """As the member itself would."""
    assert settings.health.file is not None
    seconds = iter(range(0, 100, 10))
    clock = Clock(
        now=lambda: time.time_ns() // 1000 - round(seconds_ago * 1_000_000), monotonic=lambda: float(next(seconds))
    )
    Health(member.file(settings.health.file), clock).beat(waiting_for)


def health(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    code = main(["health", *arguments])
    return code, capsys.readouterr().out.splitlines()


def test_all_that_was_started_must_be_well(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    members = [*consumers(["main", "other"], 2), Member("writer", "main"), Member("service")]
    silent = Member("consumer", "other", 2)
    with announcing(settings, members):
        for member in members:
            if member != silent:
                leave_word(settings, member)
        code, [line] = health(capsys)
        assert code == Exit.FAULTS
        assert line.startswith("not alive: consumer of repository other, worker 2: ")
        assert health(capsys, "--repository", "main") == (Exit.DONE, ["alive"])
        assert health(capsys, "--role", "writer") == (Exit.DONE, ["alive"])
        leave_word(settings, silent)
        assert health(capsys) == (Exit.DONE, ["alive"])
        assert health(capsys, "--ready") == (Exit.DONE, ["ready"])


@pytest.mark.parametrize("role", ROLES)
def test_a_role_that_was_announced_and_never_left_word_is_not_alive(
    settings: Settings, capsys: pytest.CaptureFixture[str], role: Role
) -> None:
    with announcing(settings, [Member(role, "" if role == "service" else "main")]):
        code, [line] = health(capsys, "--role", role)
    assert (code, line.startswith(f"not alive: {role}")) == (Exit.FAULTS, True)


def test_who_waits_for_a_server_is_alive_and_not_ready(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with announcing(settings, [*consumers(["main"], 1), Member("writer", "main")]):
        leave_word(settings, Member("consumer", "main", 1), "redis")
        leave_word(settings, Member("writer", "main"), FIRST_TURN)
        assert health(capsys, "--repository", "main") == (Exit.DONE, ["alive"])
        assert health(capsys, "--ready", "--repository", "main") == (
            Exit.FAULTS,
            [
                "not ready: consumer of repository main, worker 1: waiting for redis",
                "not ready: writer of repository main: waiting for its first turn",
            ],
        )


@pytest.mark.parametrize(("role", "seconds"), [("consumer", 60), ("bridge", 60), ("writer", 300)])
def test_who_has_fallen_silent_is_not_alive(
    settings: Settings, capsys: pytest.CaptureFixture[str], role: Role, seconds: int
) -> None:
    member = Member(role, "main")
    with announcing(settings, [member]):
        leave_word(settings, member, seconds_ago=seconds - 10)
        assert health(capsys, "--role", role) == (Exit.DONE, ["alive"])
        leave_word(settings, member, seconds_ago=seconds + 10)
        code, [line] = health(capsys, "--role", role)
    assert (code, line.endswith(f"is {seconds + 10} seconds old")) == (Exit.FAULTS, True)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("REDIS__TIMEOUT", "30s"), ("KAFKA__TIMEOUT", "2m"), ("ARCHIVES__MAIN__TIMEOUT", "60s")],
)
def test_the_silence_that_is_allowed_grows_with_the_time_that_an_answer_may_take(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("STOCKTAKE_ARCHIVES__MAIN__URL", "http://127.0.0.1:1")
    member = Member("bridge", "main")
    with announcing(settings, [member]):
        leave_word(settings, member, seconds_ago=170)
        assert health(capsys, "--repository", "main")[0] == Exit.FAULTS
        monkeypatch.setenv(f"STOCKTAKE_{variable}", value)
        assert health(capsys, "--repository", "main") == (Exit.DONE, ["alive"])


def test_where_nothing_was_started_nothing_is_alive(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    def line(*arguments: str) -> str:
        code, [found] = health(capsys, *arguments)
        assert code == Exit.FAULTS
        return found

    assert line() == "not alive: nothing has been started here"
    with announcing(settings, [Member("writer", "other")]):
        assert line("--repository", "main") == "not alive: nothing of repository main has been started here"
        assert line("--role", "service") == "not alive: no service has been started here"
        assert (
            line("--role", "consumer", "--repository", "main")
            == "not alive: no consumer of repository main has been started here"
        )


def test_without_a_health_file_nobody_can_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health"]) == Exit.USAGE
    assert "health.file is not set" in capsys.readouterr().err


def test_a_probe_is_cheap_it_loads_no_client_of_a_server() -> None:
    program = (
        "import sys; from stocktake.cli import main; main(['health'])\n"
        "print(*{'kafka', 'redis', 'fastapi', 'pydicom'} & sys.modules.keys())"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ended.stdout.strip() == ""
