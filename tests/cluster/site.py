"""A release of the chart for one repository: what it is given, and the load on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from stocktake.web.tokens import Role, line_for, new_token
from tests.cluster.chart import RELEASE, Objects, hurried, render
from tests.cluster.cluster import Cluster
from tests.cluster.lineage import ChainWatch
from tests.cluster.load import Load
from tests.cluster.sandbox import need_sandboxes
from tests.harness import Deployment
from tests.servers.kafka_broker import KafkaBroker
from tests.soak.archive import Archive
from tests.soak.deployment import open_deployment
from tests.soak.profiles import PROFILES
from tests.soak.truth import Truth
from tests.soak.watch import Watch

PREFIX: Final = "STOCKTAKE_"
CLAIM: Final = f"{RELEASE}-inventories"

_REDIS_URL: Final = "STOCKTAKE_REDIS__URL"
_DIR: Final = "STOCKTAKE_INVENTORY__DIR"


@dataclass(frozen=True, slots=True)
class Pace:
    """``rate``: events a second; ``hurry``: seconds between two startup probes, None: as many as the chart has."""

    rate: float
    partitions: int
    hurry: int | None = None
    session: float = 30.0


@dataclass
class Site:
    """``values`` are the chart's; :meth:`apply` installs or upgrades with more of them."""

    folder: Path
    pace: Pace
    deployment: Deployment
    cluster: Cluster
    load: Load
    token: str
    values: dict[str, Any]
    objects: Objects = field(default_factory=lambda: Objects(()))

    def apply(self, **more: Any) -> None:
        """Render with these values over what was given before, and apply that."""
        self.values = merged(self.values, more)
        self.objects = render(self.values, self.folder)
        if self.pace.hurry is not None:
            self.objects = hurried(self.objects, self.pace.hurry)
        self.cluster.apply(self.objects)


@contextmanager
def open_site(
    folder: Path, broker: KafkaBroker, redis_url: str, pace: Pace, repository: str, seed: int, **given: str
) -> Iterator[Site]:
    """A site at which nothing runs yet; gone when the block ends. ``given``: more settings, as variables."""
    need_sandboxes()
    token = new_token()
    secrets = {
        "redis": {"url": redis_url},
        "tokens": {"tokens": line_for("tests", Role.OPERATE, token) + "\n"},
    }
    cluster = Cluster(folder / "pods", secrets)
    claim = cluster.claim(CLAIM)
    profile = replace(PROFILES["short"], partitions=pace.partitions, session=pace.session)
    deployment = open_deployment(folder, redis_url, broker, repository, profile, INVENTORY__DIR=str(claim), **given)
    load = Load(
        deployment,
        cluster,
        Archive(broker.bootstrap_servers, deployment.topic, seed, pace.rate),
        Truth(broker.bootstrap_servers, deployment.topic, pace.partitions),
        Watch(deployment),
        ChainWatch(deployment.folder),
    )
    try:
        with cluster.running():
            yield Site(folder, pace, deployment, cluster, load, token, values_of(deployment))
    finally:
        deployment.close()


def values_of(deployment: Deployment) -> dict[str, Any]:
    """The chart's values for what the deployment's variables say."""
    settings: dict[str, Any] = {}
    for variable, value in deployment.environ.items():
        if variable in (_REDIS_URL, _DIR):  # a secret, and where the chart mounts the claim
            continue
        *groups, name = variable.removeprefix(PREFIX).lower().split("__")
        at = settings
        for group in groups:
            at = at.setdefault(group, {})
        at[name] = int(value) if value.isdecimal() else value
    probes = {"probePeriodSeconds": 10}  # the least that the chart takes
    return {
        "settings": settings,
        "secrets": {"redis": {"url": {"name": "redis", "key": "url"}}},
        "consumer": {"replicas": 2, **probes},
        "writer": {"replicas": 2, **probes},
        "service": {"enabled": True, "replicas": 1, "tokensSecret": {"name": "tokens", "key": "tokens"}, **probes},
    }


def merged(values: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Values over values, as helm lays them."""
    found = dict(values)
    for key, value in more.items():
        under = found.get(key)
        found[key] = merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return found
