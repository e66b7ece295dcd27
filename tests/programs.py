"""Commands of ``stocktake`` as processes of their own, whose stderr goes to a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from tests.harness import PATIENCE, wait_for

ROOT: Final = Path(__file__).parents[1]


@dataclass(frozen=True)
class Command:
    """One that runs."""

    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    def lines(self) -> list[dict[str, Any]]:
        """What it logs as JSON, up to the last whole line."""
        return [orjson.loads(line) for line in self.log.splitlines(keepends=True) if line.endswith("\n")]

    def logs(self, text: str) -> None:
        """Wait until it has logged this."""
        wait_for(lambda: text in self.log or self.process.poll() is not None, f"{text!r} in {self.log_file.name}")
        assert text in self.log, self.log

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Tell it to end, and wait; its exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE)


@contextmanager
def running(folder: Path, environ: Mapping[str, str], *arguments: str) -> Iterator[Command]:
    """``stocktake`` with these arguments for the time of a block; then it is killed, with whatever it has started."""
    log_file = folder / f"{arguments[0]}.log"
    command = [sys.executable, "-m", "stocktake", *arguments]
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environ, stderr=log, stdout=subprocess.DEVNULL, start_new_session=True
        )
    try:
        yield Command(process, log_file)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
