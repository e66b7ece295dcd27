"""The writer as a service: one of several processes leads, and produces on the interval."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from threading import Event as Flag
from threading import Thread
from time import monotonic
from typing import Final

from state.chain import Lease
from state.errors import Fenced, StateForgotten, StateUnreachable
from state.requests import Asked, InventoryRequests
from writers.files import FolderUnusable
from writers.manifest import Manifest
from writers.moment import NoWatermark
from writers.policy import InventoryPolicy
from writers.produce import LostWrites, Producer
from writers.runs import ProcessDied

log = logging.getLogger(__name__)

_SOON: Final = 2.0  # seconds until the next try after one that could not be made
_REFUSED: Final = 3  # tries with a folder that cannot be used, before another writer may try with its own
_STANDS_BACK: Final = 15.0  # seconds that it has for that


class WriterService:
    """Holds the lease while it can, and lets the producer write each time the interval has passed.

    It also does as soon as one is asked for in ``requests``, which are looked at at least every two seconds.
    ``deliveries`` need the lease too; when it ends, they have ``patience`` seconds for the files they have in hand.
    ``beat`` is told after each turn what the writer waits for; the empty text if it leads, or stands by.
    """

    def __init__(
        self,
        producer: Producer,
        lease: Lease,
        policy: InventoryPolicy,
        requests: InventoryRequests,
        deliveries: Sequence[Thread] = (),
        patience: float = 0,
        beat: Callable[[str], None] = lambda waiting_for: None,
    ) -> None:
        self._producer = producer
        self._lease = lease
        self._policy = policy
        self._requests = requests
        self._deliveries = deliveries
        self._patience = patience
        self._beat = beat
        self._leading = False
        self._said = ""
        self._trouble = ""
        self._refused = 0
        self._stands_back = 0.0

    def run(self, stop: Flag) -> None:
        """Produce until ``stop`` is set; then give the lease up."""
        due = monotonic()
        while not stop.is_set():
            away = ""
            try:
                leads = self._lead()
                self._beat(self._trouble)  # also before a production, which may take long
                if leads:
                    due = self._produce_if_due(due)
                elif monotonic() >= self._stands_back:
                    self._trouble = ""
            except Fenced as error:
                self._leading = False
                self._put_off(f"{error}")
            except (LostWrites, ProcessDied) as error:
                self._put_off(f"{error}; trying again")
            except NoWatermark as error:
                self._put_off(f"{error}; waiting")
                due = monotonic() + min(_SOON, self._policy.interval)
            except StateUnreachable as error:
                self._say(f"{error}; waiting for it")
                away = "redis"
            except StateForgotten as error:
                self._put_off(f"{error}; waiting for that", "the import of its state")
                due = monotonic() + min(_SOON, self._policy.interval)
            except FolderUnusable as error:
                self._put_off(f"{error}; trying again", "the folder of inventories")
                due = monotonic() + min(_SOON, self._policy.interval)
                self._let_another_try()
            self._beat(away or self._trouble)
            stop.wait(min(_SOON, self._policy.lease / 4, max(0.05, due - monotonic()) if self._leading else _SOON))
        self._wait_for_deliveries()
        if self._leading:
            self._lease.release()

    def _wait_for_deliveries(self) -> None:
        """A file that was sent is only known to be so once that is written down, which takes the lease."""
        deadline = monotonic() + self._patience
        try:
            while self._leading and monotonic() < deadline:
                if not (alive := [one for one in self._deliveries if one.is_alive()]):
                    return
                self._lease.keep()
                self._beat("")
                alive[0].join(min(_SOON, self._policy.lease / 4))
        except (Fenced, StateUnreachable) as error:
            self._leading = False
            self._say(str(error))

    def _put_off(self, text: str, trouble: str = "") -> None:
        """Say why there is no inventory now, and what has to be mended before there can be one."""
        self._say(text)
        self._trouble = trouble

    def _let_another_try(self) -> None:
        """What cannot be written here may be well where another writer stands by."""
        self._refused += 1
        if self._leading and self._refused >= _REFUSED:
            self._refused = 0
            self._leading = False
            self._stands_back = monotonic() + _STANDS_BACK
            with suppress(StateUnreachable):  # then it expires
                self._lease.release()

    def _lead(self) -> bool:
        if self._leading:
            self._lease.keep()
            return True
        if monotonic() < self._stands_back:
            return False
        if not self._lease.take():
            self._say("another writer leads; waiting to take over")
            return False
        self._leading = True
        self._said = ""
        log.info("leading the writers of repository %s", self._lease.repository)
        self._producer.recover()
        return True

    def _produce_if_due(self, due: float) -> float:
        # Before the cut: what is asked for from now on wants one that is taken later.
        asked = self._requests.waiting()
        if asked is None and monotonic() < due:
            return due
        begun = monotonic()
        if asked is not None or self._policy.write_empty or self._producer.owes_anything():
            if asked is None:
                self._producer.produce()
            else:
                self._producer.produce(asked.kind, published=partial(self._answer, asked))
        self._said = ""
        self._trouble = ""
        self._refused = 0
        return begun + self._policy.interval

    def _answer(self, asked: Asked, manifest: Manifest) -> None:
        self._requests.answer(asked, manifest.to_json())

    def _say(self, text: str) -> None:
        """Log a state of affairs once, not at every try."""
        if text != self._said:
            log.warning("%s", text)
            self._said = text
