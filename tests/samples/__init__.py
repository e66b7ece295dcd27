"""Messages as archives send them, one file each in the folder of their product, made after what their makers document.

A file's content is the value of a Kafka record, and ``<stem>.headers`` beside it holds its headers, if it has any.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import orjson

from consumers.counts import Counts
from consumers.events import Told
from consumers.formats.native import NativeFormat
from consumers.formats.recognise import event_format
from consumers.intake import Format
from state.attributes import Level
from state.times import MICROSECONDS
from stocktake.settings import load

Headers: TypeAlias = "list[tuple[str, bytes | None]]"

NOW: Final = 1_800_000_000 * MICROSECONDS  # the Kafka records' timestamp, later than any time in a sample


@dataclass(frozen=True, slots=True)
class Sample:
    """A message of a product. ``name`` is ``<product>/<stem of its file>``."""

    name: str
    value: bytes
    headers: Headers

    @property
    def json(self) -> Any:
        """The value read anew, to be changed."""
        return orjson.loads(self.value)


@cache
def samples() -> dict[str, Sample]:
    """All samples by name."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*/*")):
        if path.suffix not in {".json", ".txt"}:
            continue
        beside = path.with_suffix(".headers")
        told: dict[str, str] = orjson.loads(beside.read_bytes()) if beside.exists() else {}
        name = f"{path.parent.name}/{path.stem}"
        found[name] = Sample(name, path.read_bytes().strip(), [(key, one.encode()) for key, one in told.items()])
    return found


def new_format(name: str, counts: Counts, kept: Level = Level.INSTANCE) -> Format:
    """A format that has seen nothing yet."""
    return event_format(name, NativeFormat(load(None, {}).consumer, UTC, counts, kept), counts)


def decoded(
    message: str | bytes, name: str = "auto", counts: Counts | None = None, headers: Headers | tuple[()] = ()
) -> list[Told]:
    """What a sample, or another message, comes to in a format that has seen nothing yet."""
    counted: Counts = Counter() if counts is None else counts
    if isinstance(message, str):
        sample = samples()[message]
        message, headers = sample.value, sample.headers
    return new_format(name, counted).decode(message, NOW, None, headers)
