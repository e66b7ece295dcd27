"""A cluster: commands go to the primaries that have their slots, all at once, and follow slots that move.

The commands of one slot are sent as one transaction, so that none is carried out when one before it is not: a slot that
moves, or a primary that is replaced, can refuse any of them. A slot with a single command needs none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from select import POLLIN
from typing import Any, Final

import redis
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    ConnectionError,
    ExecAbortError,
    MovedError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)

from state.address import Address
from state.dialer import Answers, Command, Dialer, Pending, borrowed, exchange_over, write
from state.patience import Patience, Waiting
from state.slot_map import SlotMap, slot_of
from state.topology import Topology

_GONE: Final = (ConnectionError, TimeoutError)
_AGAIN: Final = (AskError, TryAgainError, ClusterDownError, ReadOnlyError)  # a MovedError is an AskError
_REDIRECTIONS: Final = 5  # followed at once; a slot that still moves after them is waited for


@dataclass(frozen=True, slots=True)
class _Group:
    """The commands of one slot by their places among all that are sent, in order; ``slot`` is None without a key.

    ``asking``: where to send them this once, because keys of a slot that moves are there already.
    """

    slot: int | None
    places: list[int]
    asking: Address | None = None

    def wire(self, commands: Sequence[Command]) -> list[Command]:
        """What is sent for them."""
        sent = [commands[place] for place in self.places]
        if len(sent) > 1:
            sent = [("MULTI",), *sent, ("EXEC",)]
        return [("ASKING",), *sent] if self.asking else sent


@dataclass(frozen=True, slots=True)
class _Refused:
    """A group that was not carried out, or of which that is not known, and why."""

    group: _Group
    error: Exception


class Cluster:
    """Sends to a cluster's primaries. ``seeds`` are nodes to ask first where the slots are. For several threads."""

    def __init__(self, dialer: Dialer, seeds: Sequence[Address], waiting: Waiting) -> None:
        self._dialer = dialer
        self._waiting = waiting
        self._topology = Topology(dialer, seeds)
        self._lock = threading.Lock()
        self._pools: dict[Address, redis.ConnectionPool] = {}
        self._keyless = ""  # id of the node that answers what has no key

    def exchange(self, commands: Sequence[Command]) -> Answers:
        """Commands in one go to all nodes, and their replies in order.

        What a slot refuses because it moves or has lost its primary is sent again, in its order, until the dialer's
        timeout is over.

        Raises:
            redis.RedisError: nodes cannot be reached or refuse the user; slots are not served.
        """
        patience = Patience(self._dialer.timeout, self._waiting)
        replies: list[Any] = [None] * len(commands)
        groups = _by_slot(commands)
        redirections = 0
        while groups:
            refused = self._round(groups, commands, replies)
            groups = [one.group for one in refused]
            redirections += 1
            hard = [one.error for one in refused if redirections > _REDIRECTIONS or not isinstance(one.error, AskError)]
            if hard:
                patience.pause(_told(hard[0]))
        return Answers(replies, [place for place, reply in enumerate(replies) if isinstance(reply, Exception)])

    def begin(self, commands: Sequence[Command]) -> Callable[[], Answers]:
        """As :meth:`exchange`; what this returns has the replies already."""
        answers = self.exchange(commands)
        return lambda: answers

    def everywhere(self, commands: Sequence[Command]) -> list[Answers]:
        """The same commands to every primary."""
        patience = Patience(self._dialer.timeout, self._waiting)
        while True:
            try:
                found = []
                for address in self._topology.current().primaries.values():
                    found.append(exchange_over(self._pool(address), commands))
            except AuthenticationError:
                raise
            except _GONE as error:
                self._topology.outdated()
                patience.pause(error)
            else:
                return found

    def close(self) -> None:
        with self._lock:
            pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.disconnect()

    # --- one round -------------------------------------------------------------------------------------------------

    def _round(self, groups: Sequence[_Group], commands: Sequence[Command], replies: list[Any]) -> list[_Refused]:
        """Send the groups to their nodes, then put all replies in their places; what has to be sent again."""
        try:
            slot_map = self._topology.current()
        except AuthenticationError:
            raise
        except _GONE as error:
            return [_Refused(group, error) for group in groups]
        self._keep_pools_of(slot_map)
        pending = commands if isinstance(commands, Pending) else None
        refused: list[_Refused] = []
        by_node: dict[Address, list[_Group]] = {}
        for group in groups:
            address = group.asking or self._target(slot_map, group.slot)
            if address is None:
                refused += self._lost([group], ClusterDownError(f"no node has slot {group.slot}"))
            else:
                by_node.setdefault(address, []).append(group)
        with ExitStack() as stack:
            written: dict[Address, Any] = {}
            for address, of_node in by_node.items():
                try:
                    connection = stack.enter_context(borrowed(self._pool(address)))
                    write(connection, [command for group in of_node for command in group.wire(commands)], pending)
                except AuthenticationError:
                    raise
                except _GONE as error:
                    refused += self._lost(of_node, error)
                else:
                    written[address] = connection
            late: Exception | None = None
            for address, connection in written.items():
                if pending is not None:
                    pending.wait(connection, POLLIN)
                if late is not None and not _has_answered(connection):
                    # One node was waited for already; this one had that time too.
                    connection.disconnect()
                    refused += self._lost(by_node[address], late)
                    continue
                found = self._read_node(address, connection, by_node[address], replies)
                late = next((one.error for one in found if isinstance(one.error, TimeoutError)), late)
                refused += found
        return refused

    def _read_node(
        self, address: Address, connection: Any, groups: Sequence[_Group], replies: list[Any]
    ) -> list[_Refused]:
        """Put a node's replies in their places; what it refuses."""
        refused: list[_Refused] = []
        for number, group in enumerate(groups):
            try:
                found = _read_group(connection, group)
            except AuthenticationError:
                raise
            except _GONE as error:
                connection.disconnect()
                return refused + self._lost(groups[number:], error)
            if isinstance(found, ResponseError):
                refused.append(_Refused(self._redirected(group, found, address), found))
                continue
            for place, reply in zip(group.places, found, strict=True):
                replies[place] = reply
        return refused

    def _lost(self, groups: Sequence[_Group], error: Exception) -> list[_Refused]:
        """Groups whose node went away: their slots will have another one."""
        self._topology.outdated()
        return [_Refused(_Group(group.slot, group.places), error) for group in groups]

    def _redirected(self, group: _Group, error: ResponseError, asked: Address) -> _Group:
        """A refused group as it is to be sent next."""
        match error:
            case MovedError():
                self._topology.outdated(Address(error.host or asked.host, error.port))
            case AskError():
                return _Group(group.slot, group.places, Address(error.host or asked.host, error.port))
            case TryAgainError():
                pass  # the slot is between two nodes; it is where it was
            case _:
                self._topology.outdated()
        return _Group(group.slot, group.places)

    # --- nodes -----------------------------------------------------------------------------------------------------

    def _target(self, slot_map: SlotMap, slot: int | None) -> Address | None:
        """The node to send to: what has no key goes to the same one for as long as it is a primary."""
        if slot is not None:
            return slot_map.owners[slot]
        if self._keyless not in slot_map.primaries:
            self._keyless = next(iter(slot_map.primaries), "")
        return slot_map.primaries.get(self._keyless)

    def _pool(self, address: Address) -> redis.ConnectionPool:
        with self._lock:
            pool = self._pools.get(address)
            if pool is None:
                pool = self._pools[address] = self._dialer.pool(address)
            return pool

    def _keep_pools_of(self, slot_map: SlotMap) -> None:
        """Close the connections to what is a primary no more."""
        primaries = set(slot_map.primaries.values())
        if self._pools.keys() <= primaries:
            return
        with self._lock:
            gone = [self._pools.pop(address) for address in list(self._pools) if address not in primaries]
        for pool in gone:
            pool.disconnect(inuse_connections=False)


def _has_answered(connection: Any) -> bool:
    """Whether there is something to read: a reply, or that the connection has ended."""
    try:
        return bool(connection.can_read())
    except _GONE:
        return True


def _told(error: Exception) -> Exception:
    """What an error is for who cannot follow it: a redirection that leads nowhere is a slot on its way."""
    return ClusterDownError(f"a slot is on its way: {error}") if isinstance(error, AskError) else error


def _by_slot(commands: Sequence[Command]) -> list[_Group]:
    """The commands of each slot together; each without a key by itself."""
    groups: list[_Group] = []
    by_slot: dict[int, _Group] = {}
    for place, command in enumerate(commands):
        slot = slot_of(command)
        if slot in by_slot:
            by_slot[slot].places.append(place)
            continue
        group = _Group(slot, [place])
        groups.append(group)
        if slot is not None:
            by_slot[slot] = group
    return groups


def _read_group(connection: Any, group: _Group) -> list[Any] | ResponseError:
    """The replies to a group, or the error for which all of it is to be sent again."""
    if group.asking:
        _read(connection)
    if len(group.places) == 1:
        reply = _read(connection)
        return reply if isinstance(reply, _AGAIN) else [reply]
    queued = [_read(connection) for _ in range(len(group.places) + 1)]
    executed = _read(connection)
    if not isinstance(executed, ResponseError):
        return list(executed)
    errors = [error for error in (*queued, executed) if isinstance(error, ResponseError)]
    cause = next((error for error in errors if not isinstance(error, ExecAbortError)), executed)
    return cause if isinstance(cause, _AGAIN) else [cause] * len(group.places)


def _read(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error
