"""What the state keeps of a study whose record an Inventory gave, beside the record itself.

Two things: which events that record has in it already, and a note by which an import that is run again knows it.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Final, NamedTuple

FIELD: Final = b"import"  # of a study's hash

_COUNTS: Final = struct.Struct("<III")
_DIGEST: Final = 12  # bytes


class Covered(NamedTuple):
    """Events that are in an imported record already: with a time up to ``until``, told up to ``told``.

    ``until`` is the record's Study Update DateTime, ``told`` when its Inventory was begun: whoever wrote it knew all
    that had been told by then. UTC microseconds.
    """

    until: int
    told: int

    def covers(self, time: int, told: int) -> bool:
        """Whether an event with that time, in a Kafka record with that timestamp, changes nothing any more."""
        return time <= self.until and told <= self.told


class Note(NamedTuple):
    """A study Item of an Inventory: its digest, and how many values and parts of it had to be changed or left out."""

    digest: bytes
    repaired: int = 0
    emptied: int = 0
    parts: int = 0

    def pack(self, rev: bytes) -> bytes:
        """The field :data:`FIELD`, written together with ``rev``: another write makes it void."""
        return rev + self.digest + _COUNTS.pack(self.repaired, self.emptied, self.parts)

    @classmethod
    def unpack(cls, rev: bytes, packed: bytes | None) -> Note | None:
        """The note, if the record has not been written since."""
        if packed is None or packed[: len(rev)] != rev or len(packed) != len(rev) + _DIGEST + _COUNTS.size:
            return None
        return cls(packed[len(rev) : len(rev) + _DIGEST], *_COUNTS.unpack_from(packed, len(rev) + _DIGEST))


def item_digest(data: bytes, time: int) -> bytes:
    """What stands for a study Item as encoded, and the update time that it is imported with."""
    return blake2b(data, digest_size=_DIGEST, salt=time.to_bytes(16, "big", signed=True)).digest()
