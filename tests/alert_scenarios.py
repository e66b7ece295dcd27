"""What may happen to a deployment, and the alerts that must fire then, and no others."""

from __future__ import annotations

from typing import Final

from tests.alert_deployment import (
    END,
    HEALTHY,
    LABELS,
    MAIN,
    TARGET,
    Course,
    Scenario,
    always,
    grows,
    hidden,
    since,
    vanish,
)
from tests.alert_writers import ARCHIVES, WRITERS


def _another_instance(of: str, course: Course) -> dict[str, Course]:
    """The same series of a second instance of the service."""
    labels = TARGET.replace("10.0.0.1", "10.0.0.2")
    return {f"{of}{{{LABELS.get(of, MAIN)},{labels}}}" if of != "up" else f"up{{{labels}}}": course}


def _instance_replaced(at: float) -> dict[str, Course]:
    """One instance of the service ends, and another one is found a minute later; it tells what the state says."""
    found: dict[str, Course] = {}
    for name, course in HEALTHY.items():
        found[name] = hidden(course, at, 10**9)
        found |= _another_instance(name, hidden(course, 0, at + 1))
    return found


_DURING_REDIS_AWAY: Final = ("up", "stocktake_build_info", "stocktake_state_up")


def _redis_away(at: float, until: float = 10**9) -> dict[str, Course]:
    return {
        **{name: course for name, course in vanish(at, until).items() if name not in _DURING_REDIS_AWAY},
        "stocktake_state_up": since(at, 0, 1, until),
    }


_SERVICE: Final = (
    Scenario("a deployment that is well", minutes=200),
    Scenario("an instance of the service is replaced", _instance_replaced(30)),
    Scenario(
        "one of two instances is down",
        _another_instance("up", since(10, 0, 1)) | _another_instance("stocktake_build_info", since(10, None, 1)),
        near=("StocktakeServiceDown",),
    ),
    Scenario(
        "the service is gone from Prometheus",
        vanish(10) | {"up": since(10, None, 1)},
        fires={"StocktakeMetricsAbsent": (20, END)},
        alone=True,
    ),
    Scenario(
        "the service of one deployment of several is uninstalled",
        vanish(10) | {"up": since(10, None, 1)},
        fires={"StocktakeMetricsAbsent": (24, 1448)},
        minutes=1600,
        step=4,
    ),
    Scenario(
        "Prometheus never had a service",
        vanish(0) | {"up": always(None)},
        fires={"StocktakeMetricsAbsent": (10, END)},
        alone=True,
    ),
    Scenario(
        "the service is gone from Prometheus for nine minutes",
        vanish(10, 19) | {"up": since(10, None, 1, 19)},
        near=("StocktakeMetricsAbsent",),
        alone=True,
    ),
    Scenario(
        "the service does not answer",
        vanish(10) | {"up": since(10, 0, 1)},
        {"StocktakeServiceDown": (13, END)},
        alone=True,
    ),
    Scenario(
        "the service does not answer for two minutes",
        vanish(10, 12) | {"up": since(10, 0, 1, 12)},
        near=("StocktakeServiceDown", "StocktakeMetricsAbsent"),
        alone=True,
    ),
    Scenario("another program does not answer", {'up{job="another"}': always(0)}, near=("StocktakeServiceDown",)),
    Scenario("Redis is away for five minutes", _redis_away(10, 15), {"StocktakeStateAway": (12, 14)}),
    Scenario("Redis fails over within a minute", _redis_away(10, 11), near=("StocktakeStateAway",)),
)

_REDIS: Final = (
    Scenario(
        "Redis uses 85 %",
        {"stocktake_redis_memory_used_bytes": always(6.8e9)},
        {"StocktakeRedisMemoryHigh": (15, END)},
    ),
    Scenario(
        "Redis uses 79 %",
        {"stocktake_redis_memory_used_bytes": always(6.32e9)},
        near=("StocktakeRedisMemoryHigh",),
    ),
    Scenario(
        "Redis uses 95 %",
        {"stocktake_redis_memory_used_bytes": always(7.6e9)},
        {"StocktakeRedisMemoryFull": (5, END), "StocktakeRedisMemoryHigh": (15, END)},
    ),
    Scenario(
        "Redis uses 95 % for four minutes",
        {"stocktake_redis_memory_used_bytes": since(10, 7.6e9, 4e9, 14)},
        near=("StocktakeRedisMemoryFull",),
    ),
    Scenario(
        "Redis has no limit",
        {
            "stocktake_redis_memory_used_bytes": always(10**12),
            "stocktake_redis_memory_limit_bytes": always(None),
        },
        near=("StocktakeRedisMemoryFull",),
    ),
    Scenario(
        "Redis grows by 3 MB a minute from 60 %",
        {"stocktake_redis_memory_used_bytes": grows(0, 4.8e9, 3e6)},
        {"StocktakeRedisMemoryGrowing": (65, END)},
        minutes=90,
    ),
    Scenario(
        "Redis grows by 1 MB a minute from 60 %",
        {"stocktake_redis_memory_used_bytes": grows(0, 4.8e9, 1e6)},
        near=("StocktakeRedisMemoryGrowing",),
        minutes=120,
    ),
    Scenario(
        "Redis is replaced by an empty one",
        {"stocktake_studies": lambda minute: 10**6 if minute < 10 else 500 * (minute - 10)},
        {"StocktakeStateLost": (12, END)},
    ),
    Scenario(
        "Redis loses its tail",
        {"stocktake_studies": lambda minute: 10**6 if minute < 10 else 10**6 - 5000},
        near=("StocktakeStateLost",),
    ),
    Scenario(
        "an empty Redis is filled quickly",
        {"stocktake_redis_memory_used_bytes": grows(0, 0, 2e7)},
        near=("StocktakeRedisMemoryGrowing",),
        minutes=100,
    ),
)

_CONSUMERS: Final = (
    Scenario(
        "dead letters stop the consumers", {"stocktake_stopped": since(10, 1, 0)}, {"StocktakeStopped": (11, END)}
    ),
    Scenario(
        "dead letters stop the consumers, and somebody resumes them at once",
        {"stocktake_stopped": since(10, 1, 0, 11)},
        near=("StocktakeStopped",),
    ),
    Scenario(
        "a partition that nobody ever read",
        {"stocktake_watermark_age_seconds": since(10, None, 5)},
        {"StocktakeNoWatermark": (20, END)},
    ),
    Scenario(
        "partitions are added, and read after nine minutes",
        {"stocktake_watermark_age_seconds": since(10, None, 5, 19)},
        near=("StocktakeNoWatermark",),
    ),
    Scenario(
        "the watermark stands still, and so do inventories",
        {"stocktake_watermark_age_seconds": grows(10, 5), "stocktake_head_age_seconds": grows(10, 300)},
        {"StocktakeWatermarkStale": (46, END)},
        near=("StocktakeNoInventory",),
        minutes=60,
    ),
    Scenario(
        "the watermark stands still for half an hour",
        {
            "stocktake_watermark_age_seconds": grows(10, 5, until=40),
            "stocktake_head_age_seconds": grows(10, 300, until=40),
        },
        near=("StocktakeWatermarkStale",),
        minutes=60,
    ),
    Scenario(
        "events are waited for, for an hour",
        {
            "stocktake_watermark_age_seconds": lambda minute: 3600 + minute % 2,
            "stocktake_head_age_seconds": lambda minute: 3612 + 60 * (minute % 5),
            "stocktake_max_out_of_order_seconds": always(3600),
        },
        near=("StocktakeWatermarkStale",),
    ),
    Scenario(
        "a partition loses its consumer",
        {"stocktake_partition_silent_seconds": grows(10, 1)},
        {"StocktakePartitionSilent": (14, END)},
    ),
    Scenario(
        "many partitions lose their consumers, one after the other",
        {
            f'stocktake_partition_silent_seconds{{{MAIN},topic="pacs.events",partition="{number}",{TARGET}}}': grows(
                10 + number / 2, 1
            )
            for number in range(32)
        },
        {"StocktakePartitionSilent": (14, END)},
    ),
    Scenario(
        "a partition gets another consumer after three minutes",
        {"stocktake_partition_silent_seconds": grows(10, 1, until=13)},
        near=("StocktakePartitionSilent",),
    ),
    Scenario(
        "Kafka is away for five minutes",
        {
            "stocktake_lag_messages": since(11, None, 40, 15),
            "stocktake_partition_silent_seconds": grows(10, 1, until=15),
            "stocktake_watermark_age_seconds": grows(10, 5, until=15),
        },
        {"StocktakeLagUnknown": (13, 14), "StocktakePartitionSilent": (14, 14)},
    ),
    Scenario(
        "Kafka is away for two minutes",
        {
            "stocktake_lag_messages": since(11, None, 40, 12),
            "stocktake_partition_silent_seconds": grows(10, 1, until=12),
        },
        near=("StocktakeLagUnknown", "StocktakePartitionSilent"),
    ),
    Scenario(
        "more comes than is applied",
        {"stocktake_lag_messages": grows(10, 0, 100)},
        {"StocktakeLagGrowing": (36, END)},
    ),
    Scenario(
        "a burst that is applied within the hour",
        {"stocktake_lag_messages": lambda minute: max(0.0, 50_000 - 1000 * (minute - 10)) if minute >= 10 else 40},
        near=("StocktakeLagGrowing", "StocktakeCatchUpSlow"),
        minutes=100,
    ),
    Scenario(
        "a lag that lasts for another 16 hours",
        {"stocktake_lag_messages": grows(0, 10**6, -1000)},
        {"StocktakeCatchUpSlow": (31, END)},
    ),
    Scenario(
        "a lag that lasts for another three hours",
        {"stocktake_lag_messages": grows(0, 180_000, -1000)},
        near=("StocktakeCatchUpSlow",),
        minutes=60,
    ),
    Scenario(
        "a few messages that become fewer for another 15 hours",
        {"stocktake_lag_messages": grows(0, 900, -1)},
        near=("StocktakeCatchUpSlow",),
    ),
)


def _counted(metric: str, alert: str, begin: int, end: int) -> tuple[Scenario, ...]:
    """A counter whose every increase is told for an hour, and what is none.

    What Redis lost and is counted again is told again: it may as well be something new.
    """
    return (
        Scenario(f"{metric} grows by one", {metric: since(10, 8, 7)}, {alert: (begin, end)}, minutes=80),
        Scenario(
            f"{metric} grows by one while the service is scraped by nobody",
            {name: course for name, course in vanish(8, 14).items() if name != metric}
            | {"up": since(8, 0, 1, 14), metric: lambda minute: None if 8 <= minute < 14 else 7 if minute < 8 else 8},
            {alert: (begin + 4, end - 2), "StocktakeServiceDown": (11, 13)},
            minutes=80,
        ),
        Scenario(
            f"{metric} is not there before a repository is, and begins anew with an empty Redis",
            {metric: lambda minute: None if minute < 10 else 7 if minute < 20 else 0},
            near=(alert,),
            minutes=60,
        ),
        Scenario(
            f"{metric} falls by three as Redis fails over",
            {metric: since(10, 7, 10)},
            near=(alert,),
            minutes=60,
        ),
        Scenario(
            f"{metric} falls by three as Redis is put back, and they are counted again after ten minutes",
            {metric: since(10, 7, 10, 20)},
            {alert: (begin + 10, end + 10)},
            minutes=100,
        ),
        Scenario(
            f"{metric} begins anew at 0 with an empty Redis, and counts one",
            {metric: lambda minute: 7 if minute < 10 else 0 if minute < 20 else 1},
            {alert: (begin + 10, end + 10)},
            minutes=100,
        ),
    )


_COUNTERS: Final = (
    *_counted("stocktake_messages_lost_total", "StocktakeMessagesLost", 10, 69),
    *_counted("stocktake_topics_anew_total", "StocktakeTopicAnew", 10, 69),
    *_counted("stocktake_dead_letters_total", "StocktakeDeadLetters", 10, 69),
    *_counted("stocktake_times_changed_total", "StocktakeClocksAhead", 20, 69),
    Scenario(
        "one value in two events is emptied",
        {
            "stocktake_events_total": lambda minute: 10 * minute,
            "stocktake_values_changed_total": lambda minute: 5 * minute,
        },
        {"StocktakeBadValues": (31, END)},
        minutes=60,
    ),
    Scenario(
        "many values are emptied, of far more events",
        {"stocktake_values_changed_total": lambda minute: 8 * minute},
        near=("StocktakeBadValues",),
        minutes=60,
    ),
    Scenario(
        "many values were emptied before Redis is put back a little",
        {
            "stocktake_events_total": since(10, 99_000, 100_000),
            "stocktake_values_changed_total": since(10, 49_500, 50_000),
        },
        near=("StocktakeBadValues",),
        minutes=60,
    ),
    Scenario(
        "few values are emptied, of few events",
        {
            "stocktake_events_total": lambda minute: 2 * minute,
            "stocktake_values_changed_total": lambda minute: minute,
        },
        near=("StocktakeBadValues",),
        minutes=60,
    ),
)

SCENARIOS: Final = (*_SERVICE, *_REDIS, *_CONSUMERS, *_COUNTERS, *WRITERS, *ARCHIVES)
