"""The state of each repository: its form, what keeps consumers or the writer from going on, what they wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Final

from consumers.errors import ConsumerError
from consumers.topics import describe_topics
from monitor.partitions import Patience
from state.chain import Chain
from state.connection import Connection
from state.errors import StateMismatch, StateUnreachable
from state.repository import Repository
from state.schema import check as check_schema
from state.studies import Studies
from state.times import MICROSECONDS
from stocktake.doctor.finding import Examined, Finding, Reporter
from stocktake.standing import patience

_REPORT: Final = Reporter("state")
_OLD_DEBT: Final = 2  # cuts: what the last one did not write, the next one does


def check(examined: Examined) -> Iterator[Finding]:
    """Nothing is made: a repository without a state stays without one."""
    policy = replace(examined.settings.redis, timeout=min(examined.settings.redis.timeout, examined.limits.servers))
    with closing(Connection(policy)) as connection:
        for name in examined.repositories:
            try:
                yield from _repository(examined, connection, name)
            except StateUnreachable as error:
                yield _REPORT.skip(name, str(error))
                return


def _repository(examined: Examined, connection: Connection, name: str) -> Iterator[Finding]:
    settings = examined.settings
    repository = Repository(connection, name)
    found = repository.fixed()
    if not found:
        yield _REPORT.ok(name, "there is no state yet; the first program makes it")
        return
    fault = fixed(name, found, settings.state.shards, str(settings.inventory.level))
    if fault is not None:
        yield fault
        return
    yield _REPORT.ok(name, ", ".join(f"{key} {value}" for key, value in found.items()))
    stopped = repository.stopped()
    if stopped is not None:
        yield _REPORT.fail(
            f"{name}.stopped", f"consumers are stopped: {stopped}", "look at the dead letters, then `stocktake resume`"
        )
    yield watermark(name, repository, connection.now(), patience(settings.consumer))
    studies = Studies(connection, name, settings.state.shards)
    yield _if_allowed(f"{name}.writer", lambda: writer(name, led=Chain(connection, name).is_led()))
    yield _if_allowed(f"{name}.debt", lambda: debt(name, studies.oldest_debt()))
    yield _topics(examined, name, repository.topics())


def _if_allowed(at: str, question: Callable[[], Finding]) -> Finding:
    """What is found; not every role's user may ask everything."""
    try:
        return question()
    except StateMismatch as error:
        return _REPORT.skip(at, str(error))


def writer(name: str, *, led: bool) -> Finding:
    """Whether somebody produces inventories."""
    if led:
        return _REPORT.ok(f"{name}.writer", "a writer leads")
    return _REPORT.warn(f"{name}.writer", "no writer leads: nothing is inventoried", "start `stocktake write`")


def fixed(name: str, found: Mapping[str, str], shards: int, level: str) -> Finding | None:
    """What of the settings that must not change does not fit the state; None if all of it does."""
    try:
        check_schema(name, found.get("schema", ""))
    except StateMismatch as error:
        return _REPORT.fail(name, str(error))
    for key, wanted in (("shards", str(shards)), ("level", level)):
        if found.get(key) != wanted:
            setting = "state.shards" if key == "shards" else "inventory.level"
            return _REPORT.fail(
                name,
                f"the state was made with {setting} {found.get(key)}, the settings say {wanted}",
                "change the setting back, or use another Redis database or repository name",
            )
    return None


def watermark(name: str, repository: Repository, now: int, patience: Patience) -> Finding:
    """How old the watermark is, and who holds it back."""
    at = f"{name}.watermark"
    found = repository.watermark()
    if found.time is None:
        return _REPORT.warn(
            at, f"none: {', '.join(found.missing)}", "no inventory can be written; is a consumer running?"
        )
    age = (now - found.time) / MICROSECONDS
    if age <= patience.behind:
        return _REPORT.ok(at, f"{max(age, 0.0):.0f} s old")
    progress = {field: one for field, one in repository.progress().items() if one is not None}
    oldest = min(progress, key=lambda field: progress[field].watermark)
    silent = (now - progress[oldest].asked) / MICROSECONDS
    why = (
        f"no consumer has spoken of partition {oldest} for {silent:.0f} s"
        if silent > patience.silent
        else f"partition {oldest} is behind"
    )
    return _REPORT.warn(at, f"{age:.0f} s old: {why}", "`stocktake status` tells more; are consumers running?")


def debt(name: str, cuts: int | None) -> Finding:
    """For how many cuts the oldest change has not been inventoried."""
    at = f"{name}.debt"
    if cuts is not None and cuts >= _OLD_DEBT:
        return _REPORT.warn(
            at, f"a study changed {cuts} cuts ago and is not inventoried", "does the writer's log tell of failures?"
        )
    return _REPORT.ok(at, "nothing is owed" if cuts is None else "what is owed is for the next inventory")


def _topics(examined: Examined, name: str, said: Mapping[str, tuple[str, int]]) -> Finding:
    """The topics that consumers saw beside those that the broker has."""
    kafka = examined.settings.kafka
    policy = replace(kafka, timeout=min(kafka.timeout, examined.limits.servers))
    try:
        found = describe_topics(policy, examined.settings.repository(name).topics)
    except ConsumerError as error:
        return _REPORT.skip(f"{name}.topics", f"the broker does not tell: {error}")
    return topics(name, said, {one.name: (one.id, one.partitions) for one in found})


def topics(name: str, said: Mapping[str, tuple[str, int]], found: Mapping[str, tuple[str, int]]) -> Finding:
    """Whether topics are those that consumers follow: of the same id, with as many partitions."""
    at = f"{name}.topics"
    if not said:
        return _REPORT.ok(at, "no consumer has followed them yet")
    for topic, (id_, partitions) in found.items():
        known = said.get(topic)
        if known is None:
            return _REPORT.warn(at, f"no consumer has followed {topic} yet", "start `stocktake consume`")
        if known[0] != id_:
            return _REPORT.warn(
                at, f"{topic} was made anew since a consumer saw it last", "its events are followed from the beginning"
            )
        if known[1] != partitions:
            return _REPORT.warn(
                at,
                f"{topic} has {partitions} partitions, consumers saw {known[1]}",
                "the events of a study may lie in two of them now; see docs/runbook.md",
            )
    return _REPORT.ok(at, "as consumers know them")
