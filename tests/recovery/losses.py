"""Redis or the folder of inventories lost, made good by the commands of the pages, held to what there was before."""

from __future__ import annotations

import time
from typing import Any, Final

from stocktake.exits import Exit
from tests.harness import wait_for
from tests.recovery.restored import RestoredRedis
from tests.recovery.site import PATIENCE, SHARDS, Site
from tests.soak.program import Program

FORGOTTEN: Final = f"{SHARDS} of {SHARDS} shards of the state in Redis know of none"
PAGE: Final = "inventory-volume-lost.md"
BACKUP: Final = "redis-backup.md"
RESTORED: Final = ("stocktake consume --until-caught-up",)


def redis_lost(site: Site, events: int) -> dict[str, Any]:
    """All of Redis is gone, and so is what the topic held before the head: the chain and the topic have the rest."""
    site.grow(4, events)
    retired = site.retire()
    site.publish(events // 2)
    site.consume()
    site.grow(1, events // 2)
    with site.running("write") as [writer]:
        site.publish(events // 2)  # newer than the head, and in no inventory
        site.consume()
        studies, head = site.studies(), site.head()
        site.deployment.redis.flushdb()
        site.consume()  # consumers that nobody has stopped
        wait_for(lambda: FORGOTTEN in writer.log_file.read_text("utf-8"), "the writer noticed", PATIENCE)
        truncated = len(site.studies())
        assert site.head() == head, "the writer went on with a state that is not whole"
        begun = time.monotonic()
        site.player.play("redis-lost.md", "Rebuild")
        seconds = time.monotonic() - begun
        site.player.play("redis-lost.md", "It is done when")
    differ = site.check_state(studies)
    new = site.head()
    baseline = site.folder.manifest(new.members[0].file)
    assert baseline is not None
    assert (baseline.kind, baseline.sequence, baseline.own_records) == ("baseline", head.sequence + 1, len(studies))
    assert (new.status, new.scope_begin) == ("COMPLETE", head.scope_begin)
    rebuilt = site.known()
    site.publish(events)
    site.consume()
    late = site.check(rebuilt)
    return {
        "events": site.archive.sent,
        "messages_that_kafka_no_longer_held": retired,
        "studies": len(studies),
        "studies_of_the_topic_alone": truncated,
        "studies_with_an_older_patient": differ,
        "studies_told_of_since_by_what_happened_before": late,
        "rebuild_seconds": round(seconds, 1),
    }


def folder_lost(site: Site, events: int) -> dict[str, Any]:
    """The folder of inventories: all of it, head.json, one file, and an older copy in its place."""
    site.grow(2, events)
    head = site.head()
    with site.running("write") as [writer]:
        site.lose_folder()
        _refuses_a_delta(site, writer)
        begun = time.monotonic()
        site.player.play(PAGE, "Begin anew")
        seconds = time.monotonic() - begun
        site.player.play(PAGE, "It is done when")
        anew = site.head()
        assert (anew.kind, anew.sequence, anew.scope_begin) == ("baseline", head.sequence + 1, head.scope_begin)
        site.publish(events)
        site.consume()
        site.player.run("stocktake delta --ask")
        site.player.play(PAGE, "Make a copy")

        (site.deployment.folder / "head.json").unlink()
        site.player.run("stocktake delta --ask")
        site.check_no_fork()

        member = site.deployment.folder / site.head().members[0].file
        member.unlink()
        _refuses_a_delta(site, writer)
        site.player.play(PAGE, "Put files back")
        site.player.run("stocktake delta --ask")
        site.check_no_fork()

        newest = site.head().sequence
        site.lose_folder()
        site.player.play(PAGE, "Put files back")
        assert site.head().sequence < newest
        _refuses_a_delta(site, writer)
        site.player.play(PAGE, "Begin anew")
        site.player.play(PAGE, "It is done when")
        assert site.head().sequence == newest + 1
    site.publish(events)
    site.consume()
    site.check()
    return {"events": site.archive.sent, "studies": len(site.studies()), "anew_seconds": round(seconds, 1)}


def _refuses_a_delta(site: Site, writer: Program) -> None:
    """Nobody could read one."""
    before = site.folder.head()
    site.player.run("stocktake delta --ask --timeout 1s", code=Exit.FAULTS)
    assert site.folder.head() == before
    site.said(writer, "is the right volume mounted?")


def redis_restored(site: Site, server: RestoredRedis, events: int, *, too_old: bool = False) -> dict[str, Any]:
    """Redis comes back with a backup that was taken while events arrived, and the chain has gone on since.

    With ``too_old`` Kafka has removed events since the backup, and the rebuild takes its place.
    """
    site.grow(1, events)
    with site.running("consume"):
        site.publish(events)
        site.player.play(BACKUP, "Take a backup")
        site.publish(events)
    site.grow(2, events)
    head = site.head()
    if too_old:
        site.retire()
    with site.running("write") as [writer]:
        site.publish(events)
        site.consume()
        studies = site.studies()
        begun = time.monotonic()
        server.restore(site.backup / "stocktake.rdb")
        site.player.run("stocktake delta --ask --timeout 2s", code=Exit.FAULTS)
        site.said(writer, "Redis has lost its latest writes, and gets them back from Kafka")
        assert site.head() == head, "the writer went on with a state that is older than the chain"
        if too_old:
            site.player.run("stocktake consume --until-caught-up", code=Exit.FAULTS)
            site.player.play("redis-lost.md", "Rebuild")
        else:
            for command in RESTORED:
                site.player.run(command)
        seconds = time.monotonic() - begun
        differ = site.check_state(studies)
        site.player.play(BACKUP, "It is done when")
    assert site.head().sequence > head.sequence
    rebuilt = site.known()
    site.publish(events)
    site.consume()
    site.check(rebuilt if too_old else None)
    return {
        "events": site.archive.sent,
        "studies": len(studies),
        "studies_with_an_older_patient": differ,
        "restore_seconds": round(seconds, 1),
    }


def more_partitions(site: Site, events: int) -> dict[str, Any]:
    """Partitions are added as the page says; then most studies go on in others, and the topic is read anew."""
    site.grow(1, events)
    before = dict(site.archive.ends())
    with site.running("write", "consume"):
        site.player.play("partitions.md", "Add partitions")
    site.restart_archive()
    site.publish(2 * events)
    assert site.archive.ends().keys() - before.keys(), "nothing came to a new partition"
    site.consume()
    site.player.play("partitions.md", "It is done when")
    site.check()
    studies = site.studies()
    with site.running("write"):
        site.player.play("redis-lost.md", "Rebuild")
    site.check_state(studies)
    rebuilt = site.known()
    site.publish(events)
    site.consume()
    site.check(rebuilt)
    return {"events": site.archive.sent, "studies": len(studies)}
