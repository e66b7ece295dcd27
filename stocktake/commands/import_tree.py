"""``stocktake import``: an Inventory tree loaded into the state (design, section 6)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import orjson

from consumers.clock import StopFlag
from state.chain import Chain
from state.errors import StateUnreachable
from stocktake.exits import CommandError, Exit
from stocktake.importing import ImportCounts, Importer, ImportRefused, examine
from stocktake.memory import spare_the_collector
from stocktake.progress import Progress
from stocktake.reading import add_search, bad_input
from stocktake.settings import Settings
from stocktake.signals import stopping_on_signals
from stocktake.wiring import open_repository
from writers.tree import load_tree

HELP: Final = "load an Inventory and all it incorporates into the state"
EXAMPLE: Final = "stocktake import archive/head.dcm\nstocktake import inventories/main --repository copy"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="an Inventory, or a folder: its head")
    parser.add_argument(
        "--partial",
        action="store_true",
        help="import a tree whose Inventory Completion Status is not COMPLETE (default: refuse it)",
    )
    add_search(parser)


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    zone = ZoneInfo(settings.repository(args.repository).timezone)
    spare_the_collector()
    with stopping_on_signals() as stop, Progress("records read") as progress:
        step = _steps(progress, stop)
        try:
            with bad_input():
                tree = load_tree(args.path, args.search, zone)
                source = examine(tree, settings.inventory.level, zone, partial=args.partial, progress=step)
        except ImportRefused as error:
            raise CommandError(Exit.BAD_INPUT, str(error)) from None
        except _Stopped:
            raise _interrupted(ImportCounts()) from None
        # Each record is read twice from here on; those of the root have been read once before.
        progress.expect(progress.count + 2 * source.records)
        opened = open_repository(settings, args.repository)
        try:
            importer = Importer(opened.studies, opened.patients, settings.inventory.level)
            with _ended_early(importer.counts), bad_input():
                nothing_left_out = importer.run(source, step)
            Chain(opened.connection, opened.policy.name).set_imported(source.tree.root.sop_instance_uid)
            if source.whole and nothing_left_out:
                opened.repository.set_whole()
        finally:
            opened.close()
    sys.stdout.buffer.write(orjson.dumps(importer.counts.to_json(), option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.flush()
    return Exit.DONE if nothing_left_out else Exit.FAULTS


class _Stopped(Exception):
    """SIGTERM or Ctrl-C has asked the import to end."""


def _steps(progress: Progress, stop: StopFlag) -> Callable[[], None]:
    """One more record each time it is called; here an import that is to end does."""

    def step() -> None:
        if stop.is_set():
            raise _Stopped
        progress.at(progress.count + 1)

    return step


@contextmanager
def _ended_early(counts: ImportCounts) -> Iterator[None]:
    """Say of an import that ends early what was written."""
    try:
        yield
    except CommandError as error:
        raise CommandError(error.code, f"{error}. {_so_far(counts)}") from None
    except StateUnreachable as error:
        raise CommandError(Exit.UNREACHABLE, f"{error}. {_so_far(counts)}") from error
    except _Stopped:
        raise _interrupted(counts) from None


def _interrupted(counts: ImportCounts) -> CommandError:
    return CommandError(Exit.INTERRUPTED, f"interrupted. {_so_far(counts)}")


def _so_far(counts: ImportCounts) -> str:
    return f"{counts.imported} studies were written; importing the tree again goes on from there"
