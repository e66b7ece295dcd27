"""Delivering a repository's inventories to one sink, in the chain's order, each until the sink has it.

1. see that the writer's lease is ours, and read how far the sink is; when it is new, note the head that it begins with
2. read head.json: what it stands for is published for good, whatever Redis forgets
3. for each inventory that is owed, its parts first and itself last: see that the file is whole by its digest
4. send it, and wait until the receiver has confirmed
5. write down, fenced by the lease, that the sink has it

Whoever dies or loses the lease between 4 and 5 lets that one file be sent again, which no sink minds. Nothing is passed
over: a sink that cannot be delivered to is tried again with growing pauses, and retention leaves what it still needs.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Event as Flag
from typing import Final

from state.chain import Lease
from state.connection import Connection
from state.deliveries import Delivered, Deliveries
from state.errors import Fenced, StateUnreachable
from writers.files import FolderUnusable, InventoryFolder
from writers.manifest import Manifest, Member
from writers.owed import owed
from writers.policy import SinkPolicy
from writers.sinks.sink import NotWhole, Parcel, Sink, SinkError

log = logging.getLogger(__name__)

LOOK: Final = 1.0  # seconds between two looks at head.json
_FIRST_PAUSE: Final = 1.0  # after a failure; each further one at most twice the one before


class Delivery:
    """Brings inventories to one sink while the lease is held. ``stop``: end after the file in hand."""

    def __init__(
        self,
        policy: SinkPolicy,
        open_sink: Callable[[], Sink],
        folder: InventoryFolder,
        connection: Connection,
        lease: Lease,
        stop: Flag,
    ) -> None:
        self.name = policy.name
        self._policy = policy
        self._open_sink = open_sink
        self._sink: Sink | None = None
        self._folder = folder
        self._connection = connection
        self._deliveries = Deliveries(connection, lease.repository)
        self._lease = lease
        self._stop = stop
        self._said = ""
        self._pause = _FIRST_PAUSE

    def run(self) -> None:
        """Deliver whatever is published, until ``stop`` is set."""
        try:
            while not self._stop.is_set():
                self._stop.wait(self._go_on())
        finally:
            self.close()

    def close(self) -> None:
        """Let the receiver go."""
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    def deliver_owed(self) -> int:
        """Deliver all that is owed now, or until ``stop`` is set; how many inventories the sink has got.

        Raises:
            SinkError: the sink did not take a file. It is written down, and what came before stays.
            Fenced: the lease is another's.
            StateUnreachable: the state does not answer.
            FolderUnusable: head.json cannot be read.
        """
        try:
            return self._deliver_owed()
        except SinkError as error:
            self._note_trouble(error)
            raise

    def pause(self) -> float:
        """Seconds until the next try after a failure: growing, half of it drawn, up to ``retry_interval``."""
        pause = self._pause * (0.5 + 0.5 * random.random())
        self._pause = min(2 * self._pause, self._policy.retry_interval)
        return pause

    def _go_on(self) -> float:
        """One round of the service; seconds until the next."""
        try:
            if self._lease.token:
                self.deliver_owed()
            self._say("")
        except Fenced:
            pass  # another writer leads; its own deliveries go on
        except SinkError as error:
            pause = self.pause()
            self._say(f"{error}; trying again", pause)
            return pause
        except (FolderUnusable, StateUnreachable) as error:
            self._say(f"sinks.{self.name}: {error}; waiting")
        return LOOK

    def _deliver_owed(self) -> int:
        head = self._folder.head()  # 2.
        delivered = self._deliveries.read(self._lease.token, self.name)  # 1.
        if head is None:
            return 0
        if delivered is None:
            delivered = Delivered(head.file, head.sequence)
            self._deliveries.write(self._lease.token, self.name, delivered)
        before = delivered.inventories
        for member in owed(self._folder, head, delivered):
            for number, file in enumerate(in_order(member)):  # 3.
                if member.sop_instance_uid == delivered.part_of and number < delivered.parts:
                    continue
                if self._stop.is_set():
                    return delivered.inventories - before
                manifest = self._send(file)  # 4.
                delivered = _with(delivered, member, number + 1, manifest)
                self._deliveries.write(self._lease.token, self.name, delivered)  # 5.
                self._pause = _FIRST_PAUSE
            log.info("delivered %s (sequence %d) to %s", member.sop_instance_uid, member.sequence, self.name)
        return delivered.inventories - before

    def _send(self, file: str) -> Manifest:
        manifest = self._folder.published(file)
        if manifest is None:
            raise NotWhole(
                f"sinks.{self.name}: {self._folder.path / file} is gone or not what its manifest says; it is not sent: "
                "restore it from another copy"
            )
        if self._sink is None:
            self._sink = self._open_sink()
        self._sink.deliver(Parcel(self._folder.path / file, manifest))
        return manifest

    def _note_trouble(self, error: SinkError) -> None:
        token = self._lease.token
        delivered = self._deliveries.read(token, self.name)
        if delivered is not None:
            since = self._connection.now() if delivered.since is None else delivered.since
            failed = replace(delivered, failures=delivered.failures + 1, trouble=str(error), since=since)
            self._deliveries.write(token, self.name, failed)

    def _say(self, text: str, pause: float = 0) -> None:
        """Log a state of affairs once, not at every try."""
        if text and text != self._said:
            log.warning("%s%s", text, f", first in {pause:.0f} s" if pause else "")
        self._said = text


def in_order(member: Member) -> Sequence[str]:
    """The files of one inventory in the order of delivery: parts first, for it incorporates them."""
    return (*member.parts, member.file)


def _with(delivered: Delivered, member: Member, files: int, manifest: Manifest) -> Delivered:
    """``delivered`` with so many files of this inventory, of which the last is ``manifest``'s."""
    more = replace(
        delivered,
        part_of=member.sop_instance_uid,
        parts=files,
        files=delivered.files + 1,
        bytes=delivered.bytes + manifest.bytes,
        trouble="",
        since=None,
    )
    if files < len(in_order(member)):
        return more
    return replace(
        more, sequence=member.sequence, file=member.file, part_of="", parts=0, inventories=more.inventories + 1
    )
