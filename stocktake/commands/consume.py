"""stocktake consume: follow repositories' events into the state."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Final

from stocktake.arguments import whole_number
from stocktake.caught_up import stop_when_caught_up
from stocktake.exits import Exit
from stocktake.members import announcing, consumers
from stocktake.roles import Roles, start_consumers
from stocktake.settings import Settings
from stocktake.signals import stop_on_signals
from stocktake.workers import run_workers

HELP: Final = "follow repositories' events into the state"
EXAMPLE: Final = "stocktake consume --workers 4\nstocktake consume --until-caught-up --repository main"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--until-caught-up",
        action="store_true",
        help="end when everything that the topics hold now is applied (default: go on until SIGTERM)",
    )
    parser.add_argument(
        "--workers",
        type=whole_number,
        default=1,
        metavar="N",
        help="processes that share the partitions; 1 is this process alone (default: %(default)s)",
    )


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    stop = stop_on_signals()
    names = settings.names(args.repository)
    with announcing(settings, consumers(names, args.workers)):
        roles = Roles(stop)
        if args.until_caught_up:
            roles.start("caught-up", partial(stop_when_caught_up, settings, names, stop))
        if args.workers == 1:
            start_consumers(roles, settings, names, stop)
        else:
            run_workers(settings, names, args.workers, stop)
        roles.join(settings.consumer.shutdown_timeout)
    return Exit.DONE
