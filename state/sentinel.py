"""Which server is the master, as Redis Sentinel has it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from redis.exceptions import AuthenticationError, ConnectionError, RedisError

from state.address import Address
from state.dialer import Dialer

log = logging.getLogger(__name__)


class MasterFinder:
    """Asks the sentinels in turn, first the one that answered last. Not for several threads at once.

    A master that is replaced while it lives goes on taking writes for up to ten seconds, which are lost: sentinels
    tell it late. So they are asked now and then, not only when it is gone.
    """

    recheck = 1.0

    def __init__(self, name: str, sentinels: Sequence[Address], to_sentinels: Dialer, to_servers: Dialer) -> None:
        self._name = name
        self._sentinels = list(sentinels)
        self._to_sentinels = to_sentinels
        self._to_servers = to_servers

    def find(self) -> Address:
        """The master's address, once it says itself that it is one.

        Raises:
            redis.RedisError: no sentinel knows one that does; a sentinel or the server refuses the user.
        """
        failures: dict[str, None] = {}  # in order, each once
        for sentinel in list(self._sentinels):
            try:
                found = self._named_by(sentinel)
                self._require_master(found)
            except AuthenticationError:
                raise
            except RedisError as error:
                failures[str(error)] = None
                continue
            self._prefer(sentinel)
            return found
        raise ConnectionError("; ".join(failures))

    def replaced(self, address: Address) -> bool:
        """Whether the first sentinel that answers names another master."""
        for sentinel in list(self._sentinels):
            try:
                found = self._named_by(sentinel)
            except RedisError:
                continue
            self._prefer(sentinel)
            if found != address:
                log.warning("%s is no longer the master of %s; it is %s", address, self._name, found)
            return found != address
        return False

    def _named_by(self, sentinel: Address) -> Address:
        share = self._to_sentinels.timeout / len(self._sentinels)
        try:
            [found] = self._to_sentinels.ask(sentinel, [("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)], share)
        except AuthenticationError as error:
            raise AuthenticationError(f"the sentinel {sentinel}: {error}") from error
        if found is None:
            raise ConnectionError(f"the sentinels know no master called {self._name}; see redis.sentinel_master")
        host, port = found
        return Address(host.decode(), int(port))

    def _require_master(self, address: Address) -> None:
        """A sentinel may be behind, and a server that was told to follow another answers reads all the same."""
        [replication] = self._to_servers.ask(address, [("INFO", "replication")], self._to_servers.timeout)
        if b"role:master" not in bytes(replication).splitlines():
            raise ConnectionError(f"{address} is no master yet")

    def _prefer(self, sentinel: Address) -> None:
        self._sentinels.remove(sentinel)
        self._sentinels.insert(0, sentinel)
