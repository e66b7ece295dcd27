"""What a probe is told of the consumers that this machine runs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from consumers.clock import Clock
from consumers.health import Health, Server
from stocktake.cli import main
from stocktake.exits import Exit
from stocktake.members import announce, member_health_file
from stocktake.settings import Settings, load

ROOT: Final = Path(__file__).parents[2]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    given = {"STOCKTAKE_CONSUMER__HEALTH_FILE": str(tmp_path / "health")}
    for name in ("main", "other"):
        given[f"STOCKTAKE_REPOSITORIES__{name.upper()}__TOPICS"] = name
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    return load(None, given)


def leave_word(
    settings: Settings,
    repository: str,
    worker: int,
    *,
    seconds_ago: float = 0,
    ready: bool = True,
    waiting_for: Server | None = None,
) -> None:
    """As the consumer itself would."""
    assert settings.consumer.health_file is not None
    path = member_health_file(settings.consumer.health_file, repository, worker)
    seconds = iter(range(0, 100, 10))
    clock = Clock(
        now=lambda: time.time_ns() // 1000 - round(seconds_ago * 1_000_000), monotonic=lambda: float(next(seconds))
    )
    Health(path, clock).beat(ready=ready, assigned=1, waiting_for=waiting_for)


def health(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    code = main(["health", *arguments])
    return code, capsys.readouterr().out.splitlines()


def test_all_consumers_must_be_well(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    announce(settings, ["main", "other"], 2)
    for repository, worker in (("main", 1), ("main", 2), ("other", 1)):
        leave_word(settings, repository, worker)
    code, [line] = health(capsys)
    assert (code, line.startswith("not alive: repository other, worker 2: ")) == (Exit.FAULTS, True)
    assert health(capsys, "--repository", "main") == (Exit.DONE, ["alive"])
    leave_word(settings, "other", 2)
    assert health(capsys) == (Exit.DONE, ["alive"])
    assert health(capsys, "--ready") == (Exit.DONE, ["ready"])


def test_a_consumer_that_waits_for_a_server_is_alive_and_not_ready(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    announce(settings, ["main"], 2)
    leave_word(settings, "main", 1, waiting_for="redis")
    leave_word(settings, "main", 2, ready=False)
    assert health(capsys, "--repository", "main") == (Exit.DONE, ["alive"])
    code, lines = health(capsys, "--ready", "--repository", "main")
    assert code == Exit.FAULTS
    assert lines[0] == "not ready: repository main, worker 1: waiting for redis"
    assert lines[1].startswith("not ready: repository main, worker 2: ")


def test_a_consumer_that_has_fallen_silent_is_not_alive(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    announce(settings, ["main"], 1)
    leave_word(settings, "main", 1, seconds_ago=50)
    assert health(capsys, "--repository", "main") == (Exit.DONE, ["alive"])
    leave_word(settings, "main", 1, seconds_ago=70)
    code, [line] = health(capsys, "--repository", "main")
    assert (code, line.endswith("is 70 seconds old")) == (Exit.FAULTS, True)


def test_the_silence_that_is_allowed_grows_with_the_time_that_the_state_may_take(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOCKTAKE_REDIS__TIMEOUT", "30s")
    announce(settings, ["main"], 1)
    leave_word(settings, "main", 1, seconds_ago=170)
    assert health(capsys, "--repository", "main") == (Exit.DONE, ["alive"])


def test_without_any_consumer_nobody_is_alive(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    del settings
    assert health(capsys, "--repository", "main") == (
        Exit.FAULTS,
        ["not alive: no consumer of repository main has been started here"],
    )


def test_without_a_health_file_nobody_can_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health"]) == Exit.USAGE
    assert "consumer.health_file is not set" in capsys.readouterr().err


def test_a_probe_is_cheap_it_loads_no_client_of_a_server() -> None:
    program = (
        "import sys; from stocktake.cli import main; main(['health'])\n"
        "print(*{'kafka', 'redis', 'fastapi', 'pydicom'} & sys.modules.keys())"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ended.stdout.strip() == ""
