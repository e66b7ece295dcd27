"""How Redis loses its latest writes: killed with its file cut back, or failed over to a replica that was behind."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from redis.exceptions import ResponseError

from tests.servers.redis_cluster import Cluster, Node
from tests.soak.faults import Steps
from tests.soak.fleet import Fleet
from tests.soak.forgetful import Cut, ForgetfulRedis
from tests.soak.profiles import FAILED_OVER, REDIS_CUT
from tests.soak.watch import Watch, lower

LONGEST_LOSS: Final = 2.0  # seconds of writes
_CUT: Final = (0.1, LONGEST_LOSS)
_AWAY: Final = (0.0, 1.0)  # seconds from the server's end to its return
_BEHIND: Final = 1.0  # seconds that a replica lacks
_LOOK: Final = 0.2
_TRIES: Final = 25


@dataclass
class FileCut:
    """SIGKILL of the one server; the end of its append-only file is gone when it returns.

    ``felt`` counts those after which a shard had applied less than before.
    """

    redis: ForgetfulRedis
    fleet: Fleet
    watch: Watch
    rng: Random
    cuts: list[Cut] = field(default_factory=list)
    felt: int = 0

    def ready(self) -> bool:
        return self.redis.remembered > _CUT[1] + _LOOK

    def strike(self) -> Steps:
        before = self.watch.offsets()
        with self.fleet.without(REDIS_CUT), self.watch.losing():
            self.cuts.append(self.redis.kill(self.rng.uniform(*_CUT), self.rng))
            yield self.rng.uniform(*_AWAY)
            self.redis.start()
            self.felt += bool(lower(self.watch.offsets(), before))

    def tidy(self) -> None:
        self.redis.rewrite()

    def figures(self) -> dict[str, Any]:
        return {
            "count": len(self.cuts),
            "that_lost_applied_events": self.felt,
            "bytes": sum(one.bytes for one in self.cuts),
            "seconds": round(sum(one.seconds for one in self.cuts), 1),
        }


@dataclass
class Failover:
    """A replica is out of touch with its primary for a second; then the primary is killed and the replica promoted."""

    cluster: Cluster
    fleet: Fleet
    watch: Watch
    rng: Random
    count: int = 0
    felt: int = 0

    def ready(self) -> bool:
        """Whether the cluster is whole; what was killed is started for it."""
        for node in self.cluster.nodes:
            node.start()
        return self.cluster.is_whole()

    def strike(self) -> Steps:
        primary = self.rng.choice(self.cluster.primaries())
        replica = self.cluster.replica_of(primary)
        _detach(replica, primary)
        detached = self.watch.offsets()
        yield _BEHIND
        # Consumers may be away as well: without anything to lose the fault would prove nothing.
        for _ in range(_TRIES):
            if len(lower(detached, self.watch.offsets())) == len(detached):
                break
            yield _LOOK
        before = self.watch.offsets()
        with self.fleet.without(FAILED_OVER), self.watch.losing():
            primary.kill()
            yield self.rng.uniform(*_AWAY)
            _attach(replica)
            with contextlib.suppress(ResponseError):  # it is primary already: the others were quicker
                self.cluster.promote(replica)
            self.count += 1
            self.felt += bool(lower(self.watch.offsets(), before))

    def tidy(self) -> None:
        self.cluster.mend()

    def figures(self) -> dict[str, Any]:
        return {"count": self.count, "that_lost_applied_events": self.felt}


def _detach(replica: Node, primary: Node) -> None:
    """Nothing is copied any more: the link is cut, and the replica comes back under a name that is refused."""
    replica.ask("CONFIG", "SET", "masteruser", "nobody", "masterauth", "nothing")
    primary.ask("CLIENT", "KILL", "TYPE", "replica")


def _attach(replica: Node) -> None:
    """Let it find its primary again, if that returns."""
    replica.ask("CONFIG", "SET", "masteruser", "", "masterauth", "")
