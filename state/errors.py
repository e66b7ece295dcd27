"""What can go wrong with the state, one class for each reaction.

StateError
    StateUnreachable    the server does not answer: pause and try again
    StateMismatch       settings that must not change differ, or the server is set up wrongly: stop and tell
    RevConflict         another writer came between reading and writing: read and merge again
    OffsetConflict      a shard's Kafka offset is not the expected one: read the offsets again and seek
    Fenced              another writer holds the lease: stop writing
"""

from __future__ import annotations


class StateError(Exception):
    """Base of all errors of the state."""


class StateUnreachable(StateError):
    """The Redis server cannot be reached or did not answer in time."""


class StateMismatch(StateError):
    """The state was made with other settings, or the server is not set up as the state needs it."""


class OffsetConflict(StateError):
    """A shard has applied another offset of a partition than this consumer believed.

    Higher: someone else owns the partition now. Lower: the server lost its last writes.
    """

    def __init__(self, partition: str, shard: int, expected: int, found: int) -> None:
        super().__init__(f"partition {partition}, shard {shard}: expected offset {expected}, found {found}")
        self.partition = partition
        self.shard = shard
        self.expected = expected
        self.found = found


class RevConflict(StateError):
    """Another writer changed studies of a shard since they were read."""

    def __init__(self, shard: int) -> None:
        super().__init__(f"shard {shard}: studies were changed by another writer")
        self.shard = shard


class Fenced(StateError):
    """Another writer has taken the lease of this repository."""
