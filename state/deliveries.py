"""How far each sink is with a repository's inventories, so that a delivery goes on where it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from state.connection import Connection, ScriptCall
from state.errors import Fenced
from state.keys import RepositoryKeys


@dataclass(frozen=True, slots=True)
class Delivered:
    """How far one sink is.

    ``start`` is the file (relative to the repository's folder) of what was the head when the sink came, and
    ``start_sequence`` its sequence: of what was there already, only that one's tree is delivered. ``sequence`` is the
    last inventory that the sink has whole (0: none) and ``file`` its file; ``parts`` says how many files it has of the
    next one, whose SOP Instance UID is ``part_of``. ``inventories``, ``files`` and ``bytes`` count what was delivered,
    ``failures`` tries that failed. ``trouble`` is why the last try failed, ``since`` from when on all have (UTC
    microseconds); empty and None if it did not.
    """

    start: str
    start_sequence: int
    sequence: int = 0
    file: str = ""
    part_of: str = ""
    parts: int = 0
    inventories: int = 0
    files: int = 0
    bytes: int = 0
    failures: int = 0
    trouble: str = ""
    since: int | None = None


class Deliveries:
    """What a repository's sinks have. What changes it carries the writer's fencing token."""

    def __init__(self, connection: Connection, repository: str) -> None:
        self._connection = connection
        self._keys = RepositoryKeys(repository)
        self.repository = repository

    def all(self) -> dict[str, Delivered]:
        """Every sink that was ever delivered to, by name."""
        [found] = self._connection.send([("HGETALL", self._keys.sinks)])
        return {name.decode(): _delivered(value) for name, value in found.items()}

    def needed_from(self, sinks: Sequence[str]) -> int | None:
        """The lowest sequence that one of these sinks does not have yet; None if there is no sink.

        A sink that nothing was delivered to yet begins with what the head reaches, so it needs nothing else.
        """
        have = self.all()
        found = [have[name].sequence + 1 for name in sinks if name in have]
        return min(found) if found else None

    def read(self, token: int, sink: str) -> Delivered | None:
        """How far a sink is; None before the first delivery.

        Raises:
            Fenced: the lease is another's.
        """
        found = self._call(token, sink, b"")
        return _delivered(found) if found else None

    def write(self, token: int, sink: str, delivered: Delivered) -> None:
        """Write down how far a sink is.

        Raises:
            Fenced: the lease is another's; what was delivered may be delivered again by that one.
        """
        self._call(token, sink, orjson.dumps(asdict(delivered)))

    def forget(self, sink: str) -> bool:
        """Let a sink begin anew, with all that the head reaches; whether anything was known of it."""
        return bool(self._connection.send([("HDEL", self._keys.sinks, sink)])[0])

    def _call(self, token: int, sink: str, text: bytes) -> bytes:
        call = ScriptCall("delivery", [self._keys.lease, self._keys.sinks], [token, sink, text])
        reply: Any = self._connection.call([call])[0]
        if reply is None:
            raise Fenced(f"repository {self.repository}: the writer's lease was lost; another writer may have it")
        return bytes(reply)


def _delivered(text: bytes) -> Delivered:
    return Delivered(**orjson.loads(text))
