"""Several worker processes that share the partitions of the topics: started, watched, started again, ended.

A worker is a new interpreter (``spawn``) that follows all repositories, so each is one more member of every group. It
ends when it is told to, when its parent is gone, or with an error. An error that the program foresees ends all workers
with that error; a worker that dies otherwise is started again, unless workers die too often. One that was started again
waits for servers that are away as the others do: its end for that reason is no end of all.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from threading import Event as Flag
from threading import Thread
from typing import Final

from consumers.clock import StopFlag
from stocktake.exits import CommandError, Exit, exit_of
from stocktake.logs import log_to_stderr, log_unforeseen
from stocktake.roles import Roles, start_consumers
from stocktake.settings import Settings

log = logging.getLogger(__name__)

_LOOK: Final = 0.2  # seconds between two looks at whether to end
_SERVER_AWAY: Final = 2.0  # seconds from such an end to the next start
_ENDING: Final = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Task:
    """What one worker does."""

    settings: Settings
    repositories: tuple[str, ...]
    number: int


class Deaths:
    """The latest deaths of workers: each makes the wait before the next start longer, and too many are the end."""

    MOST: Final = 5
    WITHIN: Final = 60.0  # seconds
    _FIRST_WAIT: Final = 0.5  # seconds; doubled with each death

    def __init__(self) -> None:
        self._times: list[float] = []

    def wait_after(self, now: float) -> float | None:
        """Take note of a death; how many seconds to wait before the next start, or None: there were too many.

        ``now`` is in seconds that only ever rise.
        """
        self._times = [time for time in self._times if now - time < self.WITHIN] + [now]
        if len(self._times) >= self.MOST:
            return None
        return float(self._FIRST_WAIT * 2 ** (len(self._times) - 1))


class Worker:
    """One worker's process, from its start on."""

    def __init__(self, task: Task, *, again: bool) -> None:
        """Start it, or start it ``again``. Call this in the main thread."""
        self.again = again
        context = multiprocessing.get_context("spawn")
        self._report, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=work, args=(task, theirs), name=f"worker {task.number}", daemon=True)
        # A signal that comes before the worker can handle it waits until it can. The tracker's start unblocks signals.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        theirs.close()
        log.info("%s is process %s", self.process.name, self.process.pid)

    def error(self) -> CommandError | None:
        """The foreseen error that the process, which has ended, ended with; None if it just died."""
        try:
            if self._report.poll():
                code, message = self._report.recv()
                return CommandError(Exit(code), message)
        except EOFError:
            pass  # it left no word
        return None

    def how(self) -> str:
        """How the process ended, in words."""
        code = self.process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"{self.process.name} (process {self.process.pid}) {how}"

    def close(self) -> None:
        """Free what belongs to the process, which has ended."""
        self._report.close()
        self.process.close()


def run_workers(settings: Settings, repositories: Sequence[str], count: int, stop: Flag) -> None:
    """Run ``count`` workers until ``stop`` is set. Call it in the main thread.

    Raises:
        CommandError: a worker's own error, or the end of too many deaths.
    """
    due = dict.fromkeys(range(1, count + 1), time.monotonic())  # when to start a worker, by its number
    started: set[int] = set()
    running: dict[int, Worker] = {}
    deaths = Deaths()
    try:
        while not stop.is_set():
            for number in [number for number, moment in due.items() if moment <= time.monotonic()]:
                del due[number]
                running[number] = Worker(Task(settings, tuple(repositories), number), again=number in started)
                started.add(number)
            wait([worker.process.sentinel for worker in running.values()], _LOOK)
            for number in [number for number, worker in running.items() if not worker.process.is_alive()]:
                due[number] = time.monotonic() + _bury(running.pop(number), deaths)
    finally:
        _end(list(running.values()), settings.consumer.shutdown_timeout)


def _bury(worker: Worker, deaths: Deaths) -> float:
    """Decide what follows from a worker's end: how many seconds later it is started again.

    Raises:
        CommandError: all have to end.
    """
    how, error = worker.how(), worker.error()
    worker.close()
    if error is not None and worker.again and error.code == Exit.UNREACHABLE:
        log.warning("%s; it is started again in %g s: %s", how, _SERVER_AWAY, error)
        return _SERVER_AWAY
    if error is not None:
        raise error
    seconds = deaths.wait_after(time.monotonic())
    if seconds is None:
        raise CommandError(
            Exit.FAULTS,
            f"{how}; it was the {deaths.MOST}th death of a worker within {deaths.WITHIN:g} seconds, so all end. "
            "The log may tell why; is there enough memory?",
        )
    log.error("%s; it is started again in %g s", how, seconds)
    return seconds


def _end(workers: Sequence[Worker], patience: float) -> None:
    """Ask all workers to end; those that have not after ``patience`` seconds are killed, which loses nothing."""
    for worker in workers:
        worker.process.terminate()
    deadline = time.monotonic() + patience
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            log.warning("%s has not ended within %g seconds and is killed", worker.process.name, patience)
            worker.process.kill()
            worker.process.join()
        worker.close()


# --- in the worker's process ---------------------------------------------------------------------------------------


def work(task: Task, report: Connection) -> None:
    """Follow the repositories until told to end, or until the parent is gone. A foreseen error goes to ``report``."""
    stop = StopFlag()
    for number in _ENDING:
        # As often as it comes: a terminal or a service manager may tell both the parent and the workers.
        signal.signal(number, lambda *_: stop.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    log_to_stderr(task.settings.log, "consumer", task.number, task.repositories)
    log_unforeseen()
    Thread(target=_end_with_parent, args=(stop,), name="parent", daemon=True).start()
    try:
        roles = Roles(stop)
        start_consumers(roles, task.settings, task.repositories, stop, worker=task.number)
        roles.join(task.settings.consumer.shutdown_timeout)
    except Exception as error:
        code = exit_of(error)
        if code is None:
            # Not left to multiprocessing, which would write a traceback with the error's text to stderr.
            log.critical("ended by an error that was not foreseen", exc_info=error)
            sys.exit(1)
        report.send((int(code), str(error)))
        sys.exit(code)


def _end_with_parent(stop: Flag) -> None:
    """End in order when the parent is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        if not stop.is_set():
            log.warning("the program that started this worker is gone; ending")
        stop.set()
