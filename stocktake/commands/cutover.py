"""stocktake cutover: how far a migration is, and whether it is safe to cut over."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import orjson

from monitor.cutover import Cutover
from monitor.report import json_parts, open_studies, report
from monitor.report_html import html_parts
from stocktake.comparing import compare_side
from stocktake.cutover import Heads, OpenCutover, look_with_heads, open_cutover
from stocktake.cutover_text import cutover_lines
from stocktake.exits import Exit
from stocktake.output import written_whole
from stocktake.progress import Progress
from stocktake.settings import Settings
from stocktake.wiring import SOFTWARE

HELP: Final = "how source and target of a migration compare, and whether the gate is met"
EXAMPLE: Final = """stocktake cutover
stocktake cutover --json
stocktake cutover --compare
stocktake cutover --report sign-off.html"""

_WRITERS: Final = (".html", ".json")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object (default: for people)")
    parser.add_argument(
        "--compare",
        action="store_true",
        help="first compare all that was not compared by the present rules (default: the consumers do so)",
    )
    parser.add_argument(
        "--report",
        type=_report_file,
        metavar="FILE",
        help="also write the sign-off report, by the end of the name as one HTML file or as JSON; it holds Study "
        "Instance UIDs, and no attribute of a patient (default: none)",
    )


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    opened = open_cutover(settings)
    try:
        if args.compare:
            _compare(settings, opened)
        found, heads = look_with_heads(settings, opened)
        if args.report is not None:
            _write_report(args.report, opened, found, heads)
    finally:
        opened.close()
    if args.json:
        sys.stdout.buffer.write(orjson.dumps(found.to_json(), option=orjson.OPT_APPEND_NEWLINE))
    else:
        zone = ZoneInfo(opened.sides[0].policy.timezone)
        sys.stdout.writelines(line + "\n" for line in cutover_lines(found, zone))
    sys.stdout.flush()
    return Exit.DONE if found.gate.met else Exit.FAULTS


def _report_file(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in _WRITERS:
        raise argparse.ArgumentTypeError(f"{text!r} ends neither with .html nor with .json")
    return path


def _write_report(path: Path, opened: OpenCutover, found: Cutover, heads: Heads) -> None:
    made = report(SOFTWARE, opened.sides[0].policy.timezone, found, heads)
    studies = open_studies(opened.pair, found.figures)
    with written_whole(path, "--report") as file:
        if path.suffix.lower() == ".json":
            file.writelines(json_parts(made, studies))
        else:
            file.writelines(part.encode() for part in html_parts(made, studies))


def _compare(settings: Settings, opened: OpenCutover) -> None:
    total = sum(side.studies.count() for side in opened.sides)
    done = 0
    with Progress("studies compared", total) as progress:

        def step(count: int) -> None:
            nonlocal done
            done += count
            progress.at(done)

        for side in opened.sides:
            compare_side(settings, side, step)
