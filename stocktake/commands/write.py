"""stocktake write: produce inventories on the interval, or one now."""

from __future__ import annotations

import argparse
from typing import Final

from stocktake.exits import CommandError, Exit
from stocktake.members import Member, announcing
from stocktake.memory import prepare_memory
from stocktake.producing import add_force, produce_once
from stocktake.roles import write
from stocktake.settings import Settings
from stocktake.signals import stop_on_signals

HELP: Final = "produce inventories on the interval and deliver them to the sinks, or produce one now"
EXAMPLE: Final = "stocktake write\nstocktake write --once > manifest.json"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--once", action="store_true", help="produce one and end (default: one each inventory.interval)"
    )
    add_force(parser)


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    if args.once:
        return produce_once(settings, args.repository, "next", force=args.force)
    if args.force:
        raise CommandError(Exit.USAGE, "--force goes with --once")
    stop = stop_on_signals()
    name = settings.repository(args.repository).name
    with announcing(settings, [Member("writer", name)]):
        prepare_memory()
        write(settings, name, stop)
    return Exit.DONE
