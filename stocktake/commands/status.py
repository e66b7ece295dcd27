"""stocktake status: lag, watermark, backlog and head of a repository."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Final

import orjson

from consumers.topics import last_offsets
from monitor.status import Status, status
from state.chain import Chain
from stocktake.exits import Exit
from stocktake.settings import Settings
from stocktake.wiring import open_repository

HELP: Final = "lag, watermark, backlog and head of a repository"
EXAMPLE: Final = "stocktake status\nstocktake status --json"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object (default: lines for people)")


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    opened = open_repository(settings, args.repository)
    try:
        ends = last_offsets(settings.kafka, opened.policy.topics)
        chain = Chain(opened.connection, opened.policy.name)
        found = status(opened.repository, opened.studies, chain, ends, opened.connection.now())
    finally:
        opened.close()
    if args.json:
        sys.stdout.write(orjson.dumps(found.to_json(), option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        sys.stdout.writelines(line + "\n" for line in _lines(found))
    return Exit.DONE


def _lines(found: Status) -> Iterator[str]:
    yield f"repository   {found.repository}"
    if found.stopped is not None:
        yield f"STOPPED      {found.stopped}"
    yield f"studies      {found.studies:,}"
    yield f"backlog      {found.backlog:,} studies changed since they were inventoried"
    if found.lag is not None:
        yield f"lag          {found.lag:,} messages in {len(found.partitions)} partitions"
    for one in found.partitions:
        if one.lag:
            yield f"             {one.partition}: {one.lag:,} ({one.applied_offset} of {one.last_offset})"
    if found.watermark is None:
        yield f"watermark    none: {', '.join(found.held_back_by)}"
    else:
        yield f"watermark    {found.watermark} ({found.watermark_age:,.0f} s ago)"
    if found.head is None:
        yield "head         none yet"
    else:
        head = found.head
        yield f"head         {head['kind']} {head['sop_instance_uid']}, sequence {head['sequence']}, {head['status']}"
        yield f"             {head['own_records']:,} own records, {head['total_records']:,} with the tree"
        yield f"             {head['file']}"
    for name, count in found.counters.items():
        yield f"{name:<28} {count:,}"
