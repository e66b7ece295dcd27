"""The cutover of the settings, opened: both sides, the pair, its history; looked at once or watched."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event as Flag
from typing import Any, Final, TypeAlias

from monitor.cutover import Cutover, OpenSide, keep, look
from monitor.partitions import BrokerPartitions
from monitor.policy import CutoverPolicy
from state.chain import Chain
from state.errors import StateUnreachable
from state.history import History
from state.pair import Pair
from stocktake.settings import Settings, SettingsError
from stocktake.standing import standing
from stocktake.wiring import OpenRepository, open_repository

log = logging.getLogger(__name__)

INTERVAL: Final = 2.0  # seconds between two looks
MAX_AGE: Final = 30.0  # seconds after which a look tells nothing of now

Ends: TypeAlias = "Callable[[str], BrokerPartitions | None]"
Heads: TypeAlias = "tuple[dict[str, Any] | None, dict[str, Any] | None]"  # manifests, the source's and the target's


@dataclass(frozen=True, slots=True)
class OpenCutover:
    """Both repositories of a cutover and what is kept of the pair."""

    policy: CutoverPolicy
    pair: Pair
    history: History
    sides: tuple[OpenRepository, OpenRepository]

    def close(self) -> None:
        for side in self.sides:
            side.close()


def open_cutover(settings: Settings) -> OpenCutover:
    """Connect to the state of both sides.

    Raises:
        SettingsError: no cutover is configured.
        StateUnreachable, StateMismatch: see :func:`stocktake.wiring.open_repository`.
    """
    policy = settings.cutover
    if policy is None:
        raise SettingsError("no cutover is configured; set cutover.source and cutover.target")
    source = open_repository(settings, policy.rules.source)
    try:
        target = open_repository(settings, policy.rules.target)
    except BaseException:
        source.close()
        raise
    pair = Pair(source.connection, policy.rules, settings.state.shards)
    return OpenCutover(policy, pair, History(source.connection, policy.rules), (source, target))


def look_at(settings: Settings, opened: OpenCutover, ends: Ends = lambda repository: None) -> Cutover:
    """Figures and gate now; ``ends`` tells what the broker said last of a repository's topics.

    Raises:
        StateUnreachable: the state does not answer.
    """
    source, target = (_side(settings, side, ends) for side in opened.sides)
    now = opened.sides[0].connection.now()
    return look(opened.pair, opened.history, opened.policy, source, target, now)


def look_with_heads(settings: Settings, opened: OpenCutover) -> tuple[Cutover, Heads]:
    """The same with the head inventories that the gate looked at.

    Raises:
        StateUnreachable: the state does not answer.
    """
    chains = [Chain(side.connection, side.policy.name) for side in opened.sides]
    before = (chains[0].head(), chains[1].head())
    # A writer that moves a head in between is done with that for minutes.
    while True:
        found = look_at(settings, opened)
        after = (chains[0].head(), chains[1].head())
        if before == after:
            return found, after
        before = after


def _side(settings: Settings, side: OpenRepository, ends: Ends) -> OpenSide:
    status = standing(settings, side, ends(side.policy.name))
    return OpenSide(side.repository, side.studies, Chain(side.connection, side.policy.name), status)


class Watch:
    """Looks again and again, and keeps a row of history each minute. One thread runs it, any may read."""

    def __init__(
        self,
        settings: Settings,
        opened: OpenCutover,
        ends: Ends = lambda repository: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._opened = opened
        self._ends = ends
        self._monotonic = monotonic
        self._latest: tuple[float, Cutover] | None = None
        self._said = ""

    def run(self, stop: Flag) -> None:
        """Look until ``stop`` is set. A state that does not answer is logged once."""
        while not stop.is_set():
            self.look()
            stop.wait(INTERVAL)

    def look(self) -> None:
        """Look once, and keep the row of the minute if nobody has yet."""
        try:
            found = look_at(self._settings, self._opened, self._ends)
            keep(self._opened.pair, self._opened.history, found)
        except StateUnreachable as error:
            if self._said != str(error):
                log.warning("cutover: %s", error)
            self._said = str(error)
        else:
            self._latest = (self._monotonic(), found)
            self._said = ""

    def latest(self) -> Cutover | None:
        """What was seen last; None if that is too long ago to tell of now."""
        if self._latest is None or self._monotonic() - self._latest[0] > MAX_AGE:
            return None
        return self._latest[1]
