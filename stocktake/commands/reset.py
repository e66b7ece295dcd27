"""stocktake reset: have events read and applied again, on purpose."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import orjson

from consumers.topics import offsets_before
from state.times import parse_time
from stocktake.broker_ends import broker_partitions
from stocktake.exits import CommandError, Exit
from stocktake.settings import Settings
from stocktake.wiring import OpenRepository, open_repository

HELP: Final = "have events read and applied again, on purpose"
EXAMPLE: Final = "stocktake reset --to earliest\nstocktake reset --to 2026-11-20T00:00:00Z --yes"

_EARLIEST: Final = "earliest"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--to",
        required=True,
        metavar="TIME",
        help='"earliest", or the timestamp of the first record to apply again, ISO 8601 (no default)',
    )
    parser.add_argument(
        "--yes",
        action="store_true",
        help="do it without asking (default: ask on a terminal, and do nothing where nobody can be asked)",
    )


@dataclass(frozen=True, slots=True)
class Again:
    """One partition: messages from ``next_offset`` to ``applied_offset``, as many as Kafka holds, come once more."""

    topic: str
    partition: int
    field: str
    applied_offset: int
    next_offset: int
    messages: int

    def to_json(self) -> dict[str, Any]:
        return {
            "topic": self.topic,
            "partition": self.partition,
            "applied_offset": self.applied_offset,
            "next_offset": self.next_offset,
            "messages": self.messages,
        }


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    """Lower the shards' offsets. A running consumer notices and goes back by itself; the state is not emptied."""
    policy = settings.repository(args.repository)
    try:
        time = None if args.to == _EARLIEST else parse_time(args.to, ZoneInfo(policy.timezone))
    except ValueError as error:
        raise CommandError(Exit.USAGE, f'--to is neither "{_EARLIEST}" nor a time: {error}') from None
    opened = open_repository(settings, args.repository)
    try:
        plan = _plan(settings, opened, time)
        messages = sum(one.messages for one in plan)
        _tell(policy.name, plan, messages)
        if messages and not args.yes:
            _ask()
        lowered = sum(opened.studies.lower_offsets(one.field, one.next_offset - 1) for one in plan if one.messages)
    finally:
        opened.close()
    summary = {
        "repository": policy.name,
        "messages": messages,
        "shards_lowered": lowered,
        "partitions": [one.to_json() for one in plan],
    }
    sys.stdout.write(orjson.dumps(summary).decode() + "\n")
    return Exit.DONE


def _plan(settings: Settings, opened: OpenRepository, time: int | None) -> list[Again]:
    """What would be applied again, by partition in the order of their names; ``time`` None: all that Kafka holds."""
    ends = broker_partitions(settings.kafka, opened.policy.topics)
    wanted = offsets_before(settings.kafka, opened.policy.topics, time)
    plan = []
    for field, end in sorted(ends.items(), key=lambda item: (item[1].topic, item[1].partition)):
        # A shard may be a moment ahead of the others: what the foremost has applied is applied.
        applied = max(opened.studies.offsets(field))
        messages = max(0, min(applied, end.last_offset) - wanted[field])
        plan.append(Again(end.topic, end.partition, field, applied, wanted[field] + 1, messages))
    return plan


def _tell(repository: str, plan: Sequence[Again], messages: int) -> None:
    """Say on stderr what is about to happen."""
    if not messages:
        sys.stderr.write(f"repository {repository}: nothing from there on has been applied yet; nothing to do\n")
        return
    lines = [f"repository {repository}: {messages:,} messages are read and applied again:"]
    lines += [
        f"  {one.messages:>15,} from offset {one.next_offset:,} of {one.topic}/{one.partition}"
        for one in plan
        if one.messages
    ]
    lines += [
        "The state is not emptied. Running consumers go back within seconds; until they are",
        "where they were, no inventory is written.",
    ]
    sys.stderr.write("\n".join(lines) + "\n")


def _ask() -> None:
    """Go on only if whoever sits at the terminal says so.

    Raises:
        CommandError: nobody can be asked, or the answer is not yes.
    """
    if not sys.stdin.isatty():
        raise CommandError(Exit.USAGE, "nothing was changed; where nobody can be asked, say --yes")
    sys.stderr.write("Go on? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CommandError(Exit.INTERRUPTED, "nothing was changed")
