"""A crawl: every study that an archive lists is looked up, while its events go on.

In the manner of incremental snapshots (Andreakis and Papapanagiotou, "DBLog: A Watermark Based Change-Data-Capture
Framework", 2020; Debezium), chunk by chunk:

1. list a chunk of the archive's studies
2. write to the topic that each is to be looked up: that is the chunk's low watermark
3. the enricher reads them in the archive and writes what it found; the consumer applies it if nothing has happened to
   the study since the low watermark, and otherwise the study is looked up again: newer events win
4. when most of the chunk is settled, keep the position, and begin the next

So nothing of it is in this process's memory. One that is killed goes on at the chunk it was at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from threading import Event as Flag
from typing import Final

from consumers.archives.archive import Archive, Page, odd_answers_refused
from consumers.messages import look
from consumers.publish import Publisher
from state.debts import Debts
from state.positions import Positions
from state.studies import Studies

POSITION: Final = "crawl"
PAUSED: Final = "crawl:paused"  # is there while a crawl is to wait

_LOOK: Final = 0.2  # seconds between two looks at what is owed
_AHEAD: Final = 2  # chunks: more is not owed at any time


@dataclass(frozen=True, slots=True)
class CrawlPosition:
    """Where a crawl stands. ``following`` is the place in the archive's list at which the next chunk begins.

    ``following`` is None when all is listed. ``lost`` is how many messages had been lost when it began.
    """

    archive: str = ""
    following: str | None = ""
    listed: int = 0
    lost: int = 0
    finished: bool = False


class Crawl:
    """One repository's crawl. ``now`` gives the state server's clock, UTC microseconds."""

    def __init__(
        self,
        archive: Archive,
        debts: Debts,
        positions: Positions,
        now: Callable[[], int],
        chunk: int,
        progress: Callable[[CrawlPosition, int, bool], None],
    ) -> None:
        """``progress`` is told the position, how many studies wait to be looked up, and whether the crawl is paused."""
        self._archive = archive
        self._debts = debts
        self._positions = positions
        self._now = now
        self._chunk = chunk
        self._progress = progress

    def list_all(self, publisher: Publisher, position: CrawlPosition, stop: Flag) -> CrawlPosition:
        """List the archive from there on, until the end or until ``stop`` is set; the position then.

        Raises:
            ArchiveError, PublishError, StateError: go on later, at the position that is kept.
        """
        while position.following is not None and not stop.is_set():
            paused = self._positions.read(PAUSED) is not None
            begin = position.following or ""
            waiting = self._debts.count() - self._debts.count_given_up()
            self._progress(position, waiting, paused)
            if paused or waiting >= _AHEAD * self._chunk:
                stop.wait(_LOOK)
                continue
            page = self._page(begin)
            now = self._now()
            for uid in page.study_instance_uids:
                publisher.send(*look(uid, now))
            publisher.flush()
            position = replace(
                position,
                following=page.following,
                listed=position.listed + len(page.study_instance_uids),
            )
            self._positions.write(POSITION, asdict(position))
        return position

    def ask_for_absent(self, publisher: Publisher, studies: Studies, stop: Flag) -> tuple[int, int] | None:
        """Have those live studies looked up that the archive does not list; how many it lists, and how many they are.

        None if ``stop`` came first. All UIDs that it lists are kept in memory meanwhile. One that was stored after its
        place had passed is looked up too, and found.

        Raises:
            ArchiveError, PublishError, StateError: begin again.
        """
        listed: set[str] = set()
        following: str | None = ""
        while following is not None:
            if stop.is_set():
                return None
            page = self._page(following)
            listed.update(page.study_instance_uids)
            following = page.following
        asked = 0
        for shard in range(studies.shards):
            unlisted = [uid for uid in studies.updated(shard, None, None) if uid not in listed]
            for record, _ in studies.read(unlisted):
                if not record.is_removed:
                    publisher.send(*look(record.study_instance_uid, self._now()))
                    asked += 1
            if stop.is_set():
                return None
        publisher.flush()
        return len(listed), asked

    def _page(self, begin: str) -> Page:
        with odd_answers_refused():
            return self._archive.page(begin, self._chunk)

    def wait_until_settled(self, position: CrawlPosition, stop: Flag) -> int | None:
        """Wait until what is owed now was looked up once; how many were given up, None if ``stop`` came first.

        All looks must be applied by now. A study that is owed another look by then was settled in between.
        """
        owed = [debt.owed for debt in self._debts.unpaid()]
        while not stop.is_set():
            tokens = self._debts.tokens_of(owed)
            given_up = {debt.owed for debt in self._debts.given_up()}
            owed = [name for name in owed if name in tokens and name not in given_up]
            self._progress(position, len(owed), False)
            if not owed:
                return len(given_up)
            stop.wait(_LOOK)
        return None
