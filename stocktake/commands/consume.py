"""stocktake consume: follow a repository's events into the state."""

from __future__ import annotations

import argparse
from typing import Final

from stocktake.exits import Exit
from stocktake.settings import Settings
from stocktake.signals import stop_on_signals
from stocktake.wiring import open_consumer, open_repository

HELP: Final = "follow a repository's events into the state"
EXAMPLE: Final = "stocktake consume\nstocktake consume --until-caught-up --repository main"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--until-caught-up",
        action="store_true",
        help="end when everything that the topics hold now is applied (default: go on until SIGTERM)",
    )


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    stop = stop_on_signals()
    opened = open_repository(settings, args.repository)
    try:
        following = open_consumer(settings, opened)
        try:
            following.consumer.run(stop, until_caught_up=args.until_caught_up)
        finally:
            following.close(settings.consumer.shutdown_timeout / 2)
    finally:
        opened.close()
    return Exit.DONE
