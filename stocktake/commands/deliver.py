"""stocktake deliver: bring the sinks what they do not have yet, now."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from functools import partial
from threading import Event as Flag
from threading import Thread
from time import monotonic
from typing import Final

from state.chain import Lease
from state.deliveries import Deliveries
from state.errors import StateError
from stocktake.exits import CommandError, Exit
from stocktake.producing import take_lease
from stocktake.setting_values import duration
from stocktake.settings import Settings
from stocktake.signals import stop_on_signals
from stocktake.sinks import deliveries
from stocktake.wiring import open_repository
from writers.delivery import Delivery
from writers.files import FolderUnusable
from writers.sinks.sink import SinkError, SinkUnreachable

log = logging.getLogger(__name__)

HELP: Final = "deliver to the sinks what they do not have yet, and end"
EXAMPLE: Final = """stocktake deliver
stocktake deliver --sink vna --wait 10m
stocktake deliver --sink vna --again"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sink", metavar="NAME", help="only this sink (default: all that the repository has)")
    parser.add_argument(
        "--again",
        action="store_true",
        help="all that the head reaches, also what the sink has, for one that lost its data (default: the rest)",
    )
    parser.add_argument(
        "--wait",
        type=_duration,
        default="60s",
        metavar="TIME",
        help="how long a receiver that does not answer is tried again (default: %(default)s)",
    )


def _duration(text: str) -> float:
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; expected {error}") from None


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    stop = stop_on_signals()
    opened = open_repository(settings, args.repository)
    lease = Lease(opened.connection, opened.policy.name, settings.inventory.lease)
    try:
        some = [one for one in deliveries(settings, opened, lease, stop) if args.sink in (None, one.name)]
        if not some:
            named = f" called {args.sink}" if args.sink else ""
            raise CommandError(Exit.USAGE, f"repository {opened.policy.name} has no sink{named}; see sinks.<name>.url")
        take_lease(lease, settings.inventory.lease)
        try:
            if args.again:
                for one in some:
                    Deliveries(opened.connection, opened.policy.name).forget(one.name)
            failures = _deliver(some, lease, settings.inventory.lease, args.wait, stop)
        finally:
            lease.release()
    finally:
        opened.close()
    _tell(failures)
    return Exit.INTERRUPTED if stop.is_set() else Exit.DONE


def _deliver(
    some: Sequence[Delivery], lease: Lease, seconds: float, patience: float, stop: Flag
) -> list[SinkError | StateError | FolderUnusable]:
    """Deliver to all at once, while the lease is kept; what failed."""
    failures: list[SinkError | StateError | FolderUnusable] = []
    threads = [
        Thread(target=partial(_one, one, patience, stop, failures), name=f"deliver-{one.name}", daemon=True)
        for one in some
    ]
    for thread in threads:
        thread.start()
    while alive := [thread for thread in threads if thread.is_alive()]:
        alive[0].join(min(1.0, seconds / 4))
        lease.keep()
    return failures


def _one(
    delivery: Delivery, patience: float, stop: Flag, failures: list[SinkError | StateError | FolderUnusable]
) -> None:
    """Deliver to one sink; one that cannot be reached is tried again until ``patience`` seconds are over."""
    deadline = monotonic() + patience
    try:
        while not stop.is_set():
            try:
                log.info("sink %s has %d inventories more", delivery.name, delivery.deliver_owed())
            except SinkUnreachable as error:
                if (left := deadline - monotonic()) <= 0:
                    raise
                log.warning("%s; trying again", error)
                stop.wait(min(delivery.pause(), left))
            else:
                return
    except (SinkError, StateError, FolderUnusable) as error:
        failures.append(error)
    finally:
        delivery.close()


def _tell(failures: Sequence[Exception]) -> None:
    """One line with all that failed; the exit code of what a person has to mend wins over what may pass."""
    if failures:
        passing = all(isinstance(error, SinkUnreachable) for error in failures)
        raise CommandError(Exit.UNREACHABLE if passing else Exit.FAULTS, "; ".join(map(str, failures)))
