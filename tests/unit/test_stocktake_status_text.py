"""The status for people: 80 columns, thousands separators, times with their zone, reasons in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Final
from zoneinfo import ZoneInfo

import pytest

from monitor.partitions import Hold, PartitionStatus
from monitor.sinks import SinkStatus
from monitor.status import Status, VerifiedStatus
from monitor.words import duration
from state.memory import Memory
from stocktake.status_text import status_lines

PARTITIONS: Final = tuple(
    PartitionStatus("pacs.events", number, 1_000_000 - number * 1000, 1_000_000, number * 1000, None, None, None, None)
    for number in range(20)
)
TROUBLE: Final = "sinks.vna: ARCHIVE at pacs.example.org:11112: no association; is it running?"
STATUS: Final = Status(
    repository="main",
    studies=12_345_678,
    backlog=4321,
    oldest_debt=3,
    lag=190_000,
    watermark="2026-07-01T10:00:00.123456+00:00",
    watermark_age=93_784.0,
    held_back_by=(
        Hold("pacs.events/3", "no consumer has published", "2026-07-01T09:59:00.000000+00:00", 7500.0),
        Hold("pacs.events/4", "no consumer has published how far it is"),
    ),
    stopped="101 of the latest 1000 messages were bad, the last at topic pacs.events partition 3 offset 12345 (no UID)",
    head={
        "sop_instance_uid": "2.25." + "9" * 39,
        "sequence": 1234,
        "kind": "rollup",
        "status": "COMPLETE",
        "watermark": "2026-07-01T09:00:00.000000+00:00",
        "own_records": 1_000_000,
        "total_records": 98_765_432,
        "file": f"2026/07/01/2.25.{'9' * 39}.dcm",
    },
    head_age=3661.0,
    partitions=PARTITIONS,
    sinks=(
        SinkStatus("vna", 1230, 4, 1230, 2460, 10**9, 7, TROUBLE, "2026-07-01T09:59:00.000000+00:00", 7500.0),
        SinkStatus("bucket", 1234, 0, 1234, 2468, 10**9, 0, None, None, None),
    ),
    counters={"events_store": 1_234_567_890_123, "values_emptied": 1},
)
BERLIN: Final = ZoneInfo("Europe/Berlin")


def text(status: Status, lag_unknown: str | None = None) -> str:
    return "\n".join(status_lines(status, lag_unknown, BERLIN))


def test_it_fits_a_terminal_of_80_columns() -> None:
    assert max(len(line) for line in text(STATUS).splitlines()) <= 80


def test_numbers_have_thousands_separators_and_times_their_zone() -> None:
    found = text(STATUS)
    for wanted in ("12,345,678", "4,321", "190,000", "1,234,567,890,123", "98,765,432", "3,000"):
        assert wanted in found
    assert "watermark    2026-07-01 12:00:00+02:00, 1 d 2 h ago" in found
    assert "of 2026-07-01 11:00:00+02:00, 1 h 1 min ago" in found


def test_what_holds_the_watermark_back_is_named_with_since_when_and_for_how_long() -> None:
    found = " ".join(text(STATUS).split())
    assert "pacs.events/3: no consumer has published since 2026-07-01 11:59:00+02:00, 2 h 5 min" in found
    assert "pacs.events/4: no consumer has published how far it is" in found


def test_of_many_partitions_the_worst_are_named() -> None:
    found = text(STATUS)
    assert "pacs.events/19: 19,000 (applied up to 981,000 of 1,000,000)" in found
    assert "pacs.events/12:" in found
    assert "pacs.events/11:" not in found
    assert "and 11 partitions more" in found


def test_a_lag_that_nobody_knows_says_why() -> None:
    found = " ".join(text(replace(STATUS, lag=None), "Kafka at 127.0.0.1:9092 cannot be reached").split())
    assert "lag not known: Kafka at 127.0.0.1:9092 cannot be reached" in found
    assert "studies 12,345,678" in found


def test_a_new_repository_has_neither_watermark_nor_head() -> None:
    new = replace(STATUS, watermark=None, watermark_age=None, head=None, head_age=None, stopped=None, counters={})
    found = text(new)
    assert "watermark    none" in found
    assert "head         none yet" in found
    assert "STOPPED" not in found


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (12, "12 s"),
        (60, "1 min"),
        (90, "1 min 30 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (86_400 + 59, "1 d"),
        (1000 * 86_400 + 3600, "1,000 d 1 h"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_parts(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_each_sink_is_told_with_what_it_lacks_and_why() -> None:
    found = " ".join(text(STATUS).split())
    assert "sink vna: 4 inventories behind; got 1,230 in 2,460 files" in found
    assert f"{TROUBLE}; since 2026-07-01 11:59:00+02:00, 2 h 5 min" in found
    assert "sink bucket: has all; got 1,234 in 2,468 files" in found


def test_the_writer_is_told_with_the_inventory_that_it_has_in_hand() -> None:
    assert "writer       nobody leads; no inventory is written" in text(STATUS)
    assert "writer       one leads\n" in text(replace(STATUS, led=True))
    assert "writer       one leads; an inventory was begun 1 min 5 s ago" in text(replace(STATUS, led=True, cut_age=65))


@pytest.mark.parametrize(
    ("findings", "is_head", "words"),
    [
        (0, True, "the head, 1 h ago: no errors"),
        (1, False, "an earlier head, 1 h ago: 1 error"),
        (1200, False, "an earlier head, 1 h ago: 1,200 errors"),
    ],
)
def test_what_was_verified_last_is_told(findings: int, is_head: bool, words: str) -> None:
    verified = VerifiedStatus("1.2.3", findings, "2026-07-01T10:00:00.000000+00:00", 3600, is_head)
    assert f"verified     {words}" in text(replace(STATUS, verified=verified))
    assert "verified     never" in text(STATUS)
    assert "verified" not in text(replace(STATUS, head=None, head_age=None))


def test_the_memory_of_redis_is_told_with_its_limit() -> None:
    assert "redis        900 MB used of 1,000 MB, 90%" in text(replace(STATUS, memory=Memory(9 * 10**8, 10**9)))
    assert "redis        900 MB used, no maxmemory" in text(replace(STATUS, memory=Memory(9 * 10**8, None)))
