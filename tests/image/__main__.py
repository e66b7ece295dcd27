"""Builds the image with buildah and runs it as the chart does: user 10001, read-only root, real Kafka and Valkey.

``python -m tests.image [BASE]``, as root, with buildah and, where BASE is not given, debootstrap (Debian's packages).
BASE is an image that buildah has or gets. What it makes lies in build/image. It prints what it found, as JSON, and ends
with exit code 0 if all went well.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from stocktake.embedded import free_ports, wait_until
from tests.image.box import ROOT, TOOLS, USER, Box, Store, megabytes, missing_tools
from tests.image.containerfile import instructions
from tests.servers.kafka_broker import run_kafka
from tests.servers.redis_server import run_redis

STAND_IN: Final = "localhost/python-stand-in:latest"
IMAGE: Final = "localhost/stocktake:trial"
TOPIC: Final = "stocktake.main.events"
STUDIES: Final = 50
PATIENCE: Final = 120.0  # seconds


def main(arguments: list[str]) -> int:
    if why := missing_tools((*TOOLS, "debootstrap") if not arguments else TOOLS):
        sys.stderr.write(f"tests.image: {why}\n")
        return 3
    store = Store(ROOT / "build" / "image")
    store.folder.mkdir(parents=True, exist_ok=True)
    base = arguments[0] if arguments else STAND_IN
    if base == STAND_IN and not store.has(STAND_IN):
        store.make_base(STAND_IN)
    with tempfile.TemporaryDirectory() as context:
        snapshot(Path(context))
        first, second = (store.build(Path(context), base, IMAGE) for _ in range(2))
    found: dict[str, Any] = {"base": base, "same_when_built_again": first == second}
    with store.mounted(IMAGE) as root, tempfile.TemporaryDirectory() as scratch:
        found["megabytes"] = {"all": round(megabytes(root)), "program": round(megabytes(root / "opt/stocktake"))}
        found |= trial(root, Path(scratch))
    print(json.dumps(found, indent=2))
    return 0 if found["verified"] else 1


def snapshot(context: Path) -> None:
    """What the build is given, as it is now, so that nobody's work changes it between two builds."""
    names = [word for one in instructions(ROOT / "Containerfile") if one.name == "COPY" for word in one.words[:-1]]
    for name in ("Containerfile", ".containerignore", *names):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, context / name)
        elif (ROOT / name).is_file():
            shutil.copy2(ROOT / name, context / name)


def trial(root: Path, scratch: Path) -> dict[str, Any]:
    """The roles in the image, on real servers: events in, an inventory out, which the image's own verify reads."""
    for name in ("tmp", "inventories"):
        (scratch / name).mkdir()
        (scratch / name).chmod(0o777)
    for name in ("kafka", "redis"):
        (scratch / name).mkdir()
    scratch.chmod(0o755)
    with run_kafka(scratch / "kafka") as kafka, run_redis(scratch / "redis") as redis:
        kafka.create_topic(TOPIC, 4, {})
        [port] = free_ports(1)
        box = Box(
            root,
            scratch / "tmp",
            scratch / "inventories",
            {
                "PATH": "/opt/stocktake/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                "PYTHONSAFEPATH": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
                "STOCKTAKE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
                "STOCKTAKE_REDIS__URL": redis.url,
                "STOCKTAKE_INVENTORY__INTERVAL": "2s",
                "STOCKTAKE_HEALTH__FILE": "/tmp/stocktake-health",  # noqa: S108 -- of the image
                "STOCKTAKE_HTTP__LISTEN": f"127.0.0.1:{port}",
            },
        )
        found: dict[str, Any] = {"version": box.run("stocktake", "--version").stdout.strip()}
        found["root_is_read_only"] = box.run("touch", "/opt/stocktake/x", check=False).returncode != 0
        found["user"] = box.run("id", "-u").stdout.strip() == str(USER)
        events = box.run("stocktake", "simulate", "--studies", str(STUDIES)).stdout
        (scratch / "tmp" / "events.ndjson").write_text(events, encoding="utf-8")
        box.run("stocktake", "publish", "/tmp/events.ndjson")  # noqa: S108 -- of the image
        roles = {name: box.start(scratch / f"{name}.log", "stocktake", name) for name in ("consume", "write", "serve")}
        try:
            found["ready"] = wait_until(lambda: _succeeds(box, "stocktake", "health", "--ready"), PATIENCE)
            found["studies"] = wait_until(lambda: f"studies {STUDIES}" in _status(box), PATIENCE)
            found["verified"] = wait_until(lambda: _succeeds(box, "stocktake", "verify", "inventories/main"), PATIENCE)
        finally:
            for process in roles.values():
                _end(process)
        found["ended"] = {name: process.returncode for name, process in roles.items()}
        if not found["verified"]:
            for name in roles:
                sys.stderr.write(f"--- {name}\n{(scratch / f'{name}.log').read_text(encoding='utf-8')}")
    return found


def _succeeds(box: Box, *arguments: str) -> bool:
    return box.run(*arguments, check=False).returncode == 0


def _status(box: Box) -> str:
    return " ".join(box.run("stocktake", "status", check=False).stdout.split())


def _end(process: subprocess.Popen[bytes]) -> None:
    """As an engine ends a container: SIGTERM to its first process, which unshare stands before."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for child in children.read_text(encoding="utf-8").split():
        os.kill(int(child), signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
