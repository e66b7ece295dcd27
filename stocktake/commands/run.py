"""stocktake run: consumer, writer, HTTP service and looks at the archives in one process."""

from __future__ import annotations

import argparse
import logging
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Event as Flag
from typing import Final

from stocktake.archives import enrich
from stocktake.embedded import EmbeddedServers
from stocktake.exits import CommandError, Exit
from stocktake.members import Member, announcing, consumers
from stocktake.roles import CONFIG, Roles, start_consumers, use_embedded, write
from stocktake.settings import Settings
from stocktake.signals import stop_on_signals
from stocktake.web.server import serve

log = logging.getLogger(__name__)

HELP: Final = "consumer, writer, HTTP service and looks at the archives in one process"
EXAMPLE: Final = "stocktake run\nstocktake run --embedded --data ./stocktake-data"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--embedded",
        action="store_true",
        help="also start Valkey and a Kafka-compatible broker that keeps events in memory (default: use the settings')",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("stocktake-data"),
        metavar="DIR",
        help="with --embedded: folder of their data, logs and the inventories (default: %(default)s)",
    )


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    stop = stop_on_signals()
    with ExitStack() as stack:
        if args.embedded:
            try:
                servers = stack.enter_context(EmbeddedServers.start(args.data))
            except OSError as error:
                raise CommandError(Exit.USAGE, f"--data {args.data} cannot be used: {error}") from error
            settings = use_embedded(settings, servers, args.data)
            where = f"Kafka at {servers.bootstrap_servers}, Valkey at {servers.redis_url}; events stay in memory."
            hint = f"In another terminal: stocktake publish FOLDER --config {args.data / CONFIG}"
            for line in (where, hint):
                if settings.log.format == "json":
                    log.info("%s", line)
                else:
                    sys.stderr.write(line + "\n")
        _run_roles(settings, args.repository, stop)
    return Exit.DONE


def _run_roles(settings: Settings, repository: str | None, stop: Flag) -> None:
    names = settings.names(repository)
    asked = [name for name in names if settings.archive(name) is not None]
    members = [Member("service"), *consumers(names, 1), *(Member("writer", name) for name in names)]
    members += (Member("enricher", name) for name in asked)
    with announcing(settings, members):
        roles = Roles(stop)
        roles.start("serve", partial(serve, settings, names, stop))
        start_consumers(roles, settings, names, stop)
        for name in names:
            roles.start(f"write-{name}", partial(write, settings, name, stop))
        for name in asked:
            roles.start(f"enrich-{name}", partial(enrich, settings, name, stop))
        roles.join(settings.consumer.shutdown_timeout)
