"""Finds out where the slots of a cluster are, and again when that has shown to be out of date."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from redis.exceptions import AuthenticationError, ConnectionError, TimeoutError

from state.address import Address
from state.dialer import Dialer
from state.slot_map import QUESTION, SlotMap


class Topology:
    """What is known of a cluster. ``seeds`` are the nodes to ask before any other is known. For several threads."""

    def __init__(self, dialer: Dialer, seeds: Sequence[Address]) -> None:
        self._dialer = dialer
        self._seeds = tuple(seeds)
        self._lock = threading.Lock()
        self._map: SlotMap | None = None
        self._outdated = True
        self._moved_to: Address | None = None

    def current(self) -> SlotMap:
        """Where the slots are.

        Raises:
            redis.RedisError: no node tells.
        """
        found = self._map
        if found is not None and not self._outdated:
            return found
        with self._lock:
            if self._map is None or self._outdated:
                self._map = self._ask(self._map)
                self._outdated, self._moved_to = False, None
            return self._map

    def outdated(self, moved_to: Address | None = None) -> None:
        """Ask again before it is used; ``moved_to`` is a node that got slots, which is asked first."""
        self._moved_to = moved_to or self._moved_to
        self._outdated = True

    def _ask(self, known: SlotMap | None) -> SlotMap:
        """The map of the first node for which the cluster works, else of the one that has seen most changes."""
        told = [self._moved_to] if self._moved_to is not None else []
        if known is not None:
            told += [*known.primaries.values(), *known.replicas]
        addresses = dict.fromkeys([*told, *self._seeds])
        share = self._dialer.timeout / len(addresses)
        best: SlotMap | None = None
        failures = []
        for address in addresses:
            try:
                found = SlotMap.read(address, *self._dialer.ask(address, QUESTION, share))
            except AuthenticationError:
                raise
            except (ConnectionError, TimeoutError) as error:
                failures.append(str(error))
                continue
            if not found.primaries:
                failures.append(f"{address} knows of no slots")
                continue
            if known is not None and not found.supersedes(known):
                failures.append(f"{address} has missed a change of the cluster")
                continue
            if found.whole:
                return found
            if best is None or found.epoch > best.epoch:
                best = found
        if best is None:
            raise ConnectionError(f"no node of the cluster tells where the slots are: {'; '.join(failures)}")
        return best
