"""A chain of thousands of deltas, every twentieth study new: ``python -m tests.long_chain 2000``.

Checked are the bounds that the tiers promise: the depth of the tree and the size of a head's header grow with the
logarithm of the chain's length, a record is written once for its own delta and at most once more for each tier, and
resolving costs a record no more at the end than at the beginning.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import process_time

from tests.chains import Chain
from tests.servers.redis_server import run_redis
from writers.manifest import Manifest
from writers.reader import InventoryFile
from writers.resolve import resolve
from writers.tree import load_tree

CHANGED = 20  # studies before each delta


@dataclass
class Grown:
    """What the chain came to. ``deepest`` and ``largest`` (bytes of a header) are of any head."""

    deltas: int
    deepest: int = 0
    largest: int = 0
    highest_tier: int = 0
    owed: int = 0
    written: int = 0
    resolved: list[tuple[int, int, float]] = field(default_factory=list)  # deltas, records read, seconds

    def check(self, fanout: int) -> None:
        deepest = fanout * (1 + math.floor(math.log(self.deltas, fanout)))
        assert self.deepest <= deepest, self
        assert self.largest <= 1000 + 200 * deepest, self
        assert self.written <= self.owed * (1 + self.highest_tier), self


def grow(chain: Chain, deltas: int, looks: int = 4) -> Grown:
    """Produce a baseline and so many deltas, and resolve the head ``looks`` times on the way."""
    grown, chance, studies = Grown(deltas), Random(1), CHANGED
    chain.store(*range(CHANGED))
    chain.produce()
    for number in range(1, deltas + 1):
        studies += 1
        changed = {studies, *chance.sample(range(studies), CHANGED - 1)}
        chain.store(*changed)
        grown.owed += len(changed)
        head = chain.deployment.produce()
        _note(grown, chain, head)
        if number % (deltas // looks) == 0:
            grown.resolved.append((number, *_resolve(chain.deployment.path(head), studies)))
    chain.check(head)
    grown.check(chain.deployment.settings.chain.rollup_fanout)
    return grown


def _note(grown: Grown, chain: Chain, head: Manifest) -> None:
    with InventoryFile(chain.deployment.path(head)) as file:
        grown.largest = max(grown.largest, len(file.header_data))
    grown.deepest = max(grown.deepest, len(head.members) - 1)
    grown.highest_tier = max(grown.highest_tier, head.tier or 0)
    grown.written += head.own_records


def _resolve(head: Path, studies: int) -> tuple[int, float]:
    """Records read and the processor time that it took."""
    read: list[None] = []
    begun = process_time()
    found = sum(1 for _ in resolve(load_tree(head), progress=lambda: read.append(None)))
    spent = process_time() - begun
    assert found >= studies
    return len(read), spent


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.long_chain", description="Grow a chain and check its bounds."
    )
    parser.add_argument("deltas", type=int, nargs="?", default=2000)
    deltas = parser.parse_args().deltas
    with tempfile.TemporaryDirectory() as name, run_redis(Path(name) / "redis") as redis:
        chain = Chain(Path(name), redis.url, "long")
        grown = grow(chain, deltas)
        chain.deployment.close()
    print(
        f"{grown.deltas} deltas: depth at most {grown.deepest}, header at most {grown.largest:,} bytes, highest tier "
        f"{grown.highest_tier}; {grown.written:,} records written for {grown.owed:,} owed, "
        f"{grown.written / grown.owed:.2f} times each"
    )
    for number, read, seconds in grown.resolved:
        print(f"after {number} deltas: resolve read {read:,} records, {seconds / read * 1e6:.0f} us each")


if __name__ == "__main__":
    main()
