"""``make soak``: faults without end, and the program held to the oracle all the while (docs/soak.md).

Starts its own servers, prints what it finds and writes ``build/soak.json``. Ends with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import time
from pathlib import Path
from random import SystemRandom
from typing import Any, Final

import orjson

from tests.soak.profiles import PROFILES
from tests.soak.rebalance import run_rebalance
from tests.soak.run_faults import run_failovers, run_faults
from tests.soak.servers import Servers

PARTS: Final = {"faults": run_faults, "failovers": run_failovers, "rebalance": run_rebalance}

_BUILD: Final = Path("build")
_FOLDER: Final = _BUILD / "soak"


def main() -> int:
    args = _parser().parse_args()
    profile = PROFILES[args.profile]
    seed = SystemRandom().randrange(10**6) if args.seed is None else args.seed
    folder = args.folder.absolute()
    if args.folder == _FOLDER:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    logging.basicConfig(filename=folder / "soak.log", level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # every reconnection, and there are many
    print(f"profile {args.profile}, seed {seed}; logs and inventories in {folder}", flush=True)
    begun = time.monotonic()
    failures: list[str] = []
    figures: dict[str, Any] = {"profile": args.profile, "seed": seed, "cpus": os.cpu_count()}
    with Servers.running(folder) as servers:
        figures["broker"] = servers.broker.description
        for part in args.part or PARTS:
            try:
                figures[part], wrong = PARTS[part](folder, servers, profile, seed)
            except AssertionError as error:
                wrong = [str(error)]
            failures += [f"{part}: {one}" for one in wrong]
    figures["seconds"] = round(time.monotonic() - begun)
    figures["failures"] = failures
    text = orjson.dumps(figures, option=orjson.OPT_INDENT_2)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_bytes(text)
    print(text.decode())
    print("nothing was lost" if not failures else f"{len(failures)} FAILURES, the first: {failures[0]}")
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("profile", nargs="?", choices=sorted(PROFILES), default="full")
    parser.add_argument("--seed", type=int, help="of the faults and events (default: drawn)")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one (default: all)")
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="a new one, for logs and inventories")
    parser.add_argument("--output", type=Path, default=_BUILD / "soak.json")
    return parser


if __name__ == "__main__":
    sys.exit(main())
