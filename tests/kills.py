"""Writers killed at random moments while they produce split deltas: ``python -m tests.kills 50``.

Each works with processes of its own, so that their deaths are tried too. After each kill the next writer goes on; its
chain must break no rule of the IOD, show the state of the oracle, and leave nothing behind.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stocktake.embedded import wait_until
from tests.chains import Chain
from tests.servers.redis_server import run_redis

_STUDIES: Final = 400
_CHANGED: Final = 200  # before each delta
_PATIENCE: Final = 10  # seconds
_GIVEN: Final = {
    "INVENTORY__MAX_RECORDS_PER_INSTANCE": "30",
    "INVENTORY__PROCESSES": "2",
    "CHAIN__ROLLUP_FANOUT": "3",
}
# Runs so short that there are many; the rest is the program as it is.
_PROGRAM: Final = """\
import sys, writers.runs, stocktake.cli
writers.runs.RUNS = dict.fromkeys(writers.runs.RUNS, 40)
if __name__ == "__main__":
    sys.exit(stocktake.cli.main(["write", "--once"]))
"""


@dataclass
class Killed:
    """How many writers were killed, how many of them had planned an inventory and not finished it, and what of these
    the next writer completed.
    """

    kills: int = 0
    unfinished: int = 0
    completed: int = 0


def kill_writers(folder: Path, redis_url: str, repository: str, kills: int, seed: int) -> Killed:
    """Kill so many; raises AssertionError at the first fault that one leaves."""
    chance = random.Random(seed)
    found = Killed()
    chain = Chain(folder, redis_url, repository, **_GIVEN)
    program = folder / "writer.py"
    program.write_text(_PROGRAM, encoding="utf-8")
    try:
        chain.store(*range(1, _STUDIES))
        writer = _start(chain, program)
        _wait(lambda: _plans(chain), writer)
        begun = time.monotonic()
        assert writer.wait() == 0
        whole = time.monotonic() - begun
        for _ in range(kills):
            chain.store(*chance.sample(range(1, _STUDIES), _CHANGED))
            before, files = _files(chain), chance.randrange(12)
            writer = _start(chain, program)
            _wait(lambda: _plans(chain), writer)
            if chance.random() < 0.5:
                time.sleep(chance.uniform(0, whole))
            else:
                _wait(lambda: _files(chain) >= before + files, writer)  # noqa: B023  # called before the next round
            writer.kill()
            writer.wait()
            _wait_for_its_processes(writer.pid)
            found.kills += 1
            unfinished = _plans(chain)
            found.unfinished += unfinished
            chain.deployment.redis.delete(chain.deployment.keys.lease)  # it expires
            sequence = _sequence(chain)
            head = chain.produce()
            found.completed += unfinished and head.sequence > sequence + 1
            chain.check_no_orphans(head)
    finally:
        chain.deployment.close()
    return found


def _wait(condition: Callable[[], bool], writer: subprocess.Popen[bytes]) -> None:
    """Until it is true, or the writer has ended."""
    while not condition() and writer.poll() is None:
        time.sleep(0.001)


def _wait_for_its_processes(session: int) -> None:
    """They end by themselves when the writer has."""

    def gone() -> bool:
        try:
            os.killpg(session, 0)
        except ProcessLookupError:
            return True
        return False

    assert wait_until(gone, _PATIENCE), "processes of a killed writer go on"


def _plans(chain: Chain) -> bool:
    """Whether an inventory is being produced, or was left behind."""
    return chain.deployment.redis.get(chain.deployment.keys.plan) is not None


def _files(chain: Chain) -> int:
    """How many files have their final names."""
    return sum(".partial" not in path.parts for path in chain.deployment.folder.rglob("*.dcm"))


def _sequence(chain: Chain) -> int:
    return chain.manifest("head").sequence


def _start(chain: Chain, program: Path) -> subprocess.Popen[bytes]:
    root = Path(__file__).resolve().parent.parent
    environ = os.environ | chain.deployment.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, str(program)]
    return subprocess.Popen(
        command, env=environ, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description="Kill writers at random moments.")
    parser.add_argument("kills", type=int, nargs="?", default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    args = parser.parse_args()
    print(f"seed {args.seed}")
    with tempfile.TemporaryDirectory() as name, run_redis(Path(name) / "redis") as redis:
        print(kill_writers(Path(name), redis.url, "killed", args.kills, args.seed))


if __name__ == "__main__":
    main()
