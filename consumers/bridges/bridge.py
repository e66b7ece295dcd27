"""The loop that all bridges have: read on from the archive, wait while a server is away, say how far it came.

What is particular to an archive is its :class:`Feed`. Whatever fails, the feed begins again at the position that was
kept, and a position is kept only when all before it is confirmed: some events are then told twice, none is left out.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from threading import Event as Flag
from typing import Final, Protocol

from consumers.archives.archive import ArchiveBusy, ArchiveError, ArchiveRefused, odd_answers_refused
from consumers.publish import Publisher, PublishError
from state.errors import StateError

log = logging.getLogger(__name__)

_SOON: Final = 0.5  # seconds; the first wait for a server that is away, each further one twice as long
_LONGEST: Final = 30.0
_REPORT: Final = 60.0  # seconds between two lines of progress
_BEAT: Final = 5.0  # seconds of a wait between two signs of life


class Feed(Protocol):
    """What an archive tells, read piece by piece and published.

    Both methods may raise ArchiveError, PublishError and StateError; ``begin`` is then called again.
    """

    def begin(self, publisher: Publisher) -> None:
        """Start at the position that was kept. ``publisher`` takes the messages from now on."""

    def step(self) -> bool:
        """Publish what comes next, and keep the position once it is confirmed; whether there may be more at once."""


class Bridge:
    """Runs a feed. ``poll`` is how many seconds to wait when it has nothing more; ``counts`` is what the feed counts.

    ``open_publisher`` connects to the broker: a publisher that has failed is not used again. ``beat`` is told after
    each step, and every few seconds of a wait, what the bridge waits for; the empty text if it goes on.
    """

    def __init__(
        self,
        name: str,
        feed: Feed,
        open_publisher: Callable[[], Publisher],
        poll: float,
        counts: Counter[str],
        monotonic: Callable[[], float] = time.monotonic,
        beat: Callable[[str], None] = lambda waiting_for: None,
    ) -> None:
        self._name = name
        self._feed = feed
        self._open_publisher = open_publisher
        self._poll = poll
        self._counts = counts
        self._monotonic = monotonic
        self._beat = beat
        self._waiting_for = ""
        self._publisher: Publisher | None = None
        self._begun = False
        self._pause = _SOON
        self._said: type[Exception] | None = None
        self._reported_at = monotonic()
        self._reported: Counter[str] = Counter()

    def run(self, stop: Flag) -> None:
        """Read and publish until ``stop`` is set; a wait ends at once then."""
        try:
            while not stop.is_set():
                wait = self.turn()
                self._report(hurry=False)
                self._wait(wait, stop)
        finally:
            self._report(hurry=True)
            self.close()

    def _wait(self, seconds: float, stop: Flag) -> None:
        """An archive may ask for an hour, and whoever watches this wants to hear of it."""
        until = self._monotonic() + seconds
        self._beat(self._waiting_for)
        while (left := until - self._monotonic()) > 0 and not stop.wait(min(left, _BEAT)):
            self._beat(self._waiting_for)

    def turn(self) -> float:
        """One step; how many seconds to wait before the next (0: there is more at once)."""
        try:
            with odd_answers_refused():
                more = self._step()
        except (ArchiveError, PublishError, StateError) as error:
            return self._failed(error)
        if self._said is not None:
            log.info("%s: goes on", self._name)
        self._said = None
        self._waiting_for = ""
        self._pause = _SOON
        return 0.0 if more else self._poll

    def _step(self) -> bool:
        if self._publisher is None:
            self._publisher = self._open_publisher()
        if not self._begun:
            self._feed.begin(self._publisher)
            self._begun = True
        return self._feed.step()

    def progress(self) -> dict[str, int]:
        """What was counted since the start."""
        return dict(self._counts)

    def close(self) -> None:
        """Close the connection to the broker; what is not confirmed is told again next time."""
        publisher, self._publisher = self._publisher, None
        self._begun = False
        if publisher is not None:
            publisher.close()

    def _failed(self, error: Exception) -> float:
        if self._said is not type(error):
            level = logging.ERROR if isinstance(error, ArchiveRefused) else logging.WARNING
            log.log(level, "%s: waits and tries again: %s", self._name, error)
            self._said = type(error)
        self._begun = False
        if isinstance(error, PublishError):
            self._waiting_for = "kafka"
            self.close()
        elif isinstance(error, StateError):
            self._waiting_for = "redis"
        else:
            self._waiting_for = "the archive"
        pause = self._pause
        self._pause = min(2 * pause, _LONGEST)
        if isinstance(error, ArchiveBusy) and error.retry_after is not None:
            return max(pause, error.retry_after)
        return pause

    def _report(self, *, hurry: bool) -> None:
        now = self._monotonic()
        if not hurry and now - self._reported_at < _REPORT:
            return
        self._reported_at = now
        if self._counts != self._reported:
            self._reported = Counter(self._counts)
            log.info("%s: %s", self._name, ", ".join(f"{name} {count}" for name, count in sorted(self._counts.items())))
