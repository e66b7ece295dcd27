"""Two writers as the chart runs them: one is paused beyond its lease and woken again, and the chain stays one line.

``python -m tests.cluster --part writers`` pauses them more often, and at other moments.
"""

from __future__ import annotations

from pathlib import Path

import orjson

from tests.chains import Chain
from tests.cluster.lineage import ChainWatch, line_faults
from tests.cluster.two_writers import open_pair
from writers.files import HEAD


def test_a_leader_that_is_paused_beyond_its_lease_and_woken_forks_nothing(
    tmp_path: Path, redis_url: str, repository: str
) -> None:
    with open_pair(tmp_path, redis_url, repository, 800, 1) as pair:
        pair.begin()
        pause = pair.pause("publishing")
        assert pair.end() == []
    assert pause.inventories >= 2


def test_a_chain_that_forked_would_be_found(tmp_path: Path, redis_url: str, repository: str) -> None:
    chain = Chain(tmp_path, redis_url, repository)
    try:
        chain.store(1)
        first = chain.produce()
        chain.store(2)
        chain.produce()
        watch = ChainWatch(chain.deployment.folder)
        watch.look()
        assert (line_faults(chain.deployment.folder), watch.faults) == ([], [])
        # As if a writer had gone on from the head before the last one.
        (chain.deployment.folder / HEAD).write_bytes(orjson.dumps(first.to_json()))
        chain.deployment.redis.hset(
            chain.deployment.keys.chain, mapping={"sequence": first.sequence, "head": orjson.dumps(first.to_json())}
        )
        watch = ChainWatch(chain.deployment.folder, sequence=watch.sequence)
        watch.look()
        assert watch.faults == ["head.json went back from 2 to 1"]
        chain.store(3)
        chain.deployment.produce()
        assert "head.json says 2, there are [1, 2, 2]" in line_faults(chain.deployment.folder)
    finally:
        chain.deployment.close()
