"""stocktake reset: have events read and applied again, on purpose."""

from __future__ import annotations

import argparse
import sys
from typing import Final
from zoneinfo import ZoneInfo

import orjson

from consumers.topics import offsets_before
from state.times import parse_time
from stocktake.exits import CommandError, Exit
from stocktake.settings import Settings
from stocktake.wiring import open_repository

HELP: Final = "have events read and applied again, on purpose"
EXAMPLE: Final = "stocktake reset --to earliest\nstocktake reset --to 2026-11-20T00:00:00Z"

_EARLIEST: Final = "earliest"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--to",
        required=True,
        metavar="TIME",
        help='"earliest", or the timestamp of the first record to apply again, ISO 8601 (no default)',
    )


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    """Lower the shards' offsets. A running consumer notices and goes back by itself; the state is not emptied."""
    policy = settings.repository(args.repository)
    try:
        time = None if args.to == _EARLIEST else parse_time(args.to, ZoneInfo(policy.timezone))
    except ValueError as error:
        raise CommandError(Exit.USAGE, f'--to is neither "{_EARLIEST}" nor a time: {error}') from None
    opened = open_repository(settings, args.repository)
    try:
        wanted = offsets_before(settings.kafka, policy.topics, time)
        lowered = sum(opened.studies.lower_offsets(partition, last) for partition, last in wanted.items())
    finally:
        opened.close()
    summary = {"repository": policy.name, "next_offsets": {name: last + 1 for name, last in wanted.items()}}
    sys.stdout.write(orjson.dumps(summary | {"shards_lowered": lowered}).decode() + "\n")
    return Exit.DONE
