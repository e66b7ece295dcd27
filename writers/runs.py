"""A slice encoded in runs of studies: one after another if there are few, side by side in processes if there are many.

This process is one of them.

A run's files are its own, so that runs need nothing of each other; what they come to is put in order again.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing import connection as pipes
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Final

from state.attributes import Level
from state.connection import Connection
from state.policy import RedisPolicy
from state.studies import Studies, batches
from writers.policy import InventoryPolicy
from writers.records import Limits, Records, RunFiles, page_of, write_records

# Studies of one run: a fraction of a second of work, or some seconds if they are large.
RUNS: Final = {Level.STUDY: 5_000, Level.SERIES: 2_000, Level.INSTANCE: 500}
FEW: Final = 4  # runs; with fewer, processes would have started when all is done

_LOOK: Final = 1.0  # seconds between two reports while a run is waited for


class ProcessDied(Exception):
    """A process that encodes has ended without a word; the text says what to do. The next try begins anew."""


@dataclass(frozen=True, slots=True)
class _Run:
    """What a process needs to know to write one run."""

    redis: RedisPolicy
    repository: str
    shards: int
    study_instance_uids: list[str]
    level: Level
    earliest: int
    files: RunFiles
    limits: Limits


@dataclass(frozen=True, slots=True)
class Slices:
    """Writes slices of one repository.

    ``redis`` is how processes reach the state; ``prepare``, which can be pickled, is called first in each of them.
    """

    studies: Studies
    redis: RedisPolicy
    policy: InventoryPolicy
    prepare: Callable[[], None]

    def write(
        self,
        study_instance_uids: Iterable[str],
        earliest: int,
        folder: Path,
        stem: str,
        progress: Callable[[int], None],
    ) -> Records:
        """Encode these studies in their order, each not before ``earliest``, into files that begin with ``stem``.

        ``progress`` is told how many are written, every second or more often; what it raises ends the work.

        Raises:
            ProcessDied: a process was killed.
            StateUnreachable: as for reading studies.
        """
        runs = batches(study_instance_uids, RUNS[self.policy.level])
        first = list(islice(runs, FEW))
        if len(first) < FEW or self.policy.processes == 1:
            uids = chain.from_iterable(chain(first, runs))
            return self._write_here(uids, earliest, RunFiles(folder, f"{stem}.{0:06}"), progress)
        found = Records()
        pending: deque[Future[Records]] = deque()
        others = self.policy.processes - 1
        with ProcessPoolExecutor(others, get_context("spawn"), _begin, (self.prepare,)) as pool:
            try:
                for number, some in enumerate(chain(first, runs)):
                    files = RunFiles(folder, f"{stem}.{number:06}")
                    if sum(not one.done() for one in pending) <= others:
                        pending.append(pool.submit(_write, self._run(some, earliest, files)))
                    else:  # the others have enough to do
                        here: Future[Records] = Future()
                        done = found.own
                        here.set_result(self._write_here(some, earliest, files, lambda _: progress(done)))  # noqa: B023
                        pending.append(here)
                    while pending and pending[0].done():
                        _collect(pending.popleft(), found, progress)
                while pending:
                    _collect(pending.popleft(), found, progress)
            except BrokenProcessPool as error:
                raise ProcessDied(
                    "a process that encodes studies was killed, perhaps for want of memory; give the writer more, or "
                    "set inventory.processes to 1"
                ) from error
            except BaseException:
                pool.shutdown(cancel_futures=True)  # and wait: nobody writes any more
                raise
        return found

    def _write_here(
        self, uids: Iterable[str], earliest: int, files: RunFiles, progress: Callable[[int], None]
    ) -> Records:
        reads = self.studies.read(uids, page_of(self.policy.level))
        return write_records(reads, self.policy.level, earliest, files, Limits.of(self.policy), progress=progress)

    def _run(self, uids: list[str], earliest: int, files: RunFiles) -> _Run:
        studies, level, most = self.studies, self.policy.level, Limits.of(self.policy)
        return _Run(self.redis, studies.repository, studies.shards, uids, level, earliest, files, most)


def _collect(run: Future[Records], found: Records, progress: Callable[[int], None]) -> None:
    """Wait for a run and append what it came to."""
    while not wait([run], _LOOK).done:
        progress(found.own)
    found.add(run.result())
    progress(found.own)


def _write(run: _Run) -> Records:
    """Write one run, in a process of its own."""
    connection = Connection(run.redis)
    try:
        reads = Studies(connection, run.repository, run.shards).read(run.study_instance_uids, page_of(run.level))
        return write_records(reads, run.level, run.earliest, run.files, run.limits)
    finally:
        connection.close()


def _begin(prepare: Callable[[], None]) -> None:
    """Leave Ctrl-C to the program, and end with it: one that was killed can tell nobody to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare()
    Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        pipes.wait([parent.sentinel])
        os._exit(1)
