"""One process of the program, with the workers that it may have: started, hurt and ended from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

from stocktake.embedded import ServerProcess, wait_until
from tests.harness import Deployment

_STARTING: Final = 20.0  # seconds in which SIGTERM may find a process that has no handler yet
_ORDERLY: Final = 45.0  # seconds that a process may take to end after SIGTERM
_FEW_DEATHS: Final = 20.0  # seconds between two deaths of workers: too many of them are the end of the whole process
_WORKER: Final = b"spawn_main"  # in the command line of a worker, and not in that of Python's resource tracker


class Program(ServerProcess):
    """It dies with the soak. What follows from a killed or stopped worker is up to the process itself."""

    started = 0.0
    _worker_died = 0.0
    _paused: int | None = None

    def start(self) -> None:
        if self.pid is None:
            self.started = time.monotonic()
        super().start()
        self._paused = None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal."""
        return None if self._process is None else self._process.poll()

    @property
    def paused(self) -> bool:
        return self._paused is not None

    def hurt(self, rng: Random) -> None:
        """SIGKILL of the process, or of one of its workers."""
        workers = list(_workers_of(self.pid)) if self.pid is not None else []
        if workers and time.monotonic() - self._worker_died > _FEW_DEATHS and rng.random() < 0.5:
            self._worker_died = time.monotonic()
            _send(rng.choice(workers), signal.SIGKILL)
        else:
            self.kill()

    def pause(self, rng: Random) -> None:
        """SIGSTOP of the process, or of one of its workers if it has any: they do the work."""
        if self.pid is not None:
            self._paused = rng.choice(list(_workers_of(self.pid)) or [self.pid])
            _send(self._paused, signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        if self._paused is not None:
            _send(self._paused, signal.SIGCONT)
            self._paused = None

    def ask_to_end(self) -> None:
        """SIGTERM."""
        if self.pid is not None:
            _send(self.pid, signal.SIGTERM)

    def end(self) -> str | None:
        """SIGTERM, and wait; what is wrong with how it ended, if anything."""
        self.ask_to_end()
        if not wait_until(lambda: self.exit_code is not None, _ORDERLY):
            self.kill()
            return f"{self.name} did not end within {_ORDERLY:g} seconds of SIGTERM"
        return None if self.ended_well() else f"{self.name} ended with {self.exit_code} after SIGTERM"

    def ended_well(self) -> bool:
        """Whether it ended as it should after SIGTERM."""
        early = time.monotonic() - self.started < _STARTING
        return self.exit_code == 0 or (early and self.exit_code == -signal.SIGTERM)

    def last_words(self) -> str:
        """The last line of its log."""
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "(no log)"


def program(name: str, settings: Path, folder: Path, *command: str) -> Program:
    """A process that is not started yet; its log is below ``folder``."""
    words: list[str | Path] = [sys.executable, "-m", "stocktake", *command, "--config", settings]
    return Program(name, words, folder / f"{name.replace(' ', '-')}.log", answers=lambda: True)


def settings_file(folder: Path, deployment: Deployment) -> Path:
    """A file that says what the deployment's ``STOCKTAKE_*`` variables say."""
    path = folder / f"{deployment.name}.toml"
    lines = []
    for variable, value in deployment.environ.items():
        name = variable.removeprefix("STOCKTAKE_").lower().replace("__", ".")
        lines.append(f'{name} = "{value}"\n')
    path.write_text("".join(lines), encoding="utf-8")
    return path


def _workers_of(pid: int) -> Iterator[int]:
    """Its worker processes; none where there is no /proc."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, path.read_text("ascii").split()):
                if _WORKER in Path(f"/proc/{child}/cmdline").read_bytes():
                    yield child


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
