"""Which server of a cluster has which hash slot, as one of its nodes tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from state.address import Address
from state.dialer import Arg, Command

QUESTION: Final[tuple[Command, ...]] = (("CLUSTER", "INFO"), ("CLUSTER", "SLOTS"))
_WITHOUT_KEY: Final = frozenset({"TIME", "INFO", "PING", "SCRIPT"})


@dataclass(frozen=True, slots=True)
class SlotMap:
    """What one node knew at one moment.

    ``epoch`` is the cluster's: it rises with each failover and each slot that moves. ``whole``: the node says that
    the cluster works. ``nodes`` are the ids of all nodes; ``primaries`` are by id, in its order; ``owners`` has an
    entry for each slot, None for one that nobody has; ``replicas`` are the other nodes.
    """

    epoch: int
    whole: bool
    nodes: frozenset[str]
    primaries: dict[str, Address]
    owners: tuple[Address | None, ...]
    replicas: tuple[Address, ...]

    @classmethod
    def read(cls, asked: Address, info: bytes, slots: Sequence[Any]) -> SlotMap:
        """From a node's answers to :data:`QUESTION`. A node that does not know its own name has the one asked."""
        facts = dict(line.split(b":", 1) for line in bytes(info).splitlines() if b":" in line)
        primaries: dict[str, Address] = {}
        others: dict[str, Address] = {}
        owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, primary, *replicas in slots:
            id_, owner = _node(asked, primary)
            primaries[id_] = owner
            owners[first : last + 1] = [owner] * (last + 1 - first)
            others |= dict(_node(asked, replica) for replica in replicas)
        return cls(
            epoch=int(facts[b"cluster_current_epoch"]),
            whole=facts[b"cluster_state"] == b"ok",
            nodes=frozenset(primaries | others),
            primaries=dict(sorted(primaries.items())),
            owners=tuple(owners),
            replicas=tuple(others.values()),
        )

    def supersedes(self, before: SlotMap) -> bool:
        """Whether to believe this after that: not if it is of a node that missed a change, which may be cut off.

        A cluster that was made anew begins with low epochs, and other nodes.
        """
        return self.epoch >= before.epoch or self.nodes.isdisjoint(before.nodes)


def _node(asked: Address, told: Sequence[Any]) -> tuple[str, Address]:
    host, port, id_, *_ = told
    # Nothing, or "?" where names are preferred to addresses: the node is where it was asked.
    name = host.decode() if host not in {None, b"", b"?"} else asked.host
    return id_.decode(), Address(name, int(port))


def slot_of(command: Command) -> int | None:
    """The slot of a command's first key; None if it has none. All keys of one command share a slot."""
    name = command[0]
    if len(command) == 1 or name in _WITHOUT_KEY:
        return None
    return _slot_of_key(command[3] if name in {"EVALSHA", "EVAL"} else command[1])


def _slot_of_key(key: Arg) -> int:
    text = key if isinstance(key, str) else key.decode("latin-1") if isinstance(key, bytes) else str(key)
    begin = text.find("{") + 1
    end = text.find("}", begin)
    return _slot_of_tag(text[begin:end] if begin and end > begin else text)


@lru_cache(maxsize=65_536)
def _slot_of_tag(tag: str) -> int:
    return int(key_slot(tag.encode()))
