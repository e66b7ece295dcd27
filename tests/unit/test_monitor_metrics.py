"""The metrics: what a Prometheus server reads out of them, and that every count of the consumers is among them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final, get_args

import pytest

from consumers.counts import CountName, LookCount
from monitor.exposition import Sample, exposition
from monitor.metrics import METRICS, Scrape, to_prometheus
from monitor.partitions import PartitionStatus
from monitor.policy import Pace
from monitor.sinks import SinkStatus
from monitor.status import Status, VerifiedStatus
from state.memory import Memory
from tests.prometheus_text import parse

PARTITION: Final = PartitionStatus(
    topic="pacs.events",
    partition=3,
    applied_offset=41,
    last_offset=51,
    lag=10,
    watermark="2026-11-21T10:00:00.000000+00:00",
    watermark_age=7.25,
    published="2026-11-21T10:00:05.000000+00:00",
    published_age=2.25,
)
STATUS: Final = Status(
    repository="main",
    studies=1_234_567,
    backlog=12,
    oldest_debt=1,
    lag=10,
    watermark="2026-11-21T10:00:00.000000+00:00",
    watermark_age=7.25,
    held_back_by=(),
    stopped=None,
    head={"sequence": 5},
    head_age=61.5,
    partitions=(PARTITION,),
    sinks=(SinkStatus("vna", 4, 1, 4, 6, 1_000_000, 2, "it is away", "2026-11-21T10:00:00.000000+00:00", 7.25),),
    counters={"events_store": 9_007_199_254_740_992, "apply_microseconds": 1_500_000, "of_another_version": 3},
    heartbeat_age=3.5,
    led=True,
    cut_since="2026-11-21T10:00:00.000000+00:00",
    cut_age=7.25,
    verified=VerifiedStatus("1.2.3", 2, "2026-11-21T10:00:00.000000+00:00", 7.25, is_head=False),
    memory=Memory(900, 1000),
    pace=Pace(interval=300, write_empty=True, max_out_of_order=5),
)
NOTHING: Final = Status(
    repository="new",
    studies=0,
    backlog=0,
    oldest_debt=None,
    lag=None,
    watermark=None,
    watermark_age=None,
    held_back_by=(),
    stopped="too many",
    head=None,
    head_age=None,
    partitions=(replace(PARTITION, last_offset=None, lag=None, watermark=None, watermark_age=None),),
    sinks=(SinkStatus("vna", 0, 0, 0, 0, 0, 0, None, None, None),),
    counters={},
    memory=Memory(900, None),
)


def test_every_metric_is_told_with_its_type_and_meaning() -> None:
    parsed = parse(to_prometheus(Scrape("1.2", [STATUS, NOTHING])))
    assert parsed.kinds == {metric.name: metric.kind for metric in METRICS}
    assert parsed.helps == {metric.name: metric.help for metric in METRICS}
    wanted = {metric.name: metric.labels for metric in METRICS}
    assert {name for name, _ in parsed.values} == wanted.keys()
    for name, found in parsed.values:
        assert tuple(label for label, _ in found) == wanted[name]


def test_values_are_those_of_the_status() -> None:
    values = parse(to_prometheus(Scrape("1.2", [STATUS]))).values
    main = (("repository", "main"),)
    partition = (*main, ("topic", "pacs.events"), ("partition", "3"))
    assert values["stocktake_studies", main] == 1_234_567
    assert values["stocktake_watermark_age_seconds", main] == 7.25
    assert values["stocktake_apply_seconds_total", main] == 1.5
    assert values["stocktake_head_sequence", main] == 5
    assert values["stocktake_stopped", main] == 0
    assert values["stocktake_state_up", main] == 1
    assert values["stocktake_build_info", (("version", "1.2"),)] == 1
    assert values["stocktake_writer_leads", main] == 1
    assert values["stocktake_cut_age_seconds", main] == 7.25
    assert values["stocktake_verified_findings", main] == 2
    assert values["stocktake_verified_head", main] == 0
    assert values["stocktake_inventory_interval_seconds", main] == 300
    assert values["stocktake_redis_memory_used_bytes", main] == 900
    assert values["stocktake_redis_memory_limit_bytes", main] == 1000
    assert values["stocktake_lag_messages", partition] == 10
    assert values["stocktake_partition_silent_seconds", partition] == 2.25
    assert values["stocktake_events_total", (*main, ("action", "store"))] == 9_007_199_254_740_992
    assert values["stocktake_events_total", (*main, ("action", "delete"))] == 0


def test_what_is_not_known_has_no_value_and_what_never_happened_has_0() -> None:
    values = parse(to_prometheus(Scrape("1.2", [NOTHING]))).values
    absent = {
        "stocktake_lag_messages",
        "stocktake_watermark_age_seconds",
        "stocktake_partition_watermark_age_seconds",
        "stocktake_oldest_debt_cuts",
        "stocktake_head_age_seconds",
        "stocktake_heartbeat_age_seconds",
        "stocktake_cut_age_seconds",
        "stocktake_verified_age_seconds",
        "stocktake_verified_findings",
        "stocktake_verified_head",
        "stocktake_inventory_interval_seconds",
        "stocktake_inventory_write_empty",
        "stocktake_max_out_of_order_seconds",
        "stocktake_redis_memory_limit_bytes",
    }
    assert {metric.name for metric in METRICS} - {name for name, _ in values} == absent
    new = (("repository", "new"),)
    assert values["stocktake_stopped", new] == 1
    assert values["stocktake_head_sequence", new] == 0
    assert values["stocktake_dead_letters_total", new] == 0


def test_of_a_repository_whose_state_is_away_only_that_is_told() -> None:
    values = parse(to_prometheus(Scrape("1.2", [STATUS], ["away", "gone"]))).values
    for name in ("away", "gone"):
        told = [key for key in values if ("repository", name) in key[1]]
        assert told == [("stocktake_state_up", (("repository", name),))]
        assert values[told[0]] == 0


@pytest.mark.parametrize("value", ['say "no"', "back\\slash", "two\nlines", "\\n", 'a",b="c', "Größe {1}"])
def test_a_label_may_hold_anything(value: str) -> None:
    lines = exposition("name", "gauge", "a\\b\nc", [Sample({"first": value, "second": ""}, 1)])
    parsed = parse("\n".join(lines) + "\n")
    assert parsed.values == {("name", (("first", value), ("second", ""))): 1}
    assert parsed.helps == {"name": "a\\b\nc"}


def test_large_whole_numbers_are_written_out() -> None:
    assert exposition("name", "counter", "text", [Sample({}, 10**18)])[-1] == "name 1000000000000000000"


def test_names_say_what_is_counted_and_in_which_unit() -> None:
    for metric in METRICS:
        assert re.fullmatch(r"stocktake_[a-z][a-z_]*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert ("_seconds" in metric.name) == (metric.unit == "seconds")
        assert ("_bytes" in metric.name) == (metric.unit == "bytes")
        assert metric.labels[0] == "repository" or metric.labels == ("version",)


def test_every_count_of_the_consumers_is_in_one_metric() -> None:
    read = [counter for metric in METRICS for counter in metric.counters]
    assert len(read) == len(set(read))
    assert {*get_args(CountName), *get_args(LookCount)} <= set(read)
