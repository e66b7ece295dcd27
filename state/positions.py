"""Where those stand who write to a repository's topic: bridges and crawls, each under its name.

A position is written only after the broker has confirmed what came before it. One that is lost with a server's latest
writes is an older one: what came since is told again, which changes nothing.
"""

from __future__ import annotations

from typing import Any

import orjson

from state.connection import Connection
from state.keys import RepositoryKeys


class Positions:
    """The positions of one repository."""

    def __init__(self, connection: Connection, repository: str) -> None:
        self._connection = connection
        self._key = RepositoryKeys(repository).positions

    def read(self, name: str) -> dict[str, Any] | None:
        """What was written last under that name; None before the first time."""
        [found] = self._connection.send([("HGET", self._key, name)])
        if found is None:
            return None
        position: dict[str, Any] = orjson.loads(found)
        return position

    def write(self, name: str, position: dict[str, Any]) -> None:
        """Keep a position, a JSON object."""
        self._connection.send([("HSET", self._key, name, orjson.dumps(position))])

    def forget(self, name: str) -> None:
        """Begin anew."""
        self._connection.send([("HDEL", self._key, name)])
