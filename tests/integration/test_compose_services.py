"""The compose file's services as processes of this machine: what it starts becomes healthy and does its work.

Places of containers are put to places of this machine: addresses, secrets, volumes, `/tmp`. The broker is that of the
tests; the Valkey is started by the file's own command.
"""

from __future__ import annotations

import json
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from stocktake.embedded import HOST, VALKEY_VARIABLES, ServerProcess, find_valkey, free_ports, redis_answers
from tests.docs.walk import Walk, forking, need
from tests.image.compose import Service, moved, services
from tests.servers.kafka_broker import KafkaBroker
from tests.servers.processes import running

SERVICES: Final = services()
ROLES: Final = ("consumer", "writer", "service")
STUDIES: Final = 5


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "redis_password"
    path.write_text("a password of the tests\n", encoding="utf-8")
    return path


@contextmanager
def valkey(folder: Path, secret: Path) -> Iterator[int]:
    """The file's Valkey, by its own command; its port."""
    [port] = free_ports(1)
    folder.mkdir()
    places = {"/run/secrets/redis_password": str(secret), "/data": str(folder), "6379": str(port)}
    places["valkey-server"] = f"{find_valkey()} --bind {HOST}"
    command = ["/bin/sh", *moved(SERVICES["valkey"].command, places)[1:]]
    server = ServerProcess("Valkey", command, folder / "log", lambda: redis_refuses(port), variables=VALKEY_VARIABLES)
    with running(server):
        yield port


def redis_refuses(port: int) -> bool:
    """Whether it listens; it answers nobody without the password."""
    assert not redis_answers(port)
    with socket.socket() as client:
        return client.connect_ex((HOST, port)) == 0


def of(service: Service, places: dict[str, str], folder: Path) -> str:
    """The variables of a service and its own `/tmp`, as a script exports them."""
    own = places | {"/tmp": str(folder / service.name)}  # noqa: S108 -- of the container
    (folder / service.name).mkdir(exist_ok=True)
    values = zip(service.environ, moved(list(service.environ.values()), own), strict=True)
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values)


def test_its_roles_become_healthy_do_their_work_and_end_in_order(
    kafka_broker: KafkaBroker, tmp_path: Path, secret: Path
) -> None:
    need("curl")
    kafka_broker.start()
    topic = f"compose-{tmp_path.name}".replace("_", "-")
    kafka_broker.create_topic(topic, 4, {})
    with valkey(tmp_path / "valkey", secret) as port, forking(tmp_path) as forks:
        walk = Walk("docs/quick-start.md", tmp_path / "walk", forks)
        [http] = free_ports(1)
        places = {
            "kafka:9092": kafka_broker.bootstrap_servers,
            "valkey:6379": f"{HOST}:{port}",
            "/run/secrets/redis_password": str(secret),
            "/var/lib/stocktake": str(tmp_path / "lib"),
            "0.0.0.0:8080": f"{HOST}:{http}",
            "stocktake.main.events": topic,
            "5m": "1s",
        }
        for folder in ("inventories", "tokens"):
            (tmp_path / "lib" / folder).mkdir(parents=True)
        given = {name: of(one, places, tmp_path) for name, one in SERVICES.items() if one.ours}
        try:
            walk.environ["TOKEN"] = walk.shell(given["service"] + "stocktake token me --role operate --add").strip()
            roles = [walk.go(given[name] + shlex.join(SERVICES[name].command)) for name in ROLES]
            walk.shell(given["cli"] + f"stocktake simulate --studies {STUDIES} > e.ndjson; stocktake publish e.ndjson")
            for name in ROLES:
                walk.patiently(given[name] + shlex.join(SERVICES[name].probe))
            rows = f"stocktake resolve {tmp_path}/lib/inventories/main --removed --format csv"
            walk.patiently(given["cli"] + rows, sees=lambda out: out.count("\n") == STUDIES + 1)
            walk.shell(given["writer"] + f"stocktake verify {tmp_path}/lib/inventories/main")
            ask = f"curl --silent --fail http://{HOST}:{http}/api/v1/repositories"
            assert json.loads(walk.shell(f'{ask} -H "Authorization: Bearer $TOKEN"'))["items"] == [{"name": "main"}]
            walk.shell(ask, ends=22)
        finally:
            walk.close()
        assert [role.returncode for role in roles] == [0, 0, 0]
