"""stocktake status: lag, watermark, backlog, head and sinks of each repository."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final
from zoneinfo import ZoneInfo

import orjson

from consumers.errors import BrokerUnreachable, ConsumerError
from consumers.policy import KafkaPolicy
from monitor.partitions import BrokerPartitions
from stocktake.broker_ends import broker_partitions
from stocktake.exits import Exit
from stocktake.settings import Settings
from stocktake.standing import standing
from stocktake.status_text import status_lines
from stocktake.wiring import open_repository

HELP: Final = "lag, watermark, backlog, head and sinks of each repository"
EXAMPLE: Final = "stocktake status\nstocktake status --json --repository main"

_PATIENCE: Final = 10.0  # seconds for a broker that does not answer: the state has most of what is asked


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object a line for each repository (default: for people)"
    )


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    broker = _Broker(settings.kafka)
    for number, name in enumerate(settings.names(args.repository)):
        opened = open_repository(settings, name)
        try:
            ends = broker.ends(opened.policy.topics)
            found = standing(settings, opened, ends)
        finally:
            opened.close()
        if args.json:
            json = found.to_json() | {"lag_unknown": broker.silence}
            sys.stdout.write(orjson.dumps(json).decode() + "\n")
        else:
            sys.stdout.writelines(_text(number, status_lines(found, broker.silence, ZoneInfo(opened.policy.timezone))))
        sys.stdout.flush()
    return Exit.DONE


def _text(number: int, lines: Iterator[str]) -> Iterator[str]:
    if number:
        yield "\n"
    for line in lines:
        yield line + "\n"


class _Broker:
    """Asked for each repository's topics; once it has not answered, it is left alone."""

    def __init__(self, kafka: KafkaPolicy) -> None:
        self._kafka = replace(kafka, timeout=min(_PATIENCE, kafka.timeout))
        self._away = False
        self.silence: str | None = None  # why the last question has no answer

    def ends(self, topics: Sequence[str]) -> BrokerPartitions | None:
        """Each partition's end, or None: then ``silence`` says why."""
        if self._away:
            return None
        try:
            found = broker_partitions(self._kafka, topics)
        except ConsumerError as error:
            self._away = isinstance(error, BrokerUnreachable)
            self.silence = str(error)
            return None
        self.silence = None
        return found
