"""The writer as a service: one of several processes leads, and produces on the interval."""

from __future__ import annotations

import logging
from threading import Event as Flag
from time import monotonic
from typing import Final

from state.chain import Lease
from state.errors import Fenced, StateUnreachable
from writers.files import FolderUnusable
from writers.policy import InventoryPolicy
from writers.produce import LostWrites, NoWatermark, Producer
from writers.runs import ProcessDied

log = logging.getLogger(__name__)

_SOON: Final = 2.0  # seconds until the next try after one that could not be made


class WriterService:
    """Holds the lease while it can, and lets the producer write each time the interval has passed."""

    def __init__(self, producer: Producer, lease: Lease, policy: InventoryPolicy) -> None:
        self._producer = producer
        self._lease = lease
        self._policy = policy
        self._leading = False
        self._said = ""

    def run(self, stop: Flag) -> None:
        """Produce until ``stop`` is set; then give the lease up."""
        due = monotonic()
        while not stop.is_set():
            try:
                if self._lead():
                    due = self._produce_if_due(due)
            except Fenced as error:
                self._leading = False
                self._say(str(error))
            except (LostWrites, ProcessDied) as error:
                self._say(f"{error}; trying again")
            except NoWatermark as error:
                self._say(f"{error}; waiting")
                due = monotonic() + min(_SOON, self._policy.interval)
            except StateUnreachable as error:
                self._say(f"{error}; waiting for it")
            except FolderUnusable as error:
                self._say(f"{error}; trying again")
            stop.wait(min(_SOON, self._policy.lease / 4, max(0.05, due - monotonic()) if self._leading else _SOON))
        if self._leading:
            self._lease.release()

    def _lead(self) -> bool:
        if self._leading:
            self._lease.keep()
            return True
        if not self._lease.take():
            self._say("another writer leads; waiting to take over")
            return False
        self._leading = True
        self._said = ""
        log.info("leading the writers of repository %s", self._lease.repository)
        self._producer.recover()
        return True

    def _produce_if_due(self, due: float) -> float:
        if monotonic() < due:
            return due
        begun = monotonic()
        if self._policy.write_empty or self._producer.owes_anything():
            self._producer.produce()
        self._said = ""
        return begun + self._policy.interval

    def _say(self, text: str) -> None:
        """Log a state of affairs once, not at every try."""
        if text != self._said:
            log.warning("%s", text)
            self._said = text
