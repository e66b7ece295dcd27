"""One container of a pod: its process, its environment as the pod's template has it, and commands run beside it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.cluster.sandbox import BIN, Sandbox
from tests.oracle.events import Json

PATH: Final = f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_REFERENCE: Final = re.compile(r"\$\((\w+)\)")
_WHAT_IS_TOLD: Final = 2000  # characters of a log's end


@dataclass(frozen=True, slots=True)
class Given:
    """What pods refer to: ConfigMaps and Secrets by name, and what every pod is told of Services by its cluster."""

    config_maps: Mapping[str, Mapping[str, str]]
    secrets: Mapping[str, Mapping[str, str]]
    services: Sequence[str] = ()


def environment(container: Json, pod: Json, given: Given) -> dict[str, str]:
    """All that a container's process has in its environment: what its image gives, and what its template says.

    ``pod`` has the pod's ``metadata`` and ``spec``.
    """
    found = {"PATH": PATH, "HOSTNAME": pod["metadata"]["name"]}
    if pod["spec"].get("enableServiceLinks", True):
        for service in given.services:
            found[f"{service.upper().replace('-', '_')}_SERVICE_HOST"] = "10.0.0.1"
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            found |= given.config_maps[source["configMapRef"]["name"]]
        else:
            found |= given.secrets[source["secretRef"]["name"]]
    for entry in container.get("env", []):
        if "valueFrom" in entry:
            found[entry["name"]] = _referred(entry["valueFrom"], pod, given)
        else:
            found[entry["name"]] = expanded(entry.get("value", ""), found)
    return found


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """``$(NAME)`` replaced where such a variable is known, as in arguments and values."""
    return _REFERENCE.sub(lambda match: variables.get(match[1], match[0]), text)


def _referred(source: Json, pod: Json, given: Given) -> str:
    if "secretKeyRef" in source:
        return given.secrets[source["secretKeyRef"]["name"]][source["secretKeyRef"]["key"]]
    if "configMapKeyRef" in source:
        return given.config_maps[source["configMapKeyRef"]["name"]][source["configMapKeyRef"]["key"]]
    field_path = source["fieldRef"]["fieldPath"]
    assert field_path.startswith("metadata."), f"only a pod's metadata is known here, not {field_path}"
    return str(pod["metadata"][field_path.removeprefix("metadata.")])


@dataclass
class Command:
    """A command that runs beside a container's process. ``deadline`` is monotonic seconds."""

    process: subprocess.Popen[str]
    deadline: float
    cut_off: bool = False

    def done(self, now: float) -> bool | None:
        """Whether it went well; None while it runs and has time. What runs on after that is killed."""
        if (code := self.process.poll()) is not None:
            return code == 0
        if now < self.deadline:
            return None
        self.cut_off = True
        self.kill()
        return False

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def said(self) -> str:
        """What it printed, once it is done."""
        assert self.process.stdout is not None
        return self.process.stdout.read().strip()

    def close(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()


@dataclass
class Container:
    """The process may be started again and again; what it prints is added to ``log_file``."""

    name: str
    argv: Sequence[str]
    variables: Mapping[str, str]
    sandbox: Sandbox
    log_file: Path
    started: float = 0.0
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.sandbox.command(self.argv),
                env=dict(self.variables),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started = time.monotonic()

    @property
    def exit_code(self) -> int | None:
        """None while it runs; above 0 when a signal ended it, too."""
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int | None:
        """The first process in the container, by the machine's number; None while there is none."""
        if self._process is None or self._process.poll() is not None:
            return None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        with contextlib.suppress(OSError):
            return next((int(child) for child in children.read_text("ascii").split()), None)
        return None

    def processes(self) -> list[int]:
        """All processes in there, by the machine's numbers, the first one first."""
        found = [] if self.pid is None else [self.pid]
        for parent in found:
            for path in Path(f"/proc/{parent}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    found += [int(child) for child in path.read_text("ascii").split()]
        return found

    def signal(self, number: signal.Signals) -> bool:
        """Send it to the first process; whether there was one."""
        pid = self.pid
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return True

    def kill(self) -> None:
        """End everything in there at once."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.kill()
            self._process.wait()

    def run(self, argv: Sequence[str], timeout: float) -> Command | None:
        """Start a command beside the process; None when that has ended."""
        pid = self.pid
        if pid is None:
            return None
        process = subprocess.Popen(
            self.sandbox.inside(pid, argv),
            env=dict(self.variables),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        return Command(process, time.monotonic() + timeout)

    def log(self) -> str:
        """All that it has printed."""
        return self.log_file.read_text("utf-8", "replace") if self.log_file.exists() else ""

    def last_words(self) -> str:
        """The end of that."""
        return self.log()[-_WHAT_IS_TOLD:].strip()
