"""Faults while events arrive, on one Redis and on a cluster; then the whole state against the oracle."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, Final, TypeAlias

from tests.harness import Deployment, wait_for
from tests.servers.redis_cluster import run_cluster
from tests.soak.archive import Archive
from tests.soak.conductor import PATIENCE, Conductor, Scene
from tests.soak.deployment import open_deployment
from tests.soak.faults import RedisFault, Site
from tests.soak.figures import by_kind
from tests.soak.fleet import Fleet
from tests.soak.inventories import Inventories, judge
from tests.soak.profiles import Profile
from tests.soak.redis_faults import LONGEST_LOSS, Failover, FileCut
from tests.soak.servers import Servers
from tests.soak.truth import Truth
from tests.soak.watch import Watch

Found: TypeAlias = "tuple[dict[str, Any], list[str]]"  # the figures, and what was wrong

_FIRST_RATE: Final = 20.0  # events a second until it is known how long the faults take
_LAST_RATE: Final = 500.0


def run_faults(folder: Path, servers: Servers, profile: Profile, seed: int) -> Found:
    """Faults of everything, Redis killed with its append-only file cut back."""
    deployment = open_deployment(folder, servers.redis.url, servers.broker, "soak", profile)
    rng = Random(seed)

    def cut(fleet: Fleet, watch: Watch) -> RedisFault:
        return FileCut(servers.redis, fleet, watch, rng)

    return _soak(folder, servers, deployment, profile, seed, rng, cut, profile.faults, profile.events)


def run_failovers(folder: Path, servers: Servers, profile: Profile, seed: int) -> Found:
    """The same on a cluster of three primaries with a replica each, whose replicas take over when they are behind."""
    with run_cluster(folder / "cluster") as cluster:
        deployment = open_deployment(folder, cluster.url, servers.broker, "cluster", profile, REDIS__MODE="cluster")
        rng = Random(seed)

        def failover(fleet: Fleet, watch: Watch) -> RedisFault:
            return Failover(cluster, fleet, watch, rng)

        events = profile.failover_events
        return _soak(folder, servers, deployment, profile, seed, rng, failover, profile.failovers, events)


def _soak(
    folder: Path,
    servers: Servers,
    deployment: Deployment,
    profile: Profile,
    seed: int,
    rng: Random,
    redis_fault: Callable[[Fleet, Watch], RedisFault],
    faults: Mapping[str, int],
    events: int,
) -> Found:
    fleet = Fleet.of(deployment, folder, profile.consumers)
    watch = Watch(deployment)
    truth = Truth(servers.broker.bootstrap_servers, deployment.topic, profile.partitions)
    archive = Archive(servers.broker.bootstrap_servers, deployment.topic, seed, _FIRST_RATE)
    redis = redis_fault(fleet, watch)
    inventories = Inventories(deployment, truth, watch, fleet, afterwards=redis.tidy)
    deck = [kind for kind, count in faults.items() for _ in range(count)]
    rng.shuffle(deck)
    site = Site(fleet, servers.broker, redis, rng, profile.session, servers.starter)
    with fleet.running():
        archive.start()
        wait_for(lambda: watch.look({0: 0}) or bool(fleet.failed()), "the first events applied", PATIENCE)
        # A state that knows nothing of its chain is left to a person, and two losses at once would make it one.
        wait_for(lambda: inventories.sequence() > 0 or bool(fleet.failed()), "the first inventory", PATIENCE)
        time.sleep(LONGEST_LOSS)
        begun = time.monotonic()
        conductor = Conductor(Scene(fleet, archive, watch, inventories, site.begin, rng), deck, events)
        conductor.run(profile.check_every)
        seconds, under_faults = time.monotonic() - begun, archive.sent
        archive.rate = _LAST_RATE
        wait_for(lambda: archive.sent >= events, "all events published", 600.0)
        archive.stop()
        wait_for(lambda: watch.look(archive.ends()), "everything applied", PATIENCE)
        inventories.check()
        fleet.end()
    judged, wrong = judge(deployment, truth, archive)
    deployment.close()
    failures = [*fleet.failures, *conductor.failures, *inventories.failures, *wrong]
    if watch.back:
        failures.append(f"offsets of shards went back {watch.back} times, not by a loss of Redis")
    figures = {
        "seconds": round(seconds),
        "events_under_faults": under_faults,
        "kinds": by_kind(conductor.recoveries),
        "redis_losses": redis.figures(),
        "longest_stall_seconds": round(watch.longest_stall, 2),
        "starts_refused_while_a_server_was_away": fleet.refused,
        "inventories_checked": inventories.checked + 1,
        "inventories_checked_partial": inventories.partial,
        **judged,
    }
    return figures, failures
