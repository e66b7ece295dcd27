"""What long work says while it goes on: that the lease is still wanted, and that the work gets on.

The two are not the same. The lease is renewed also while a process that encodes is waited for; a sign of life is given
only for something that was done, so that a writer whose processes hang falls silent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import TypeVar

from state.chain import Lease

T = TypeVar("T")


class GoingOn:
    """Renews a lease of so many ``seconds``; ``alive`` is called for everything that was done."""

    def __init__(self, lease: Lease, seconds: float, alive: Callable[[], None]) -> None:
        self._lease = lease
        self._interval = seconds / 4
        self._alive = alive
        self._kept = monotonic()
        self._records = 0

    def done(self) -> None:
        """Something is done: a block, a file, a look at shards that are waited for.

        Raises:
            Fenced: the lease is another's.
        """
        self._alive()
        self._keep()

    def written(self, records: int) -> None:
        """So many records are written by now, which may be as many as before. Raises as :meth:`done` does."""
        if records != self._records:
            self._records = records
            self._alive()
        self._keep()

    def over(self, some: Iterable[T]) -> Iterator[T]:
        """The same, each done when the next is asked for. Raises as :meth:`done` does."""
        for one in some:
            yield one
            self.done()

    def _keep(self) -> None:
        if monotonic() - self._kept > self._interval:
            self._lease.keep()
            self._kept = monotonic()
