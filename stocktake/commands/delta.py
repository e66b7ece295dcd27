"""stocktake delta: the chain's next delta, or with a range a stand-alone one outside the chain."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import orjson

from state.times import parse_time
from stocktake.exits import CommandError, Exit
from stocktake.producing import add_ask, add_force, produce_or_ask
from stocktake.progress import Progress
from stocktake.settings import Settings
from stocktake.wiring import SOFTWARE, open_repository
from writers.standalone import Range, write_standalone

HELP: Final = "produce the chain's next delta now, or with --from or --to a stand-alone one"
EXAMPLE: Final = (
    "stocktake delta\n"
    "stocktake delta --ask --timeout 5m\n"
    "stocktake delta --from 2026-11-01T00:00:00Z --to 2026-11-30T23:59:59.999999Z --output november.dcm"
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from", dest="begin", metavar="DT", help="first Study Update DateTime, inclusive (default: open)"
    )
    parser.add_argument("--to", dest="end", metavar="DT", help="last Study Update DateTime, inclusive (default: open)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="file of a stand-alone delta (default: none)")
    add_force(parser)
    add_ask(parser)


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    if args.begin is None and args.end is None and args.output is None:
        return produce_or_ask(args, settings, "next")
    if args.ask:
        raise CommandError(Exit.USAGE, "--ask is for the chain: a stand-alone delta needs no writer")
    if args.output is None or (args.begin is None and args.end is None):
        raise CommandError(Exit.USAGE, "a stand-alone delta needs --output and at least one of --from and --to")
    opened = open_repository(settings, args.repository)
    try:
        zone = ZoneInfo(opened.policy.timezone)
        wanted = Range(_moment("--from", args.begin, zone), _moment("--to", args.end, zone))
        if wanted.begin is not None and wanted.end is not None and wanted.begin > wanted.end:
            raise CommandError(Exit.USAGE, "--from lies after --to")
        watermark = opened.repository.watermark()
        if watermark.time is None:
            raise CommandError(
                Exit.FAULTS, f"no watermark: {', '.join(watermark.missing)}. Run `stocktake consume` first"
            )
        with Progress("records") as progress:
            try:
                written, records = write_standalone(
                    opened.studies, wanted, watermark.time, args.output, settings.inventory, zone, SOFTWARE, progress.at
                )
            except OSError as error:
                raise CommandError(
                    Exit.USAGE, f"--output {args.output} cannot be written: {error.strerror}; name a writable file"
                ) from error
    finally:
        opened.close()
    summary = {"file": str(args.output), "records": records.own, "bytes": written.bytes, "sha256": written.sha256}
    sys.stdout.write(orjson.dumps(summary).decode() + "\n")
    return Exit.DONE


def _moment(option: str, text: str | None, zone: ZoneInfo) -> int | None:
    if text is None:
        return None
    try:
        return parse_time(text, zone)
    except ValueError as error:
        raise CommandError(Exit.USAGE, f"{option}: {error}") from None
