"""Verifications on request: one at a time in the background, since a chain can be gigabytes; the last ones are kept."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from threading import Event as Flag
from threading import Lock, Thread
from typing import Final, Literal, TypeAlias
from uuid import uuid4

from stocktake.logs import told_of
from writers.checks.finding import Finding, Severity

log = logging.getLogger(__name__)

KEPT: Final = 20  # verifications, the one that runs included
MOST_FINDINGS: Final = 10_000  # of one; a fault of a writer is in every record
_STEP: Final = 100  # records between two looks

State: TypeAlias = Literal["running", "done", "failed"]
Check: TypeAlias = Callable[[Callable[[], None]], Iterator[Finding]]  # takes what is called for each record


class Busy(Exception):
    """Another verification runs in this process."""


class _Stopping(Exception):
    """The process ends."""


@dataclass(frozen=True, slots=True)
class Verification:
    """How far one is. ``records`` were checked; ``errors`` and ``warnings`` count all findings, kept or not."""

    id: str
    repository: str
    sop_instance_uid: str
    state: State = "running"
    records: int = 0
    errors: int = 0
    warnings: int = 0


@dataclass(slots=True)
class _Job:
    verification: Verification
    findings: list[Finding] = field(default_factory=list)


class Verifications:
    """Runs them; ``stop`` ends the one that runs. What they found is in this process alone, and ends with it."""

    def __init__(self, stop: Flag) -> None:
        self._stop = stop
        self._lock = Lock()
        self._jobs: OrderedDict[str, _Job] = OrderedDict()

    def start(self, repository: str, sop_instance_uid: str, check: Check) -> Verification:
        """Begin one; if the same is running already, that one.

        Raises:
            Busy: another one is running.
        """
        with self._lock:
            for job in self._jobs.values():
                found = job.verification
                if found.state == "running":
                    if (found.repository, found.sop_instance_uid) == (repository, sop_instance_uid):
                        return found
                    raise Busy
            job = _Job(Verification(uuid4().hex, repository, sop_instance_uid))
            self._jobs[job.verification.id] = job
            while len(self._jobs) > KEPT:
                self._jobs.popitem(last=False)
        # A daemon: it only reads, and the end of the process must not wait for a slow disk.
        # In a copy of this context, so that what it logs has the request that began it.
        Thread(target=copy_context().run, args=(self._run, job, check), name="verify", daemon=True).start()
        return job.verification

    def find(self, repository: str, number: str) -> Verification | None:
        """One that was started here and is kept still."""
        with self._lock:
            job = self._jobs.get(number)
        return job.verification if job is not None and job.verification.repository == repository else None

    def findings(self, number: str, begin: int, limit: int) -> tuple[list[Finding], int]:
        """Some of the findings of one that is kept, and how many there are; both may grow while it runs."""
        with self._lock:
            job = self._jobs.get(number)
            return ([], 0) if job is None else (job.findings[begin : begin + limit], len(job.findings))

    def _run(self, job: _Job, check: Check) -> None:
        records = 0

        def step() -> None:
            nonlocal records
            records += 1
            if records % _STEP == 0:
                self._note(job, records=records)
                if self._stop.is_set():
                    raise _Stopping

        try:
            for finding in check(step):
                self._add(job, finding)
        except _Stopping:
            self._note(job, state="failed", records=records)
        except Exception as error:  # whatever it is, it must not stay "running"; its text may hold values
            text = "a verification failed: %s"
            log.error(text, type(error).__name__, extra={"exception": told_of(error)})  # noqa: TRY400
            self._note(job, state="failed", records=records)
        else:
            self._note(job, state="done", records=records)

    def _add(self, job: _Job, finding: Finding) -> None:
        with self._lock:
            if len(job.findings) < MOST_FINDINGS:
                job.findings.append(finding)
            found = job.verification
            if finding.severity is Severity.ERROR:
                job.verification = replace(found, errors=found.errors + 1)
            else:
                job.verification = replace(found, warnings=found.warnings + 1)

    def _note(self, job: _Job, *, records: int, state: State = "running") -> None:
        with self._lock:
            job.verification = replace(job.verification, records=records, state=state)
