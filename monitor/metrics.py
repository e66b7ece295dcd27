"""The metrics: one list of name, type, labels, unit and meaning. A test compares it with ``docs/metrics.md``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from monitor.exposition import Kind, Sample, exposition
from monitor.sinks import SinkStatus
from monitor.status import Status
from state.times import MICROSECONDS


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one answer tells: this program's version, how repositories stand, and those whose state does not answer."""

    version: str
    statuses: Sequence[Status]
    away: Sequence[str] = ()


Read: TypeAlias = Callable[[Scrape], Iterator[Sample]]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``counters`` names those of the state that it is read from; a gauge has none.

    ``labels`` come in the order in which they are written. What is not known has no sample.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    unit: str
    help: str
    read: Read
    counters: tuple[str, ...] = ()


def _counter(name: str, counter: str, unit: str, text: str, per_unit: int = 1) -> Metric:
    """A counter of the state; ``per_unit`` of its steps are one of the metric's."""

    def read(scrape: Scrape) -> Iterator[Sample]:
        for status in scrape.statuses:
            yield Sample({"repository": status.repository}, status.counters.get(counter, 0) / per_unit)

    return Metric(name, "counter", ("repository",), unit, text, read, (counter,))


def _counters(name: str, label: str, counters: dict[str, str], unit: str, text: str) -> Metric:
    """Counters of the state that one label tells apart: the label's value -> counter."""

    def read(scrape: Scrape) -> Iterator[Sample]:
        for status in scrape.statuses:
            for value, counter in counters.items():
                yield Sample({"repository": status.repository, label: value}, status.counters.get(counter, 0))

    return Metric(name, "counter", ("repository", label), unit, text, read, tuple(counters.values()))


def _gauge(name: str, unit: str, text: str, value: Callable[[Status], float | None]) -> Metric:
    def read(scrape: Scrape) -> Iterator[Sample]:
        for status in scrape.statuses:
            if (found := value(status)) is not None:
                yield Sample({"repository": status.repository}, found)

    return Metric(name, "gauge", ("repository",), unit, text, read)


def _by_partition(name: str, unit: str, text: str, field: str) -> Metric:
    """A gauge of each partition, from this field of :class:`monitor.partitions.PartitionStatus`."""

    def read(scrape: Scrape) -> Iterator[Sample]:
        for status in scrape.statuses:
            for one in status.partitions:
                if (found := getattr(one, field)) is not None:
                    labels = {"repository": status.repository, "topic": one.topic, "partition": str(one.partition)}
                    yield Sample(labels, found)

    return Metric(name, "gauge", ("repository", "topic", "partition"), unit, text, read)


def _by_sink(name: str, kind: Kind, unit: str, text: str, value: Callable[[SinkStatus], float]) -> Metric:
    """A metric of each sink."""

    def read(scrape: Scrape) -> Iterator[Sample]:
        for status in scrape.statuses:
            for one in status.sinks:
                yield Sample({"repository": status.repository, "sink": one.name}, value(one))

    return Metric(name, kind, ("repository", "sink"), unit, text, read)


def _build(scrape: Scrape) -> Iterator[Sample]:
    yield Sample({"version": scrape.version}, 1)


def _state_up(scrape: Scrape) -> Iterator[Sample]:
    for status in scrape.statuses:
        yield Sample({"repository": status.repository}, 1)
    for name in scrape.away:
        yield Sample({"repository": name}, 0)


METRICS: Final = (
    Metric("stocktake_build_info", "gauge", ("version",), "info", "Always 1; the version of the service", _build),
    Metric(
        "stocktake_state_up",
        "gauge",
        ("repository",),
        "boolean",
        "1 if the state answers; else 0, and nothing else is told of the repository",
        _state_up,
    ),
    _counters(
        "stocktake_events_total",
        "action",
        {
            "store": "events_store",
            "update": "events_update",
            "delete": "events_delete",
            "patient": "events_patient",
        },
        "events",
        "Events applied; those applied again by a replay count again",
    ),
    _counter(
        "stocktake_studies_late_total",
        "studies_late",
        "studies",
        "Studies changed by an event from before a cut that was already taken; they are in the next",
    ),
    _counter("stocktake_dead_letters_total", "dead_letters", "messages", "Messages that were no events"),
    _counter(
        "stocktake_empty_records_total", "empty_records", "messages", "Records without a value, which are passed over"
    ),
    _counter(
        "stocktake_messages_skipped_total",
        "messages_skipped",
        "messages",
        "Messages of an archive that say nothing of what it holds, which are passed over",
    ),
    _counter(
        "stocktake_messages_lost_total",
        "messages_lost",
        "messages",
        "Messages that Kafka removed before they were applied",
    ),
    _counter("stocktake_topics_anew_total", "topics_anew", "topics", "Topics that were deleted and made anew"),
    _counter("stocktake_batches_total", "batches", "batches", "Batches applied"),
    _counter(
        "stocktake_apply_seconds_total",
        "apply_microseconds",
        "seconds",
        "Time spent on reading, merging and writing batches, over all consumers",
        per_unit=MICROSECONDS,
    ),
    _counter(
        "stocktake_conflicts_total",
        "conflicts",
        "shards",
        "Shards read and merged again because another writer came between",
    ),
    _counters(
        "stocktake_times_changed_total",
        "reason",
        {"ahead": "times_ahead", "absent": "times_absent", "raised": "times_raised"},
        "times",
        "Times not taken as told: ahead of their record, absent, or before the chain's start",
    ),
    _counters(
        "stocktake_values_changed_total",
        "outcome",
        {"repaired": "values_repaired", "emptied": "values_emptied"},
        "values",
        "Values that broke their VR, and were mended or emptied",
    ),
    _counter(
        "stocktake_updates_unknown_total",
        "updates_unknown",
        "updates",
        "Updates of instances that no store named",
    ),
    _counters(
        "stocktake_answers_total",
        "outcome",
        {"applied": "answers", "outdated": "answers_outdated"},
        "events",
        "Events that answer a look at the archive: applied, or passed over because something newer had happened",
    ),
    _counters(
        "stocktake_looks_total",
        "outcome",
        {
            "found": "looks_found",
            "absent": "looks_absent",
            "failed": "looks_failed",
            "given_up": "looks_given_up",
        },
        "looks",
        "Looks at the archive: what was owed was found, was not there, failed for now, or was given up",
    ),
    _gauge(
        "stocktake_owed_looks",
        "studies",
        "Studies and references that are owed a look at the archive, without those given up",
        lambda status: status.owed_looks,
    ),
    _gauge(
        "stocktake_given_up_looks",
        "studies",
        "Those that were looked up in vain too often, and are inventoried with what is known",
        lambda status: status.given_up_looks,
    ),
    _gauge(
        "stocktake_heartbeat_age_seconds",
        "seconds",
        "Age of the oldest of the partitions' latest heartbeats; absent where no bridge is to send any",
        lambda status: status.heartbeat_age,
    ),
    _by_partition("stocktake_lag_messages", "messages", "Messages of a partition that are not applied yet", "lag"),
    _by_partition(
        "stocktake_partition_watermark_age_seconds",
        "seconds",
        "Age of the moment up to which a partition is applied",
        "watermark_age",
    ),
    _by_partition(
        "stocktake_partition_silent_seconds",
        "seconds",
        "Time since a consumer last told how far a partition is applied",
        "published_age",
    ),
    _gauge(
        "stocktake_watermark_age_seconds",
        "seconds",
        "Age of the moment up to which everything is applied; absent while there is none",
        lambda status: status.watermark_age,
    ),
    _gauge("stocktake_studies", "studies", "Studies known, removed ones included", lambda status: status.studies),
    _gauge(
        "stocktake_backlog_studies",
        "studies",
        "Studies changed since they were last inventoried",
        lambda status: status.backlog,
    ),
    _gauge(
        "stocktake_oldest_debt_cuts",
        "cuts",
        "Cuts taken since the oldest study of the backlog changed; absent while nothing is owed",
        lambda status: status.oldest_debt,
    ),
    _gauge(
        "stocktake_head_sequence",
        "inventories",
        "Sequence of the head inventory; 0 before the first",
        lambda status: 0 if status.head is None else status.head["sequence"],
    ),
    _gauge(
        "stocktake_head_age_seconds",
        "seconds",
        "Age of the moment that the head stands for; absent before the first",
        lambda status: status.head_age,
    ),
    _gauge(
        "stocktake_inventory_interval_seconds",
        "seconds",
        "The setting inventory.interval",
        lambda status: None if status.pace is None else status.pace.interval,
    ),
    _gauge(
        "stocktake_inventory_write_empty",
        "boolean",
        "The setting inventory.write_empty: 1 if an inventory is written also when nothing changed, else 0",
        lambda status: None if status.pace is None else int(status.pace.write_empty),
    ),
    _gauge(
        "stocktake_max_out_of_order_seconds",
        "seconds",
        "The setting consumer.max_out_of_order, by which the watermark lags at least",
        lambda status: None if status.pace is None else status.pace.max_out_of_order,
    ),
    _gauge("stocktake_writer_leads", "boolean", "1 while a writer holds the lease, else 0", lambda status: status.led),
    _gauge(
        "stocktake_cut_age_seconds",
        "seconds",
        "Time since the inventory that is being written was begun; absent while none is",
        lambda status: status.cut_age,
    ),
    _gauge(
        "stocktake_verified_age_seconds",
        "seconds",
        "Time since an inventory and all that it incorporates was last verified; absent before the first",
        lambda status: None if status.verified is None else status.verified.age,
    ),
    _gauge(
        "stocktake_verified_findings",
        "findings",
        "Errors that the last verification found; absent before the first",
        lambda status: None if status.verified is None else status.verified.findings,
    ),
    _gauge(
        "stocktake_verified_head",
        "boolean",
        "1 if what was last verified is still the head, else 0; absent before the first",
        lambda status: None if status.verified is None else status.verified.is_head,
    ),
    _by_sink(
        "stocktake_sink_inventories_total",
        "counter",
        "inventories",
        "Inventories delivered to a sink",
        lambda sink: sink.inventories,
    ),
    _by_sink(
        "stocktake_sink_bytes_total", "counter", "bytes", "Bytes of files delivered to a sink", lambda sink: sink.bytes
    ),
    _by_sink(
        "stocktake_sink_failures_total",
        "counter",
        "tries",
        "Tries to deliver to a sink that failed",
        lambda sink: sink.failures,
    ),
    _by_sink(
        "stocktake_sink_behind_inventories",
        "gauge",
        "inventories",
        "Published inventories that a sink does not have yet",
        lambda sink: sink.behind,
    ),
    _by_sink(
        "stocktake_sink_trouble_seconds",
        "gauge",
        "seconds",
        "Time for which every try to deliver to a sink has failed; 0 if the last one did not",
        lambda sink: sink.trouble_age or 0,
    ),
    _gauge(
        "stocktake_stopped",
        "boolean",
        "1 while too many dead letters keep the consumers stopped, else 0",
        lambda status: status.stopped is not None,
    ),
    _gauge(
        "stocktake_redis_memory_used_bytes",
        "bytes",
        "Memory of Redis that counts against its limit; in a cluster of the primary that is nearest to its own",
        lambda status: None if status.memory is None else status.memory.used,
    ),
    _gauge(
        "stocktake_redis_memory_limit_bytes",
        "bytes",
        "Redis' maxmemory, of the same server; absent where there is none",
        lambda status: None if status.memory is None else status.memory.limit,
    ),
)


def to_prometheus(scrape: Scrape) -> str:
    """The metrics in the Prometheus text format."""
    lines = [
        line for metric in METRICS for line in exposition(metric.name, metric.kind, metric.help, metric.read(scrape))
    ]
    return "\n".join(lines) + "\n"
