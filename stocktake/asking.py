"""`--ask` of the commands that produce one inventory: the writer that leads produces it, and they wait for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from state.chain import Chain
from state.errors import StateUnreachable
from state.repository import Repository
from state.requests import Answer, InventoryRequests, Kind
from stocktake.exits import CommandError, Exit
from stocktake.settings import Settings
from stocktake.wiring import open_repository

log = logging.getLogger(__name__)

_LOOK: Final = 0.5  # seconds between two looks at what became of the request
_HANDOVER: Final = 5.0  # seconds after the lease's end in which the next writer takes over
_NAMES: Final[dict[Kind, str]] = {"next": "the next inventory", "baseline": "a baseline", "rollup": "a rollup"}


def ask_for(settings: Settings, repository: str | None, kind: Kind, timeout: float | None) -> dict[str, Any]:
    """Have the writer that leads produce an inventory of this kind; its manifest as JSON.

    A state that goes away is waited for; a writer that dies or hands over leaves the request to the next one.

    Raises:
        CommandError: nobody leads, or the inventory was not produced within ``timeout`` seconds (None: any time).
        StateUnreachable, StateMismatch: see :func:`stocktake.wiring.open_repository`.
    """
    opened = open_repository(settings, repository)
    try:
        chain = Chain(opened.connection, opened.policy.name)
        asking = Asking(
            InventoryRequests(opened.connection, opened.policy.name),
            chain,
            opened.repository,
            settings.inventory.lease + _HANDOVER,
            timeout,
        )
        answer = asking.wait_for(kind)
        # One that asks for no kinds may have answered: its inventory is the head, or a newer one is.
        return answer.manifest or chain.head() or {}
    finally:
        opened.close()


class Asking:
    """One request and the wait for its answer. ``alone``: seconds without a writer that leads after which it ends."""

    def __init__(
        self,
        requests: InventoryRequests,
        chain: Chain,
        repository: Repository,
        alone: float,
        timeout: float | None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._requests = requests
        self._chain = chain
        self._repository = repository
        self._alone = alone
        self._timeout = timeout
        self._monotonic = monotonic
        self._sleep = sleep
        self._said = ""

    def wait_for(self, kind: Kind) -> Answer:
        """Ask once somebody leads, and wait for the answer.

        Raises:
            CommandError: see :func:`ask_for`; what was asked for stays asked for, and the next writer produces it.
        """
        begun = led = self._monotonic()
        number = 0
        while True:
            try:
                leads = self._chain.is_led()
                if leads:
                    led = self._monotonic()
                    number = number or self._ask(kind)
                if number:
                    latest, answer = self._requests.look(kind)
                    if answer is not None and answer.number >= number:
                        return answer
                    if latest < number:
                        number = 0  # the server has lost its latest writes, and the request with them
                self._say(self._state(leads=leads, asked=number > 0))
            except StateUnreachable as error:
                led = self._monotonic()  # nobody can tell
                self._say(f"{error}; waiting for it")
            now = self._monotonic()
            if now - led >= self._alone:
                raise CommandError(Exit.FAULTS, self._nobody(asked=number > 0))
            if self._timeout is not None and now - begun >= self._timeout:
                raise CommandError(Exit.FAULTS, self._too_late(kind, asked=number > 0))
            self._sleep(_LOOK)

    def _ask(self, kind: Kind) -> int:
        number = self._requests.ask(kind)
        log.info("asked the writer of repository %s for %s: request %d", self._repository.name, _NAMES[kind], number)
        return number

    def _state(self, *, leads: bool, asked: bool) -> str:
        """What is being waited for."""
        if not leads:
            return f"no writer of repository {self._repository.name} leads now; waiting for the next one"
        watermark = self._repository.watermark()
        if asked and watermark.time is None:
            return f"there is no watermark yet: {', '.join(watermark.missing)}; the writer waits for it"
        return "the writer is at work"

    def _nobody(self, *, asked: bool) -> str:
        stays = "; the request stays, and the next writer produces it" if asked else ""
        return (
            f"no writer of repository {self._repository.name} leads{stays}: start `stocktake write`, or produce it "
            "here, without --ask"
        )

    def _too_late(self, kind: Kind, *, asked: bool) -> str:
        if not asked:
            return self._nobody(asked=False)
        return (
            f"{_NAMES[kind]} was not produced within {self._timeout:g} seconds; the request stays, and the writer "
            "produces it when it can: its log and `stocktake status` say what it waits for"
        )

    def _say(self, text: str) -> None:
        """Log a state of affairs once, not at every look."""
        if text != self._said:
            log.info("%s", text)
            self._said = text
