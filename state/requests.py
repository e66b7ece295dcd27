"""Deltas that were asked for: by whoever may not write, of the writer that leads."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import orjson

from state.connection import Connection
from state.keys import RepositoryKeys


@dataclass(frozen=True, slots=True)
class Answer:
    """An inventory that was begun after request ``number`` and all before it were made."""

    number: int
    sequence: int
    sop_instance_uid: str


class DeltaRequests:
    """A repository's requests, numbered from 1. A Redis that loses its tail may forget one: it is then asked again."""

    def __init__(self, connection: Connection, repository: str) -> None:
        self._connection = connection
        self._keys = RepositoryKeys(repository)

    def ask(self) -> int:
        """Ask for a delta; the number of the request. A call that is repeated on the way asks twice, which is no harm.

        Raises:
            StateUnreachable: the state does not answer.
        """
        [number] = self._connection.send([("HINCRBY", self._keys.requests, "asked", 1)])
        return int(number)

    def look(self) -> tuple[int, Answer | None]:
        """The number of the latest request (0: none yet), and the latest answer to one of them."""
        [[asked, answered]] = self._connection.send([("HMGET", self._keys.requests, "asked", "answered")])
        latest = int(asked or 0)
        answer = None if answered is None else Answer(**orjson.loads(answered))
        # The server may have forgotten a request that the writer had seen: its answer is none to those to come.
        return latest, answer if answer is not None and answer.number <= latest else None

    def waiting(self) -> int | None:
        """The number of the latest request that has no answer; None: all have one."""
        asked, answer = self.look()
        return asked if asked > (0 if answer is None else answer.number) else None

    def answer(self, answer: Answer) -> None:
        """Answer this request and all before it. For the writer that leads; said twice, it is the same."""
        self._connection.send([("HSET", self._keys.requests, "answered", orjson.dumps(asdict(answer)))])

    def somebody_leads(self) -> bool:
        """Whether a writer holds the lease now."""
        [found] = self._connection.send([("EXISTS", self._keys.lease)])
        return bool(found)
