"""The state of each repository: its form, what keeps consumers or the writer from going on, what they wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Final

from consumers.errors import ConsumerError
from consumers.topics import describe_topics
from monitor.partitions import Patience
from state.chain import Chain, Cuts
from state.connection import Connection
from state.errors import StateMismatch, StateUnreachable
from state.repository import Repository
from state.schema import check as check_schema
from state.studies import Studies
from state.times import MICROSECONDS
from stocktake.doctor.finding import Examined, Finding, Reporter
from stocktake.standing import patience
from writers.files import FolderUnusable, InventoryFolder
from writers.heads import may_know_of_no_cut
from writers.manifest import Manifest
from writers.terms import COMPLETE

_REPORT: Final = Reporter("state")
_OLD_DEBT: Final = 2  # cuts: what the last one did not write, the next one does


def check(examined: Examined) -> Iterator[Finding]:
    """Nothing is made: a repository without a state stays without one."""
    with closing(Connection(examined.redis)) as connection:
        for name in examined.repositories:
            try:
                yield from _repository(examined, connection, name)
            except StateUnreachable as error:
                yield _REPORT.skip(name, str(error))
                return


def _repository(examined: Examined, connection: Connection, name: str) -> Iterator[Finding]:
    settings = examined.settings
    repository, chain = Repository(connection, name), Chain(connection, name)
    studies = Studies(connection, name, settings.state.shards)
    head = _head(chain, InventoryFolder(settings.inventory.dir, name))
    found = repository.fixed()
    if not found:
        yield _REPORT.ok(name, "there is no state yet; the first program makes it")
        if head is not None:
            yield _if_allowed(f"{name}.chain", lambda: _remembers(head, chain, Cuts(connection, studies)))
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
    if head is not None:
        yield _if_allowed(f"{name}.chain", lambda: _remembers(head, chain, Cuts(connection, studies)))
    yield watermark(name, repository, connection.now(), patience(settings.consumer), head)
    yield _if_allowed(f"{name}.writer", lambda: writer(name, led=chain.is_led()))
    yield _if_allowed(f"{name}.debt", lambda: debt(name, studies.oldest_debt()))
    yield _topics(examined, name, repository.topics())


def _if_allowed(at: str, question: Callable[[], Finding]) -> Finding:
    """What is found; not every role's user may ask everything."""
    try:
        return question()
    except StateMismatch as error:
        return _REPORT.skip(at, str(error))


def _head(chain: Chain, folder: InventoryFolder) -> Manifest | None:
    """The head that a writer would go on from: of those in Redis and on disk the one of the higher sequence."""
    found = chain.head()
    in_redis = None if found is None else Manifest.from_json(found)
    try:
        on_disk = folder.head()
    except FolderUnusable:  # which the area folder tells
        on_disk = None
    return max((one for one in (in_redis, on_disk) if one), key=lambda one: one.sequence, default=None)


def _remembers(head: Manifest, chain: Chain, cuts: Cuts) -> Finding:
    """Whether every shard knows of the chain; a writer refuses a state that has forgotten it (writers.heads)."""
    return remembers(head, cuts.shards, 0 if may_know_of_no_cut(head, chain, cuts) else len(cuts.never_taken()))


def remembers(head: Manifest, shards: int, forgotten: int) -> Finding:
    """How a state of so many shards is, that many of which know nothing of the chain and should."""
    at = f"{head.repository}.chain"
    if not forgotten:
        return _REPORT.ok(at, f"the state knows of the chain, up to sequence {head.sequence}")
    return _REPORT.fail(
        at,
        f"{forgotten} of {shards} shards know nothing of the chain, which is at sequence {head.sequence}: they were "
        "lost, or this is another Redis; the writer writes nothing",
        "is redis.url right? Then make the state again from the chain: `stocktake import`, as "
        "docs/runbook/redis-lost.md says",
    )


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


def watermark(name: str, repository: Repository, now: int, patience: Patience, head: Manifest | None) -> Finding:
    """How old the watermark is, and who holds it back; no inventory is written before it has come past the head's."""
    at = f"{name}.watermark"
    found = repository.watermark()
    if found.time is None:
        return _REPORT.warn(
            at, f"none: {', '.join(found.missing)}", "no inventory can be written; is a consumer running?"
        )
    age = (now - found.time) / MICROSECONDS
    told = f"{max(age, 0.0):.0f} s old"
    before = head is not None and head.status == COMPLETE and found.time < head.watermark
    if before:
        told += ", before that of the head: no inventory is written until it has passed that"
    if age <= patience.behind:
        return _REPORT.warn(at, told, "was the state restored? see docs/runbook.md") if before else _REPORT.ok(at, told)
    progress = {field: one for field, one in repository.progress().items() if one is not None}
    oldest = min(progress, key=lambda field: progress[field].watermark)
    silent = (now - progress[oldest].asked) / MICROSECONDS
    why = (
        f"no consumer has spoken of partition {oldest} for {silent:.0f} s"
        if silent > patience.silent
        else f"partition {oldest} is behind"
    )
    return _REPORT.warn(at, f"{told}: {why}", "`stocktake status` tells more; are consumers running?")


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
    try:
        found = describe_topics(examined.kafka, examined.settings.repository(name).topics)
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
