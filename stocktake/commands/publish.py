"""``stocktake publish``: DICOM files and NDJSON events onto a repository's topic."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from consumers.dicom_files import UnusableFile, find_files, store_event
from consumers.publish import (
    PARTITIONS,
    EventTooLarge,
    NoKey,
    Publisher,
    PublishError,
    ensure_topic,
    event_key,
    line_key,
)
from stocktake.arguments import whole_number
from stocktake.exits import CommandError, Exit
from stocktake.progress import Progress
from stocktake.settings import Settings

HELP: Final = "publish DICOM files or NDJSON events to a repository's topic"
EXAMPLE: Final = """stocktake publish study/ more.ndjson
stocktake simulate --studies 100 --seed 1 | stocktake publish -"""

_STDIN: Final = "-"
_LINES: Final = frozenset({".ndjson", ".jsonl"})


@dataclass(frozen=True, slots=True)
class _Message:
    where: str
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class _Unreadable:
    where: str
    reason: str


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="DICOM file, folder of such, *.ndjson or *.jsonl file of events, or - for NDJSON on stdin",
    )
    parser.add_argument("--topic", help="topic to publish to (default: the repository's first topic)")
    parser.add_argument(
        "--partitions",
        type=whole_number,
        default=PARTITIONS,
        metavar="N",
        help=f"partitions of the topic if it is made anew (default: {PARTITIONS})",
    )


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    """Publish what can be read: one JSON summary on stdout; what cannot be read, with the reason, on stderr."""
    topic = args.topic or settings.repository(args.repository).topics[0]
    unreadable = 0
    try:
        ensure_topic(settings.kafka, topic, args.partitions)
        with Progress("events published") as progress, Publisher(settings.kafka, topic, progress.at) as publisher:
            for found in _read(args.sources):
                if isinstance(found, _Message):
                    try:
                        publisher.send(found.key, found.value)
                        continue
                    except EventTooLarge as error:
                        found = _Unreadable(found.where, str(error))
                unreadable += 1
                print(f"{found.where}: {found.reason}", file=sys.stderr)
    except PublishError as error:
        raise CommandError(Exit.UNREACHABLE, str(error)) from error
    print(orjson.dumps({"published": publisher.sent, "unreadable": unreadable, "topic": topic}).decode())
    return Exit.BAD_INPUT if unreadable else Exit.DONE


def _read(sources: Iterable[str]) -> Iterator[_Message | _Unreadable]:
    for source in sources:
        if source == _STDIN:
            yield from _read_lines(_STDIN, sys.stdin.buffer)
        elif Path(source).suffix.lower() in _LINES and not Path(source).is_dir():
            try:
                with open(source, "rb") as lines:
                    yield from _read_lines(source, lines)
            except OSError as error:
                yield _Unreadable(source, f"cannot be read: {error.strerror or type(error).__name__}")
        else:
            yield from _read_files(Path(source))


def _read_lines(where: str, lines: Iterable[bytes]) -> Iterator[_Message | _Unreadable]:
    for number, line in enumerate(lines, start=1):
        value = line.strip()
        if not value:
            continue
        try:
            yield _Message(f"{where}:{number}", line_key(value), value)
        except NoKey as error:
            yield _Unreadable(f"{where}:{number}", str(error))


def _read_files(source: Path) -> Iterator[_Message | _Unreadable]:
    for path in find_files([source]):
        try:
            event = store_event(path)
        except UnusableFile as error:
            yield _Unreadable(str(path), error.reason)
        else:
            yield _Message(str(path), event_key(event), orjson.dumps(event))
