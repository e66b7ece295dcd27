"""``stocktake import``: an Inventory tree loaded into the state (design, section 6)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import orjson

from state.errors import StateUnreachable
from stocktake.exits import CommandError, Exit
from stocktake.importing import Importer, ImportRefused, Source, examine
from stocktake.progress import Progress
from stocktake.reading import add_search, bad_input, steps
from stocktake.settings import Settings
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
    with Progress("records read") as progress:
        step = steps(progress)
        with bad_input():
            try:
                tree = load_tree(args.path, args.search, zone)
                source = examine(tree, settings.inventory.level, zone, partial=args.partial, progress=step)
            except ImportRefused as error:
                raise CommandError(Exit.BAD_INPUT, str(error)) from None
        opened = open_repository(settings, args.repository)
        try:
            importer = Importer(opened.studies, opened.patients, settings.inventory.level)
            nothing_left_out = _import(importer, source, step)
            if source.whole and nothing_left_out:
                opened.repository.set_whole()
        finally:
            opened.close()
    sys.stdout.buffer.write(orjson.dumps(importer.counts.to_json(), option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.flush()
    return Exit.DONE if nothing_left_out else Exit.FAULTS


def _import(importer: Importer, source: Source, step: Callable[[], None]) -> bool:
    """Import, and say of an import that ends early what was written."""
    try:
        with bad_input():
            return importer.run(source, step)
    except CommandError as error:
        raise CommandError(error.code, f"{error}. {_so_far(importer)}") from None
    except StateUnreachable as error:
        raise CommandError(Exit.UNREACHABLE, f"{error}. {_so_far(importer)}") from error
    except KeyboardInterrupt:
        raise CommandError(Exit.INTERRUPTED, f"interrupted. {_so_far(importer)}") from None


def _so_far(importer: Importer) -> str:
    return f"{importer.counts.imported} studies were written; importing the tree again goes on from there"
