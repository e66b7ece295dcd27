"""stocktake write: produce inventories on the interval, or one now."""

from __future__ import annotations

import argparse
from typing import Final

from stocktake.exits import Exit
from stocktake.producing import produce_once
from stocktake.settings import Settings
from stocktake.signals import stop_on_signals
from stocktake.wiring import open_producer, open_repository
from writers.service import WriterService

HELP: Final = "produce inventories on the interval, or one now"
EXAMPLE: Final = "stocktake write\nstocktake write --once > manifest.json"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--once", action="store_true", help="produce one and end (default: one each inventory.interval)"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="with --once: cut past the watermark; the inventory says PARTIAL (default: wait for the watermark)",
    )


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    if args.once:
        return produce_once(settings, args.repository, "next", force=args.force)
    stop = stop_on_signals()
    opened = open_repository(settings, args.repository)
    try:
        producer, lease = open_producer(settings, opened)
        WriterService(producer, lease, settings.inventory).run(stop)
    finally:
        opened.close()
    return Exit.DONE
