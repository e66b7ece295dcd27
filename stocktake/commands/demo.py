"""stocktake demo: the whole story on this machine, with embedded servers and a simulated archive."""

from __future__ import annotations

import argparse
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Event as Flag
from typing import Final

from stocktake.arguments import whole_number
from stocktake.demo import DemoFailed, Stage, play, tell_where
from stocktake.demo_migration import TARGET, play_migration, with_target
from stocktake.embedded import EmbeddedServers
from stocktake.exits import CommandError, Exit
from stocktake.roles import Roles, consume, use_embedded
from stocktake.settings import Settings
from stocktake.wiring import open_producer, open_repository
from writers.moment import NoWatermark
from writers.produce import LostWrites

HELP: Final = "the whole story on this machine, with embedded servers and a simulated archive"
EXAMPLE: Final = "stocktake demo\nstocktake demo --studies 1000 --seed 7"

_MARK: Final = ".stocktake-demo"  # only a folder that holds it is ever emptied


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("stocktake-data/demo"),
        metavar="DIR",
        help="folder of its data; an earlier demo in it is replaced (default: %(default)s)",
    )
    parser.add_argument(
        "--studies",
        type=whole_number,
        default=150,
        metavar="N",
        help="studies of the simulated archive (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of its random numbers (default: %(default)s)")


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    # The story is on stdout; what the roles log as they go would only interrupt it.
    logging.getLogger().setLevel(max(logging.getLogger().level, logging.WARNING))
    begun = time.monotonic()
    _empty(args.data)
    with EmbeddedServers.start(args.data) as servers:
        repository = settings.repository(args.repository).name
        settings = use_embedded(with_target(settings, repository), servers, args.data)
        print(f"Kafka-compatible broker at {servers.bootstrap_servers}, Valkey at {servers.redis_url}")
        print(f"Everything is kept in {args.data}")
        _play(settings, repository, args.studies, args.seed)
    print(f"\n{time.monotonic() - begun:.0f} seconds; the servers are stopped again.")
    return Exit.DONE


def _play(settings: Settings, repository: str, studies: int, seed: int) -> None:
    stop = Flag()
    roles = Roles(stop)
    with ExitStack() as stack:
        stack.callback(roles.join)
        stack.callback(stop.set)
        try:
            source, target = (stack.enter_context(_stage(settings, name, roles, stop)) for name in (repository, TARGET))
            play(source, studies, seed)
            play_migration(source, target, list(source.told))
            tell_where(source)
        except (DemoFailed, NoWatermark, LostWrites) as error:
            raise CommandError(Exit.FAULTS, str(error)) from error


@contextmanager
def _stage(settings: Settings, repository: str, roles: Roles, stop: Flag) -> Iterator[Stage]:
    """One repository with its consumer, and a producer that holds the lease."""
    opened = open_repository(settings, repository)
    try:
        roles.start(f"consume-{repository}", partial(consume, settings, repository, stop))
        producer, lease = open_producer(settings, opened)
        lease.take()
        yield Stage(settings, opened, producer, lease, roles.failed)
        lease.release()
    finally:
        opened.close()


def _empty(folder: Path) -> None:
    """Make the folder new, if it is missing, empty or an earlier demo's."""
    mark = folder / _MARK
    if folder.is_dir() and any(folder.iterdir()):
        if not mark.exists():
            raise CommandError(Exit.USAGE, f"--data {folder} holds something that is no demo; name another folder")
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError as error:
        raise CommandError(Exit.USAGE, f"--data {folder} cannot be written: {error.strerror}") from error
