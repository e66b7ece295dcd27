"""Every walk, also those that take too long for the tests: ``python -m tests.docs [WALK ...]``."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.docs.pages import PAGES
from tests.docs.walks import take
from tests.docs.world import own_world
from tests.servers.kafka_broker import run_kafka


def main(wanted: list[str]) -> int:
    """Take the walks, each in a folder of its own; how long each took."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "kafka").mkdir()
        with run_kafka(folder / "kafka") as kafka, own_world(kafka, folder) as world:
            for page, how in PAGES.items():
                if how.walk and (not wanted or how.walk in wanted):
                    begin = time.monotonic()
                    executed = take(page, how.walk, folder / how.walk, world)
                    print(f"{page}: {len(executed)} blocks in {time.monotonic() - begin:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
