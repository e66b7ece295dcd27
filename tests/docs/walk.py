"""A folder of its own in which a page's blocks are executed, by a shell, with `stocktake` on PATH."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from typing import Final

import pytest

from stocktake.embedded import wait_until
from tests.docs.blocks import BASH, ROOT, Block, blocks
from tests.servers.processes import in_ci

PATIENCE: Final = 60.0  # seconds until what a page promises has to be seen


@dataclass(frozen=True)
class Forks:
    """The process that runs the program for all pages."""

    socket: Path


@contextmanager
def forking(folder: Path) -> Iterator[Forks]:
    """Start it for the time of a block."""
    forks = Forks(folder / "forks.sock")
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-P", "-m", "tests.docs.forks", str(forks.socket)], env=environ)
    try:
        assert wait_until(forks.socket.exists, PATIENCE)
        yield forks
    finally:
        process.terminate()
        process.wait()


@dataclass
class Walk:
    """The walk through one page. ``replaced`` is put in place of what a page can only give an example of."""

    page: str
    folder: Path
    forks: Forks
    environ: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)
    executed: set[Block] = field(default_factory=set)
    patience: float = PATIENCE

    def __post_init__(self) -> None:
        self.blocks = blocks(self.page)
        self._running: list[subprocess.Popen[bytes]] = []
        programs = self.folder / ".bin"
        programs.mkdir(parents=True)
        program = programs / "stocktake"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {ROOT}/tests/docs/call.py "$@"\n')
        program.chmod(0o755)

    @property
    def python(self) -> str:
        """The interpreter that has what the program needs."""
        return sys.executable

    # --- the page's blocks -----------------------------------------------------------------------------------------

    def block(self, start: str) -> Block:
        """The one block that begins with this text; it counts as executed."""
        found = [one for one in self.blocks if one.text.startswith(start)]
        assert len(found) == 1, f"{self.page} has {len(found)} blocks that begin with {start!r}"
        self.executed.add(found[0])
        return found[0]

    def run(self, start: str, *, ends: int = 0, where: str = ".") -> str:
        """Execute the block that begins so, as one script; its stdout."""
        return self.shell(self.block(start).text, ends=ends, where=where)

    def run_each(self, start: str, *ends: int, where: str = ".") -> list[str]:
        """Execute its commands one by one, each of which has to end with its exit code; their stdout."""
        return [
            self.shell(command, ends=code, where=where)
            for command, code in zip(self.block(start).commands, ends, strict=True)
        ]

    def run_patiently(self, start: str, *, where: str = ".") -> list[str]:
        """Execute its commands one by one, each again until it succeeds, as who waits for something would."""
        return [self.patiently(command, where=where) for command in self.block(start).commands]

    def start(self, start: str) -> None:
        """Start the block that begins so, whose last command goes on until it is told to end."""
        self.go(self.block(start).text)

    # --- commands of our own ---------------------------------------------------------------------------------------

    def shell(self, text: str, *, ends: int = 0, where: str = ".") -> str:
        """Execute a script, which has to end with this exit code; its stdout."""
        ended = self._bash(text, where)
        assert ended.returncode == ends, f"{self.page}: {text}\nends with {ended.returncode}\n{ended.stderr}"
        return ended.stdout

    def patiently(self, text: str, *, where: str = ".", sees: Callable[[str], bool] = lambda _: True) -> str:
        """Execute a script again until it succeeds and its stdout is what is waited for."""
        deadline = time.monotonic() + self.patience
        while True:
            ended = self._bash(text, where)
            if ended.returncode == 0 and sees(ended.stdout):
                return ended.stdout
            assert time.monotonic() < deadline, f"{self.page}: {text}\n{ended.stdout}\n{ended.stderr}"
            time.sleep(0.1)

    def go(self, text: str) -> subprocess.Popen[bytes]:
        """Start a script in the background; it is ended with the walk, if it is not before."""
        log = self.folder / f".log-{len(self._running)}"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [BASH, "-euo", "pipefail", "-c", self._put(text)],
                cwd=self.folder,
                env=self._environ(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append(process)
        return process

    def interrupt(self, process: subprocess.Popen[bytes]) -> None:
        """As Ctrl-C does; it has to end in order."""
        os.killpg(process.pid, signal.SIGINT)
        log = self.folder / f".log-{self._running.index(process)}"
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        assert process.returncode in (0, 130, -signal.SIGINT), f"{self.page}: {log.read_text(encoding='utf-8')[-2000:]}"

    def close(self) -> None:
        """End whatever still runs."""
        for process in self._running:
            if process.poll() is None:
                self.interrupt(process)

    def _bash(self, text: str, where: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BASH, "-euo", "pipefail", "-c", self._put(text)],
            cwd=self.folder / where,
            env=self._environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=self.patience,
            check=False,
        )

    def _put(self, text: str) -> str:
        if not self.replaced:
            return text
        order = sorted(self.replaced, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, order)), lambda found: self.replaced[found[0]], text)

    def _environ(self) -> Mapping[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STOCKTAKE_")}
        path = f"{self.folder / '.bin'}:{os.environ['PATH']}"
        return inherited | {"DOCS_FORKS": str(self.forks.socket), "PATH": path} | self.environ


def need(*programs: str) -> None:
    """Without one of these, the walk fails in CI and is skipped elsewhere, with the reason."""
    if missing := [name for name in programs if which(name) is None]:
        reason = f"the commands of the pages need {', '.join(missing)} on PATH"
        if in_ci():
            pytest.fail(reason)
        pytest.skip(reason)
