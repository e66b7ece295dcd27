"""Enrichment: what is owed a look is looked up in the archive, and what was found is written to the topic.

1. read the debts that are due: nothing has happened to their studies for a while
2. ask the archive, some studies side by side, at the pace that was agreed
3. read each study's record, and write what makes it agree with the archive, with the debt's token
4. the consumer applies that like any event, and the debt is paid; or it has become another one, and is due again

Only the consumer changes the state. What crashes between these steps is done again: a debt is paid by the script that
applies the answer, not before. Events never wait for any of it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event as Flag
from typing import Final

from consumers.answers import answer
from consumers.archives.archive import Archive, ArchiveBusy, ArchiveError, ArchiveRefused, FoundStudy
from consumers.clock import Clock
from consumers.counts import LookCount
from consumers.messages import Message, look, settle
from consumers.policy import ArchivePolicy
from consumers.publish import EventTooLarge, Publisher, PublishError, RefusedAsTooLarge
from state.debts import Debt, Debts, Tries, is_reference, partition_of
from state.errors import StateUnreachable
from state.record import StudyRecord
from state.studies import Studies
from state.times import MICROSECONDS

log = logging.getLogger(__name__)

_IDLE: Final = 0.5  # seconds between two looks at what is owed
_AGAIN: Final = 1.0  # seconds: the first pause after a failure
_IN_HAND: Final = 8  # studies for each connection that are asked for ahead
_WRITTEN: Final = 5000  # answers that wait for the consumer at most
_FORGET: Final = 600.0  # seconds after which an answer that was not applied counts as lost


@dataclass(frozen=True, slots=True)
class _Looked:
    """What the archive answered: a study, or for a reference the UID of its study; None: it does not have it."""

    debt: Debt
    found: FoundStudy | str | None


class Enricher:
    """Pays one repository's debts. ``count`` is told what was done, by name, since it was told last.

    ``beat`` is told after each turn what the enricher waits for; the empty text if it goes on.
    """

    def __init__(
        self,
        archive: Archive,
        policy: ArchivePolicy,
        studies: Studies,
        debts: Debts,
        server_now: Callable[[], int],
        open_publisher: Callable[[], Publisher],
        clock: Clock,
        count: Callable[[Mapping[str, int]], None],
        beat: Callable[[str], None] = lambda waiting_for: None,
    ) -> None:
        self._archive = archive
        self._policy = policy
        self._studies = studies
        self._debts = debts
        self._server_now = server_now
        self._open_publisher = open_publisher
        self._clock = clock
        self._count = count
        self._beat = beat
        self._counts: Counter[LookCount] = Counter()
        self._pool = ThreadPoolExecutor(policy.connections, f"look-{policy.name}")
        self._futures: set[Future[_Looked]] = set()
        self._publisher: Publisher | None = None
        self._asked: set[str] = set()  # what is being asked for
        self._written: dict[str, tuple[str, float]] = {}  # token and since when the consumer has to apply it
        self._one_by_one = False  # a message was too large: each study is confirmed by itself
        self._successes = 0
        self._failed_at: dict[str, int] = {}  # by what is owed: how many had succeeded when it failed last
        self._paused_until = 0.0
        self._pause = _AGAIN
        self._waiting_for = ""

    def run(self, stop: Flag) -> None:
        """Pay debts until ``stop`` is set, and what is being asked then is answered or timed out."""
        try:
            while not stop.is_set():
                try:
                    pause = self.turn()
                except (StateUnreachable, PublishError) as error:
                    self._wait_for(str(error))
                    self._beat("redis" if isinstance(error, StateUnreachable) else "kafka")
                    pause = _AGAIN
                else:
                    if self._clock.monotonic() >= self._paused_until:
                        self._waiting_for = ""
                    self._beat("the archive" if self._waiting_for else "")
                if pause:
                    stop.wait(pause)
        finally:
            self.close()

    def close(self) -> None:
        """Drop what was not asked yet, and wait for the rest."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._close_publisher()

    # --- one turn ----------------------------------------------------------------------------------------------

    def turn(self) -> float:
        """Ask for what is due, write what has been found; seconds to wait before the next turn.

        Raises:
            StateUnreachable, PublishError: what was in hand is looked up again.
        """
        room = self._policy.connections * _IN_HAND - len(self._futures)
        if room > 0 and self._clock.monotonic() >= self._paused_until:
            for debt in self._due(room):
                self._asked.add(debt.owed)
                self._futures.add(self._pool.submit(self._look, debt))
        if not self._futures:
            self._report()
            return _IDLE
        done, _ = wait(self._futures, _IDLE, FIRST_COMPLETED)
        for future in done:
            self._take(future)
            self._futures.discard(future)
        if done:
            self._flush()
        self._report()
        return 0.0

    def _due(self, room: int) -> Iterator[Debt]:
        """At most so many debts that are due and not in hand. One read ends early, so the oldest come first."""
        self._forget_lost()
        if len(self._written) >= _WRITTEN:
            self._keep_owed()
            if len(self._written) >= _WRITTEN:
                return
        up_to = self._server_now() - round(self._policy.quiet * MICROSECONDS)
        for debt in self._debts.due(up_to):
            written = self._written.get(debt.owed)
            if debt.owed in self._asked or (written is not None and written[0] == debt.token):
                continue
            yield debt
            room -= 1
            if not room:
                return

    def _forget_lost(self) -> None:
        before = self._clock.monotonic() - _FORGET
        for owed in [owed for owed, (_, since) in self._written.items() if since < before]:
            del self._written[owed]

    def _keep_owed(self) -> None:
        """Forget what is paid by now."""
        tokens = self._debts.tokens_of(self._written)
        self._written = {owed: written for owed, written in self._written.items() if tokens.get(owed) == written[0]}

    def _look(self, debt: Debt) -> _Looked:
        """In a thread of its own."""
        try:
            if is_reference(debt.owed):
                return _Looked(debt, self._archive.study_of(debt.owed))
            return _Looked(debt, self._archive.study(debt.owed))
        except ArchiveError as error:
            raise _Failed(debt, error) from error
        except Exception as error:  # what an archive answers must not end this; its text may hold what it answered
            unforeseen = ArchiveRefused(f"the archive's answer led to an error of this program: {type(error).__name__}")
            raise _Failed(debt, unforeseen) from error

    # --- what was found ----------------------------------------------------------------------------------------

    def _take(self, future: Future[_Looked]) -> None:
        try:
            looked = future.result()
        except _Failed as failed:
            self._asked.discard(failed.debt.owed)
            self._put_off(failed.debt, failed.error)
            return
        debt = looked.debt
        self._asked.discard(debt.owed)
        self._pause = _AGAIN
        self._successes += 1
        try:
            for message in self._messages(debt, looked.found):
                self._send(message, partition_of(debt.token))
            if self._one_by_one:
                self._flush()
        except EventTooLarge as error:
            self._put_off(debt, ArchiveRefused(f"one of its instances {error}"))
        except RefusedAsTooLarge as error:
            if not self._one_by_one:
                raise  # of another study, perhaps
            self._put_off(debt, ArchiveRefused(str(error)))
        except ArchiveError as error:
            self._put_off(debt, error)
        else:
            self._written[debt.owed] = (debt.token, self._clock.monotonic())
            self._failed_at.pop(debt.owed, None)

    def _messages(self, debt: Debt, found: FoundStudy | str | None) -> Iterator[Message]:
        """What pays the debt.

        Raises:
            ArchiveRefused: the archive does not have the study, and that is not believed.
        """
        if isinstance(found, str) or is_reference(debt.owed):
            yield from self._resolve(debt, found if isinstance(found, str) else None)
            return
        record = next((read.record for read in self._studies.read([debt.owed])), None)
        remove = self._policy.absent == "remove"
        if found is None and not remove and record is not None and not record.is_removed:
            if not _nothing_is_left(record):
                raise ArchiveRefused("the archive does not have the study, of which its events told")
            remove = True
        if found is not None and found.names:
            self._debts.note_names(found.names, debt.owed)
        self._counts["looks_absent" if found is None else "looks_found"] += 1
        yield from answer(debt, record, found, remove_absent=remove, now=self._server_now())

    def _resolve(self, debt: Debt, study_instance_uid: str | None) -> Iterator[Message]:
        """A reference is paid by a debt of its study's. One that nobody knows is of something never heard of."""
        now = self._server_now()
        uid = study_instance_uid or self._debts.named(debt.owed)
        if uid is None:
            self._counts["looks_absent"] += 1
        else:
            self._counts["looks_found"] += 1
            yield look(uid, now)
        yield settle(debt.owed, debt.token, now, (uid or debt.owed).encode("ascii"))

    def _put_off(self, debt: Debt, error: ArchiveError) -> None:
        """Try again later; more seldom each time, and no more once it was tried as often as agreed.

        While the archive is away, or asks for patience, or no look at all has succeeded since this study's last try,
        all wait, and no study's tries are counted.
        """
        self._counts["looks_failed"] += 1
        if isinstance(error, ArchiveBusy) and (error.everything or self._nothing_succeeds(debt)):
            pause = min(error.retry_after or self._pause, self._policy.retry_interval)
            now = self._clock.monotonic()
            if now >= self._paused_until:
                self._wait_for(f"{error}; asking again in {pause:.0f} seconds")
                self._pause = min(2 * self._pause, self._policy.retry_interval)
            self._paused_until = max(self._paused_until, now + pause)
            return
        count = (debt.tries.count if debt.tries is not None else 0) + 1
        until = None
        if count < self._policy.tries:
            pause = min(_AGAIN * 2 ** (count - 1), self._policy.retry_interval)
            if isinstance(error, ArchiveBusy) and error.retry_after is not None:
                pause = max(pause, min(error.retry_after, self._policy.retry_interval))
            # Nothing has to be quiet for that: it is due when it is due.
            until = self._server_now() + round((pause - self._policy.quiet) * MICROSECONDS)
        else:
            self._counts["looks_given_up"] += 1
            log.warning("a study was looked up %d times in vain and is left as it is: %s", count, error)
        self._debts.put_off(debt.owed, Tries(debt.token, count, str(error)), until)

    def _nothing_succeeds(self, debt: Debt) -> bool:
        before = self._failed_at.get(debt.owed)
        self._failed_at[debt.owed] = self._successes
        return before == self._successes

    # --- Kafka, the end ----------------------------------------------------------------------------------------

    def _send(self, message: Message, partition: int | None) -> None:
        """To the partition of the debt's latest event, whatever has led that there, so that their order is kept."""
        if self._publisher is None:
            self._publisher = self._open_publisher()
        try:
            known = partition is not None and partition in self._publisher.partitions()
            self._publisher.send(message.key, message.value, partition=partition if known else None)
        except PublishError as error:
            self._lose_publisher(error)
            raise

    def _flush(self) -> None:
        if self._publisher is not None:
            try:
                self._publisher.flush()
            except PublishError as error:
                self._lose_publisher(error)
                raise

    def _lose_publisher(self, error: PublishError) -> None:
        """Nobody knows what has arrived: all that is not applied is looked up again.

        If a message was too large, then one study at a time, until it is known whose it is.
        """
        self._one_by_one = self._one_by_one or isinstance(error, RefusedAsTooLarge)
        self._written.clear()
        self._close_publisher()

    def _close_publisher(self) -> None:
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.close()

    def _wait_for(self, why: str) -> None:
        if why != self._waiting_for:
            log.warning("%s; looks at the archive wait", why)
            self._waiting_for = why

    def _report(self) -> None:
        if self._counts:
            counts, self._counts = self._counts, Counter()
            self._count({str(name): number for name, number in counts.items()})


def _nothing_is_left(record: StudyRecord) -> bool:
    """Whether events have removed each instance that any has told of, so that its archive may well not have it."""
    tombstones = [instance.tombstone for _, instance in record.instances()]
    return bool(tombstones) and None not in tombstones


class _Failed(Exception):
    """A look that failed, and why."""

    def __init__(self, debt: Debt, error: ArchiveError) -> None:
        super().__init__(str(error))
        self.debt = debt
        self.error = error
