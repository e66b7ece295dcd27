"""What can go wrong with the state, one class for each reaction.

StateError
    StateUnreachable    the server does not answer: pause and try again
    StateMismatch       settings that must not change differ, or the server is set up wrongly: stop and tell
    RevConflict         another writer came between reading and writing: read and merge again
    ShardMoved          a shard is not where this consumer left it: read its offsets again and seek
      OffsetConflict      its Kafka offset is another one
      AnchorGone          what was left beside the offset is gone
    Fenced              another writer holds the lease: stop writing
    StateForgotten      the state knows nothing of a chain that there is: it has to be imported first
"""

from __future__ import annotations


class StateError(Exception):
    """Base of all errors of the state."""


class StateUnreachable(StateError):
    """The Redis server cannot be reached or did not answer in time."""


class StateMismatch(StateError):
    """The state was made with other settings, or the server is not set up as the state needs it."""


class ShardMoved(StateError):
    """A shard is not where this consumer left it with its events of a partition."""

    def __init__(self, partition: str, shard: int, what: str) -> None:
        super().__init__(f"partition {partition}, shard {shard}: {what}")
        self.partition = partition
        self.shard = shard


class OffsetConflict(ShardMoved):
    """A shard has applied another offset of a partition than this consumer believed.

    Higher: someone else owns the partition now. Lower: the server lost its last writes.
    """

    def __init__(self, partition: str, shard: int, expected: int, found: int) -> None:
        super().__init__(partition, shard, f"expected offset {expected}, found {found}")
        self.expected = expected
        self.found = found


class AnchorGone(ShardMoved):
    """What this consumer left in a shard beside the offset is not there: the server lost it, or someone else came."""

    def __init__(self, partition: str, shard: int) -> None:
        super().__init__(partition, shard, "what was kept of its patients is not there any more")


class RevConflict(StateError):
    """Another writer changed studies of a shard since they were read."""

    def __init__(self, shard: int) -> None:
        super().__init__(f"shard {shard}: studies were changed by another writer")
        self.shard = shard


class Fenced(StateError):
    """Another writer has taken the lease of this repository."""


class StateForgotten(StateError):
    """Shards of the state know of no cut of a chain that there is: they were lost, or this is another server."""
