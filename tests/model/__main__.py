"""A long run of the model on a Redis that it finds or starts: ``python -m tests.model [examples]``, default 2,000."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.model.campaign import play
from tests.model.world import Servers
from tests.servers.redis_server import run_redis

EXAMPLES: Final = 2000
_EACH: Final = 100  # examples between two lines of progress


def main() -> None:
    examples = int(sys.argv[1]) if len(sys.argv) > 1 else EXAMPLES
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, run_redis(Path(folder)) as server:
        servers = Servers(server.url, Path(folder))
        print(f"{examples} examples on {server.description}", flush=True)

        def done() -> None:
            servers.tally["examples"] += 1
            if servers.tally["examples"] % _EACH == 0:
                passed = time.monotonic() - begun
                print(f"{servers.tally['examples']} examples in {passed:.0f} s", flush=True)

        try:
            play(servers, examples, done=done)
        finally:
            passed = time.monotonic() - begun
            print(f"{servers.tally['examples']} examples held in {passed:.0f} s; in them there were")
            for name, count in sorted(servers.tally.items()):
                print(f"  {count:8} {name}")


if __name__ == "__main__":
    main()
