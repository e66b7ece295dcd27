"""Work timed: seconds, the processor time of every process that has a part in it, and the most memory it took.

Linux only, for ``/proc``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

Pids = Mapping[str, tuple[int, ...]]  # by role: who does the work

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Measured:
    """``events`` done in ``seconds``; ``peak_bytes`` of the largest process that did them, over its whole life.

    ``cpu`` is the processor time in seconds by role.
    """

    events: int
    seconds: float
    peak_bytes: int
    cpu: Mapping[str, float] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        return self.events / self.seconds

    def cpu_per_100k(self, role: str) -> float:
        """Seconds of processor time for 100,000 events."""
        return self.cpu[role] * 100_000 / self.events


class Stopwatch:
    """Measures from its start to its stop the processes given by role; ``own`` are those whose memory counts."""

    def __init__(self, pids: Pids) -> None:
        self._pids = pids
        self._begun: tuple[float, dict[str, float]] | None = None

    @property
    def running(self) -> bool:
        return self._begun is not None

    def start(self) -> None:
        self._begun = (perf_counter(), self._cpu())

    def stop(self, events: int) -> Measured:
        """What was measured, ``events`` having been done since the start."""
        if self._begun is None:
            raise RuntimeError("the stopwatch was not started")
        seconds, cpu = perf_counter(), self._cpu()
        begun, cpu_begun = self._begun
        peak = max(peak_memory(pid) for pid in self._pids["own"])
        used = {role: spent - cpu_begun[role] for role, spent in cpu.items()}
        return Measured(events, seconds - begun, peak, used)

    def _cpu(self) -> dict[str, float]:
        return {role: sum(map(cpu_seconds, pids)) for role, pids in self._pids.items()}


def cpu_seconds(pid: int, *, with_ended: bool = False) -> float:
    """Processor time that a process has used, in user and kernel mode, to a hundredth.

    ``with_ended``: and that of its children that have ended.
    """
    # The name of the program, in parentheses, may hold blanks; the 12th to 15th behind it are utime, stime, and cutime
    # and cstime of the children (proc(5)).
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return sum(int(field) for field in fields[11 : 15 if with_ended else 13]) / _TICKS


def peak_memory(pid: int) -> int:
    """The most memory that a process has held, in bytes.

    Of its program alone: ru_maxrss would hold that of the process too that started it, from before the exec.
    """
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has ended")


def family(pid: int) -> tuple[int, ...]:
    """A process, its children, and theirs."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return (pid, *(one for child in children for one in family(int(child))))


def in_own_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in a fresh process, so that its memory is its own; arguments and result are pickled."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()
