"""What the commands that produce one inventory share: the lease, one production, the manifest on stdout."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any, Final

import orjson

from state.chain import Lease
from state.requests import Kind
from stocktake.arguments import duration
from stocktake.asking import ask_for
from stocktake.exits import CommandError, Exit
from stocktake.memory import prepare_memory
from stocktake.progress import Progress
from stocktake.settings import Settings
from stocktake.wiring import open_producer, open_repository
from writers.moment import NoWatermark
from writers.produce import LostWrites
from writers.runs import ProcessDied

_AGAIN: Final = 0.5


def add_force(parser: argparse.ArgumentParser) -> None:
    """The option ``--force`` of a command that produces an inventory in the chain."""
    parser.add_argument(
        "--force",
        action="store_true",
        help="cut the chain past the watermark; the inventory says PARTIAL (default: wait for the watermark)",
    )


def add_ask(parser: argparse.ArgumentParser) -> None:
    """The options ``--ask`` and ``--timeout`` of a command that can also have the writer that leads produce it."""
    parser.add_argument(
        "--ask",
        action="store_true",
        help="have the writer that leads produce it, and wait for that (default: produce it here, with its lease)",
    )
    parser.add_argument(
        "--timeout",
        type=duration,
        metavar="TIME",
        help="with --ask: how long to wait, such as 10m; the request stays after that (default: as long as it takes)",
    )


def produce_or_ask(args: argparse.Namespace, settings: Settings, kind: Kind) -> Exit:
    """Produce one inventory now, or with ``--ask`` have it produced, and print its manifest as JSON on stdout."""
    if not args.ask:
        if args.timeout is not None:
            raise CommandError(Exit.USAGE, "--timeout goes with --ask")
        return produce_once(settings, args.repository, kind, force=args.force)
    if args.force:
        raise CommandError(Exit.USAGE, "--force cuts past the watermark, which the writer never does: not with --ask")
    print_manifest(ask_for(settings, args.repository, kind, args.timeout))
    return Exit.DONE


def produce_once(settings: Settings, repository: str | None, kind: Kind, *, force: bool) -> Exit:
    """Produce one inventory now and print its manifest as JSON on stdout."""
    prepare_memory()
    opened = open_repository(settings, repository)
    try:
        with Progress("records") as progress:
            producer, lease = open_producer(settings, opened, progress.at)
            take_lease(lease, settings.inventory.lease)
            try:
                manifest = producer.produce(kind, force=force)
            except (NoWatermark, LostWrites) as error:
                raise CommandError(
                    Exit.FAULTS, f"{error}. Run `stocktake consume`, or use --force for a PARTIAL inventory"
                ) from error
            except ProcessDied as error:
                raise CommandError(Exit.FAULTS, str(error)) from error
            finally:
                lease.release()
    finally:
        opened.close()
    print_manifest(manifest.to_json())
    return Exit.DONE


def print_manifest(manifest: dict[str, Any]) -> None:
    """The manifest as one JSON object on stdout."""
    sys.stdout.buffer.write(orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    sys.stdout.flush()


def take_lease(lease: Lease, patience: float) -> None:
    """Take the lease; another writer's may take its full time to expire.

    Raises:
        CommandError: another writer holds it for longer than ``patience`` seconds.
    """
    deadline = time.monotonic() + patience + 1
    while not lease.take():
        if time.monotonic() > deadline:
            raise CommandError(
                Exit.FAULTS,
                f"another writer of repository {lease.repository} is at work; stop it, or have it produce with --ask",
            )
        time.sleep(_AGAIN)
