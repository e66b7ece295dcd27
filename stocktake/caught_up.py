"""The end of `consume --until-caught-up`: what the topics held is applied, whichever process of the group did it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from threading import Event as Flag
from typing import Final

from consumers.topics import last_offsets
from state.errors import StateUnreachable
from stocktake.settings import Settings
from stocktake.wiring import OpenRepository, open_repository, system_clock

_LOOK: Final = 0.25  # seconds between two looks


def stop_when_caught_up(settings: Settings, repositories: Sequence[str], stop: Flag) -> None:
    """Set ``stop`` once all that the topics hold now is applied; returns when it is set.

    Raises:
        TopicUnusable, BrokerUnreachable, StateUnreachable: a server does not tell.
    """
    with closing(CaughtUp(settings, repositories)) as caught_up:
        while not stop.wait(_LOOK):
            if caught_up():
                stop.set()


class CaughtUp:
    """True once every shard has applied what the topics held when this was made, and each partition says so.

    Raises:
        TopicUnusable, BrokerUnreachable, StateUnreachable: a server does not tell at the start.
    """

    def __init__(self, settings: Settings, repositories: Sequence[str]) -> None:
        self._begun = system_clock().now()
        self._opened: list[OpenRepository] = []
        self._ends: list[dict[str, int]] = []
        try:
            for name in repositories:
                opened = open_repository(settings, name)
                self._opened.append(opened)
                self._ends.append(last_offsets(settings.kafka, opened.policy.topics))
        except BaseException:
            self.close()
            raise

    def __call__(self) -> bool:
        try:
            return all(self._applied(*one) for one in zip(self._opened, self._ends, strict=True))
        except StateUnreachable:
            return False  # the consumers wait for it too

    def _applied(self, opened: OpenRepository, ends: dict[str, int]) -> bool:
        progress = opened.repository.progress()
        for field, last in ends.items():
            found = progress.get(field)
            # An empty partition has nothing to apply, but without word of it there is no watermark.
            if found is None or found.asked < self._begun or found.offset < last:
                return False
        # After a reset the shards are behind what was published.
        return all(min(opened.studies.offsets(field)) >= last for field, last in ends.items())

    def close(self) -> None:
        for opened in self._opened:
            opened.close()
