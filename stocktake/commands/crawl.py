"""stocktake crawl: look up every study that the archive has, while its events go on."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from contextlib import closing
from dataclasses import asdict, replace
from threading import Event as Flag
from typing import Final
from zoneinfo import ZoneInfo

import orjson

from consumers.archives.archive import ArchiveBusy, ArchiveError
from consumers.crawl import PAUSED, POSITION, Crawl, CrawlPosition
from consumers.errors import BrokerUnreachable
from consumers.publish import PublishError, ensure_topic
from state.errors import StateUnreachable
from state.positions import Positions
from stocktake.archives import archive_policy, open_archive, open_publisher
from stocktake.arguments import whole_number
from stocktake.caught_up import CaughtUp
from stocktake.exits import CommandError, Exit
from stocktake.progress import Progress
from stocktake.settings import Settings
from stocktake.signals import stop_on_signals
from stocktake.wiring import OpenRepository, open_repository

HELP: Final = "build the first state of an archive: look up every study that it has, while its events go on"
EXAMPLE: Final = """stocktake crawl
stocktake crawl --chunk 200
stocktake crawl --pause
stocktake crawl --go-on
stocktake crawl --absent"""

log = logging.getLogger(__name__)

_AGAIN: Final = 5.0  # seconds between two tries while a server is away
_LOOK: Final = 0.5
_SAY: Final = 60.0  # seconds between two lines of progress in the log
_UNHEARD: Final = 60.0  # seconds without progress after which it is asked whether anybody looks


def configure(parser: argparse.ArgumentParser) -> None:
    details = (
        "Needs `stocktake consume` and `stocktake enrich` to run (or `stocktake run`). A crawl that was ended goes on\n"
        "where it was when it is started again. When it is finished, the chain's beginning may be open."
    )
    parser.epilog = f"{details}\n\n{parser.epilog}"
    parser.add_argument(
        "--chunk", type=whole_number, default=500, metavar="N", help="studies listed at a time (default: %(default)s)"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--pause", action="store_true", help="let a crawl that runs wait, and end (default: crawl)")
    what.add_argument("--go-on", action="store_true", help="let a crawl that waits go on, and end (default: crawl)")
    what.add_argument(
        "--absent",
        action="store_true",
        help="have studies looked up that the state has and the archive does not list, and end (default: crawl)",
    )
    what.add_argument("--anew", action="store_true", help="begin anew (default: go on with one that was not finished)")


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    """Print one JSON summary on stdout. Exit code 1: some studies could not be looked up."""
    policy = archive_policy(settings, settings.repository(args.repository).name)
    with closing(open_repository(settings, policy.name)) as opened:
        positions = Positions(opened.connection, policy.name)
        if args.pause or args.go_on:
            return _pause(positions, paused=args.pause)
        zone = ZoneInfo(opened.policy.timezone)
        with closing(open_archive(policy, zone)) as archive, Progress("studies listed") as progress:
            crawl = Crawl(
                archive,
                opened.debts,
                positions,
                opened.connection.now,
                args.chunk,
                _Told(progress).tell,
            )
            if args.absent:
                return _absent(settings, opened, crawl)
            _begin(opened, positions, policy.url, anew=args.anew)
            return _run(settings, opened, crawl, positions)


class _Told:
    """How far it is: on a terminal all the time, in the log each minute; and that nobody does the work."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._said_at = time.monotonic()
        self._moved_at = self._said_at
        self._waiting = 0

    def tell(self, position: CrawlPosition, waiting: int, paused: bool) -> None:
        """So many studies wait to be looked up."""
        now = time.monotonic()
        self._progress.at(position.listed - min(waiting, position.listed))
        if waiting != self._waiting or not waiting or paused:
            self._waiting, self._moved_at = waiting, now
        if now - self._said_at < _SAY:
            return
        self._said_at = now
        if paused:
            log.info("the crawl waits, until `stocktake crawl --go-on`")
        elif now - self._moved_at >= _UNHEARD:
            log.warning(
                "%d studies wait to be looked up, and nothing happens: are `stocktake enrich` and `consume` running?",
                waiting,
            )
        else:
            log.info("%d studies listed, %d of them wait to be looked up", position.listed, waiting)


def _absent(settings: Settings, opened: OpenRepository, crawl: Crawl) -> Exit:
    stop = stop_on_signals()
    try:
        with open_publisher(settings, opened) as publisher:
            found = crawl.ask_for_absent(publisher, opened.studies, stop)
    except (ArchiveBusy, PublishError) as error:
        raise CommandError(Exit.UNREACHABLE, str(error)) from error
    if found is None:
        return Exit.INTERRUPTED
    summary = {"repository": opened.policy.name, "listed": found[0], "not_listed": found[1]}
    sys.stdout.write(orjson.dumps(summary).decode() + "\n")
    return Exit.DONE


def _pause(positions: Positions, *, paused: bool) -> Exit:
    found = positions.read(POSITION)
    if found is None or found["finished"]:
        raise CommandError(Exit.USAGE, "no crawl is under way")
    if paused:
        positions.write(PAUSED, {})
    else:
        positions.forget(PAUSED)
    return Exit.DONE


def _begin(opened: OpenRepository, positions: Positions, url: str, *, anew: bool) -> None:
    """Keep the position of a new crawl, or that of one that was not finished; neither is paused any more."""
    found = positions.read(POSITION)
    known = None if found is None else CrawlPosition(**found)
    if known is not None and not known.finished and not anew:
        if known.archive != url:
            raise CommandError(
                Exit.USAGE, f"a crawl of {known.archive} is not finished, and the archive is {url} now; use --anew"
            )
        log.info("going on with a crawl that has listed %d studies", known.listed)
        positions.forget(PAUSED)
        return
    lost = opened.repository.counters().get("messages_lost", 0)
    position = CrawlPosition(url, lost=lost)
    positions.forget(PAUSED)
    positions.write(POSITION, asdict(position))


def _run(settings: Settings, opened: OpenRepository, crawl: Crawl, positions: Positions) -> Exit:
    stop = stop_on_signals()
    try:
        ensure_topic(settings.kafka, opened.policy.topics[0])
    except PublishError as error:
        raise CommandError(Exit.UNREACHABLE, str(error)) from error
    given_up, said = None, ""
    while given_up is None and not stop.is_set():
        try:
            given_up = _go_on(settings, opened, crawl, positions, stop)
        except (ArchiveBusy, PublishError, BrokerUnreachable, StateUnreachable) as error:
            if str(error) != said:
                log.warning("%s; the crawl waits", error)
                said = str(error)
            pause = error.retry_after if isinstance(error, ArchiveBusy) else None
            stop.wait(max(_AGAIN, pause or 0.0))
        except ArchiveError as error:
            raise CommandError(Exit.BAD_INPUT, str(error)) from error
    if given_up is None:
        sys.stderr.write("ended before the end; start it again to go on\n")
        return Exit.INTERRUPTED
    return _end(opened, positions, given_up)


def _go_on(settings: Settings, opened: OpenRepository, crawl: Crawl, positions: Positions, stop: Flag) -> int | None:
    """Go on at the position that is kept; how many were given up at the end, None if ``stop`` came first."""
    position = CrawlPosition(**(positions.read(POSITION) or {}))
    if position.following is not None:
        with open_publisher(settings, opened) as publisher:
            position = crawl.list_all(publisher, position, stop)
    if stop.is_set():
        return None
    # The looks of the last chunk have to be debts before it can be told that those are paid.
    with closing(CaughtUp(settings, [opened.policy.name])) as caught_up:
        while not caught_up():
            if stop.wait(_LOOK):
                return None
    return crawl.wait_until_settled(position, stop)


def _end(opened: OpenRepository, positions: Positions, given_up: int) -> Exit:
    position = CrawlPosition(**(positions.read(POSITION) or {}))
    whole = not given_up and opened.repository.counters().get("messages_lost", 0) == position.lost
    positions.write(POSITION, asdict(replace(position, finished=True)))
    if whole:
        opened.repository.set_whole()
    summary = {"repository": opened.policy.name, "listed": position.listed, "given_up": given_up, "whole": whole}
    sys.stdout.write(orjson.dumps(summary).decode() + "\n")
    return Exit.DONE if whole else Exit.FAULTS
