"""What a consumer has left in shards beside their offsets, and how it knows that it is still there.

Patients' index entries and news are kept in the shard of the patient before its offset moves past the event that told
them. If that shard falls back in between, they are gone, and its offset is still where the consumer believes it to be.
So whatever is kept there leaves a random word in the same script, the anchor. Whoever keeps more there, or moves the
offset past the event, names the word that it left last: another one found, or none, means that the shard has moved.
"""

from __future__ import annotations

from collections.abc import Iterable


class Anchors:
    """The anchors that one writer has left and whose events no offset covers yet. Not for several threads at once.

    None are left for what no event told, as before the first :meth:`begin`.
    """

    def __init__(self) -> None:
        self._left: dict[str, dict[int, bytes]] = {}  # by partition and shard
        self._partitions: tuple[str, ...] = ()

    @property
    def partitions(self) -> tuple[str, ...]:
        """Those whose events are being applied."""
        return self._partitions

    def begin(self, partitions: Iterable[str]) -> None:
        """From now on, what is kept is told by events of these partitions."""
        self._partitions = tuple(partitions)

    def left(self, shard: int, partition: str) -> bytes:
        """The word that has to be found there; empty: none was left since the offset moved last."""
        return self._left.get(partition, {}).get(shard, b"")

    def leave(self, shard: int, word: bytes) -> None:
        """The word was written to that shard, for the partitions whose events are being applied."""
        for partition in self._partitions:
            self._left.setdefault(partition, {})[shard] = word

    def lift(self, shard: int, partition: str) -> None:
        """The shard's offset of that partition has moved past the events: it tells from now on."""
        self._left.get(partition, {}).pop(shard, None)

    def forget(self, partition: str) -> None:
        """The partition's offsets are read again, and its events from there on."""
        self._left.pop(partition, None)
