"""One server that all commands go to: the only one there is, or the master that sentinels name."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

import redis
from redis.exceptions import AuthenticationError, ConnectionError, MasterDownError, ReadOnlyError, TimeoutError

from state.address import Address
from state.dialer import Answers, Command, Dialer, begin_over, exchange_over
from state.patience import Patience, Waiting

_DEMOTED: Final = (ReadOnlyError, MasterDownError)


class Finder(Protocol):
    """Knows which server it is. ``recheck`` is after how many seconds another one may have taken its place unseen."""

    recheck: float

    def find(self) -> Address:
        """The server.

        Raises:
            redis.RedisError: none is known now.
        """

    def replaced(self, address: Address) -> bool:
        """Whether another server has taken this one's place, as far as that can be told now."""


class Fixed:
    """The one address there is."""

    recheck = math.inf

    def __init__(self, address: Address) -> None:
        self._address = address

    def find(self) -> Address:
        return self._address

    def replaced(self, address: Address) -> bool:
        return False


class OneServer:
    """Sends to the server that ``finder`` names, which is asked again when that is gone or has become a replica.

    For several threads.
    """

    def __init__(self, dialer: Dialer, finder: Finder, waiting: Waiting) -> None:
        self._dialer = dialer
        self._finder = finder
        self._waiting = waiting
        self._lock = threading.Lock()
        self._pool: redis.ConnectionPool | None = None
        self._address: Address | None = None
        self._good_until = -math.inf

    def exchange(self, commands: Sequence[Command]) -> Answers:
        """Commands in one go, and their replies.

        All are sent again when the server goes away or takes no writes any more, until the dialer's timeout is over.

        Raises:
            redis.RedisError: the server cannot be reached or refuses the user; it takes no writes.
        """
        return self._finish(commands, None)

    def begin(self, commands: Sequence[Command]) -> Callable[[], Answers]:
        """Send commands in one go; their replies are read by calling what this returns, once, and as :meth:`exchange`.

        Until then no command of another exchange waits for these, and nothing tells whether they are carried out.
        """
        pool = None
        try:
            pool = self._current()
            begun = pool, begin_over(pool, commands)
        except AuthenticationError:
            raise
        except (ConnectionError, TimeoutError):
            self._forget(pool)
            return partial(self._finish, commands, None)
        return partial(self._finish, commands, begun)

    def _finish(
        self, commands: Sequence[Command], begun: tuple[redis.ConnectionPool, Callable[[], Answers]] | None
    ) -> Answers:
        """The replies of what was begun, if anything was; else, and where they do not come, those of a new exchange."""
        patience = Patience(self._dialer.timeout, self._waiting)
        while True:
            pool = None
            try:
                if begun is not None:
                    (pool, finish), begun = begun, None
                    answers = finish()
                else:
                    pool = self._current()
                    answers = exchange_over(pool, commands)
                if answers.failed:
                    _raise_if_demoted(answers)
            except AuthenticationError:
                raise
            except (ConnectionError, TimeoutError, *_DEMOTED) as error:
                self._forget(pool)
                patience.pause(error)
            else:
                return answers

    def everywhere(self, commands: Sequence[Command]) -> list[Answers]:
        """The same commands to every server that takes writes: to this one."""
        return [self.exchange(commands)]

    def close(self) -> None:
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.disconnect()

    def _current(self) -> redis.ConnectionPool:
        pool = self._pool
        if pool is not None and self._waiting.monotonic() < self._good_until:
            return pool
        with self._lock:
            if self._pool is not None and self._address is not None and self._finder.replaced(self._address):
                self._pool.disconnect(inuse_connections=False)
                self._pool = None
            if self._pool is None:
                self._address = self._finder.find()
                self._pool = self._dialer.pool(self._address)
            self._good_until = self._waiting.monotonic() + self._finder.recheck
            return self._pool

    def _forget(self, pool: redis.ConnectionPool | None) -> None:
        """Connect anew: the name may stand for another server by now, or sentinels may name another."""
        with self._lock:
            if self._pool is pool:
                self._pool = None
        if pool is not None:
            pool.disconnect(inuse_connections=False)


def _raise_if_demoted(answers: Answers) -> None:
    """A server that has become a replica may still answer reads: none of its answers counts."""
    for place in answers.failed:
        if isinstance(answers.replies[place], _DEMOTED):
            raise answers.replies[place]
