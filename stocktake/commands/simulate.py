"""``stocktake simulate``: a plausible archive's events as NDJSON."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Final

import orjson

from consumers.simulate import MAX_INSTANCES, START, simulate
from state.times import parse_time, to_iso
from stocktake.arguments import whole_number
from stocktake.exits import Exit
from stocktake.progress import Progress
from stocktake.settings import Settings

HELP: Final = "print a plausible archive's events as NDJSON, the same for the same arguments"
EXAMPLE: Final = "stocktake simulate --studies 100 --seed 1 > events.ndjson"

_STUDIES: Final = 100
_SEED: Final = 1


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--studies", type=whole_number, default=_STUDIES, metavar="N", help=f"studies received (default: {_STUDIES})"
    )
    parser.add_argument(
        "--seed", type=int, default=_SEED, metavar="S", help=f"of the random numbers (default: {_SEED})"
    )
    parser.add_argument(
        "--start",
        type=_moment,
        default=START,
        metavar="DT",
        help=f"the archive's first moment, ISO 8601 or DICOM DT (default: {to_iso(START)})",
    )
    parser.add_argument(
        "--max-instances",
        type=whole_number,
        default=MAX_INSTANCES,
        metavar="N",
        help=f"instances of one study at most (default: {MAX_INSTANCES})",
    )


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    """Print the events, one JSON object a line; a reader that stops reading ends it without an error."""
    try:
        _print_events(args)
    except BrokenPipeError:
        # Whatever is still buffered has no reader: without this the interpreter would fail on it when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.DONE


def _print_events(args: argparse.Namespace) -> None:
    to_terminal = sys.stdout.isatty()  # then the events themselves are to be seen
    out = sys.stdout.buffer
    events = simulate(args.studies, args.seed, start=args.start, max_instances=args.max_instances)
    with Progress("events") as progress:
        for count, event in enumerate(events, start=1):
            out.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
            if not to_terminal:
                progress.at(count)
    out.flush()


def _moment(text: str) -> int:
    try:
        return parse_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
