"""Kafka: reached, the topics there and set up so that no event is lost, the group at work, and the user's rights.

Rights are those that the broker itself says the user has; one without an authorizer says that all may do everything.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import AuthorizationError, KafkaError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError

from consumers.dead_letters import SUFFIX
from consumers.kafka_client import client_options, describe_failure
from consumers.membership import group_id
from consumers.policy import KafkaPolicy
from state.connection import Connection
from state.errors import StateError
from state.repository import partition_field
from state.studies import Studies
from stocktake.doctor.finding import Examined, Finding, Limits, Reporter

_REPORT: Final = Reporter("kafka")
_OLDEST: Final = (2, 8)
_RIGHTS: Final = "see docs/security.md"
_EARLIEST: Final = -2
_LATEST: Final = -1


def check(examined: Examined) -> Iterator[Finding]:
    """Brokers that do not answer, or refuse the user, are the only finding."""
    policy = examined.kafka
    try:
        with closing(KafkaAdminClient(**client_options(policy))) as admin:
            cluster = admin.describe_cluster()
            yield from _brokers(admin, cluster["brokers"], policy)
            for name in examined.repositories:
                yield from _repository(admin, cluster, examined, name)
    except KafkaError as error:
        yield _REPORT.fail("reach", describe_failure(policy, error))


def _brokers(admin: KafkaAdminClient, brokers: Sequence[Mapping[str, Any]], policy: KafkaPolicy) -> Iterator[Finding]:
    told = f"Kafka at {','.join(policy.bootstrap_servers)} answers, {len(brokers)} brokers"
    yield _REPORT.ok("reach", told + (f", as user {policy.sasl_username}" if policy.uses_sasl else ""))
    yield version(admin.get_broker_version_data(brokers[0]["broker_id"]).broker_version)


def version(found: Sequence[int]) -> Finding:
    """What the broker's protocol tells of its version; the client knows no difference beyond its own newest."""
    text = ".".join(map(str, found))
    if tuple(found[:2]) < _OLDEST:
        return _REPORT.fail("version", f"the broker speaks as Kafka {text}", "use Kafka 2.8 or newer: topics need ids")
    return _REPORT.ok("version", f"the broker speaks as Kafka {text} or newer")


# --- topics ----------------------------------------------------------------------------------------------------


def _repository(
    admin: KafkaAdminClient, cluster: Mapping[str, Any], examined: Examined, repository: str
) -> Iterator[Finding]:
    names = list(examined.settings.repository(repository).topics)
    letters = [name + SUFFIX for name in names]
    described = {one["name"]: one for one in admin.describe_topics([*names, *letters])}
    fields: dict[TopicPartition, str] = {}
    retention: dict[str, int | None] = {}
    for name in names:
        yield (told := topic(name, described.get(name)))
        if told.judged == "ok":
            fields |= _fields(described[name])
            configs = _configs(admin, name)
            yield cleanup(name, configs)
            retention[name] = _milliseconds(configs, "retention.ms")
            yield may(f"{name}.read", f"read {name}", described[name], "READ")
    for name in letters:
        yield dead_letters(name, described.get(name), cluster)
    if fields:
        group = group_id(examined.kafka, repository)
        yield from _group(admin, group, len(fields))
        try:
            wanted = _wanted(examined, repository, fields)
        except StateError as error:
            yield _REPORT.skip(f"{group}.lag", f"the state does not tell what is applied: {error}")
        else:
            yield from unread(group, _unread(admin, wanted, retention, examined.limits), retention, examined.limits)


def _fields(found: Mapping[str, Any]) -> dict[TopicPartition, str]:
    """The partitions of a topic, and how the state names them."""
    numbers = [one["partition_index"] for one in found["partitions"]]
    topic_id = str(found["topic_id"])
    return {TopicPartition(found["name"], number): partition_field(topic_id, number) for number in numbers}


def topic(name: str, found: Mapping[str, Any] | None) -> Finding:
    """Whether a topic is there, and every partition of it has a leader."""
    code = UnknownTopicOrPartitionError.errno if found is None else found["error_code"]
    if code == TopicAuthorizationFailedError.errno:
        return _REPORT.fail(name, f"the user may not describe topic {name}", _RIGHTS)
    if found is None or code:
        return _REPORT.fail(name, f"no topic {name}", "create it with the partitions that you want to keep")
    without = [one["partition_index"] for one in found["partitions"] if one.get("leader_id", 0) < 0]
    if without:
        return _REPORT.fail(
            name, f"partitions {', '.join(map(str, without))} of {name} have no leader", "are all brokers up?"
        )
    return _REPORT.ok(name, f"topic {name} has {len(found['partitions'])} partitions")


def _configs(admin: KafkaAdminClient, name: str) -> dict[str, str] | None:
    """The topic's settings; None if the broker does not tell them to this user."""
    try:
        # All: when it is asked for one by its name, the embedded broker breaks the connection off.
        found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)], config_filter="all")
    except (AuthorizationError, KeyError):
        return None
    return {key: str(one.get("value")) for key, one in found.get("topic", {}).get(name, {}).items()} or None


def _milliseconds(configs: Mapping[str, str] | None, name: str) -> int | None:
    """A duration; None if it is not known or has no end."""
    text = (configs or {}).get(name, "")
    return int(text) if text.isdecimal() else None


def cleanup(name: str, configs: Mapping[str, str] | None) -> Finding:
    """Whether the broker keeps every message."""
    at = f"{name}.cleanup"
    if configs is None or "cleanup.policy" not in configs:
        return _REPORT.skip(at, "the broker does not tell the topic's settings (right DescribeConfigs)")
    if "compact" in configs["cleanup.policy"]:
        return _REPORT.fail(
            at,
            f"{name} has cleanup.policy={configs['cleanup.policy']}: of a study's events only the latest are kept",
            "set cleanup.policy=delete, unless its events are of whole studies alone",
        )
    return _REPORT.ok(
        at, f"cleanup.policy={configs['cleanup.policy']}, retention {_days(_milliseconds(configs, 'retention.ms'))}"
    )


def _days(milliseconds: int | None) -> str:
    return "without end" if milliseconds is None else f"{milliseconds / 86_400_000:.3g} days"


def may(at: str, what: str, found: Mapping[str, Any], operation: str) -> Finding:
    """Whether the broker says that the user has a right."""
    operations = found.get("authorized_operations")
    if not operations:
        return _REPORT.skip(at, f"the broker does not tell whether the user may {what}")
    if operation not in operations:
        return _REPORT.fail(at, f"the user may not {what}", _RIGHTS)
    return _REPORT.ok(at, f"the user may {what}")


def dead_letters(name: str, found: Mapping[str, Any] | None, cluster: Mapping[str, Any]) -> Finding:
    """Whether bad messages can be put aside. Of a topic that is not there the broker tells no rights."""
    code = UnknownTopicOrPartitionError.errno if found is None else found["error_code"]
    if code == TopicAuthorizationFailedError.errno:
        return _REPORT.fail(name, f"the user may not describe {name}: a bad message would stop the consumer", _RIGHTS)
    if found is None or code:
        if "CREATE" in (cluster.get("authorized_operations") or ()):
            return _REPORT.ok(name, f"no topic {name} yet; the first bad message makes it")
        return _REPORT.skip(name, f"no topic {name} yet; the broker does not tell whether the user may make it")
    return may(name, f"write {name}", found, "WRITE")


# --- the group, and what is unread -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unread:
    """One partition: the offset that consumers go on from, by the state, and the first and the end that Kafka holds.

    ``aging`` is the first offset of those that are younger than the limit; None if all are older.
    """

    wanted: int
    first: int
    end: int
    aging: int | None

    @property
    def lag(self) -> int:
        return max(0, self.end - self.wanted)


def _group(admin: KafkaAdminClient, group: str, partitions: int) -> Iterator[Finding]:
    """Its members and the rights to it. The offsets that it commits are for others to see: nobody reads from them."""
    try:
        described = admin.describe_groups([group])[group]
    except AuthorizationError:
        yield _REPORT.fail(f"{group}.group", f"the user may not use group {group}", _RIGHTS)
        return
    except (KafkaError, ValueError, KeyError) as error:
        yield _REPORT.skip(f"{group}.group", f"the broker does not tell of group {group}: {type(error).__name__}")
        return
    yield may(f"{group}.commit", f"read with group {group} and commit its offsets", described, "READ")
    yield members(group, described["group_state"], len(described["members"]), partitions)


def _wanted(examined: Examined, repository: str, fields: Mapping[TopicPartition, str]) -> dict[TopicPartition, int]:
    """The offset that each partition is read on from: after the last that every shard has applied; 0 before the first.

    Raises:
        StateError: the state does not tell.
    """
    with closing(Connection(examined.redis)) as connection:
        studies = Studies(connection, repository, examined.settings.state.shards)
        return {one: min(studies.offsets(field)) + 1 for one, field in fields.items()}


def _unread(
    admin: KafkaAdminClient,
    wanted: Mapping[TopicPartition, int],
    retention: Mapping[str, int | None],
    limits: Limits,
) -> dict[TopicPartition, Unread]:
    firsts = admin.list_partition_offsets(dict.fromkeys(wanted, _EARLIEST))
    ends = admin.list_partition_offsets(dict.fromkeys(wanted, _LATEST))
    now = time.time() * 1000
    since = {one: round(now - limits.unread * kept) for one in wanted if (kept := retention.get(one.topic)) is not None}
    aging = admin.list_partition_offsets(since) if since else {}
    return {
        # What was gone before anything was applied is not missed: a topic is followed from what it then holds.
        one: Unread(
            offset or firsts[one].offset,
            firsts[one].offset,
            ends[one].offset,
            found.offset if (found := aging.get(one)) else None,
        )
        for one, offset in wanted.items()
    }


def members(group: str, state: str, count: int, partitions: int) -> Finding:
    """Whether somebody reads, and nobody in vain."""
    at = f"{group}.group"
    if count == 0:
        return _REPORT.warn(at, f"group {group} has no members", "start `stocktake consume`")
    told = f"{count} members for {partitions} partitions, {state}"
    if count > partitions:
        return _REPORT.warn(
            at, f"{told}: {count - partitions} have nothing to read", "run fewer, or more partitions for a new topic"
        )
    return _REPORT.ok(at, told)


def unread(
    group: str, found: Mapping[TopicPartition, Unread], retention: Mapping[str, int | None], limits: Limits
) -> Iterator[Finding]:
    """How much is unread, whether Kafka still holds it, and for how much longer."""
    at = f"{group}.lag"
    lag = sum(one.lag for one in found.values())
    lost = {one: unread for one, unread in found.items() if unread.first > unread.wanted}
    if lost:
        partition, one = next(iter(lost.items()))
        yield _REPORT.fail(
            at,
            f"partition {partition.partition} of {partition.topic}: offset {one.wanted} is wanted, Kafka holds "
            f"{one.first} and later",
            "events are lost; see docs/operations.md, and lengthen retention.ms",
        )
        return
    ahead = {one: unread for one, unread in found.items() if unread.wanted > unread.end}
    if ahead:
        partition, one = next(iter(ahead.items()))
        yield _REPORT.fail(
            at,
            f"partition {partition.partition} of {partition.topic}: offset {one.wanted} is wanted, Kafka ends at "
            f"{one.end}",
            "Kafka has lost events that were applied, and consumers stop; see docs/operations.md",
        )
        return
    aged = {
        one
        for one, unread in found.items()
        if unread.lag
        and retention.get(one.topic) is not None
        and (unread.aging is None or unread.aging < 0 or unread.wanted < unread.aging)
    }
    if aged:
        partition = min(aged)
        yield _REPORT.warn(
            at,
            f"{lag:,} messages are unread, some of partition {partition.partition} of {partition.topic} for more than "
            f"{limits.unread:.0%} of their retention ({_days(retention[partition.topic])})",
            "lengthen retention.ms before Kafka removes them",
        )
        return
    yield _REPORT.ok(at, f"{lag:,} messages are unread")
