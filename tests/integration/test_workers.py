"""Consumers as several processes and of several repositories: started together, killed, left alone, ended in order."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Final

import orjson
import pytest

from consumers.publish import event_key
from consumers.simulate import simulate
from stocktake.embedded import free_ports
from stocktake.exits import CommandError, Exit
from stocktake.members import consumers
from stocktake.settings import load
from stocktake.wiring import open_repository
from stocktake.workers import Deaths, run_workers
from tests.harness import PATIENCE, Deployment, wait_for
from tests.oracle.events import Json
from tests.servers.kafka_broker import KafkaBroker
from tests.servers.redis_server import RedisServer

ROOT: Final = Path(__file__).parents[2]
MakeTopic = Callable[..., str]
Deploy = Callable[..., Deployment]


@pytest.fixture
def deploy(
    tmp_path: Path, redis_url: str, repository: str, kafka_broker: KafkaBroker, make_topic: MakeTopic
) -> Iterator[Deploy]:
    """Makes a deployment on a new topic; ``name`` tells several apart."""
    made: list[Deployment] = []

    def make(partitions: int = 4, name: str = "", **given: str) -> Deployment:
        topic = make_topic(partitions=partitions)
        given = {"KAFKA__SESSION_TIMEOUT": "4s", "CONSUMER__WATERMARK_INTERVAL": "200ms"} | given
        where = kafka_broker.bootstrap_servers
        made.append(Deployment(tmp_path, redis_url, repository + name, where, topic, **given))
        return made[-1]

    yield make
    for deployment in made:
        deployment.close()


class Program:
    """``stocktake consume`` as a process of its own, with health files; what it logs goes to a file."""

    def __init__(self, process: subprocess.Popen[bytes], log_file: Path, environ: dict[str, str]) -> None:
        self.process = process
        self._log_file = log_file
        self._environ = environ

    @property
    def log(self) -> str:
        return self._log_file.read_text(encoding="utf-8")

    def worker(self, number: int, start: int = 1) -> int:
        """The process id of a worker after so many starts."""
        pattern = rf"worker {number} is process (\d+)"
        wait_for(lambda: len(re.findall(pattern, self.log)) >= start, f"start {start} of worker {number}: {self.log}")
        return int(re.findall(pattern, self.log)[start - 1])

    def wait_until_shared_by(self, workers: int) -> None:
        """Until each worker has partitions of every repository, by its own word."""
        settings = load(None, self._environ)
        assert settings.health.file is not None
        files = [member.file(settings.health.file) for member in consumers(settings.names(None), workers)]
        try:
            wait_for(lambda: all(map(_assigned, files)), f"{workers} workers share the partitions")
        except AssertionError as error:
            error.add_note(self.log)
            raise

    def health(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "stocktake", "health", *arguments]
        return subprocess.run(command, cwd=ROOT, env=self._environ, check=False, capture_output=True, text=True)

    def ends(self, code: Exit, within: float = PATIENCE) -> None:
        assert self.process.wait(within) == code, self.log

    def sigterm(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def ctrl_c(self) -> None:
        """As a terminal does, which tells the workers too."""
        os.killpg(self.process.pid, signal.SIGINT)


def _assigned(health_file: Path) -> int:
    """How many partitions a consumer has by its own word; 0 before its first."""
    try:
        found: int = orjson.loads(health_file.read_bytes()).get("assigned", 0)
    except (OSError, ValueError):
        return 0
    return found


@contextmanager
def consuming(folder: Path, deployments: Sequence[Deployment], *arguments: str, **given: str) -> Iterator[Program]:
    environ = dict(os.environ) | {"STOCKTAKE_HEALTH__FILE": str(folder / "health")}
    for deployment in deployments:
        environ |= deployment.environ
    environ |= {f"STOCKTAKE_{name}": value for name, value in given.items()}
    log_file = folder / f"log-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "stocktake", "consume", *arguments]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=log, start_new_session=True)
    try:
        yield Program(process, log_file, environ)
    finally:
        # Workers too, if a test failed: they are in the session that was begun for them.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def publish(deployment: Deployment, events: list[Json]) -> int:
    """How many studies they are about."""
    deployment.publish((event, time.time_ns() // 1000) for event in events)
    return len({event_key(event) for event in events})


def events(studies: int, seed: int) -> list[Json]:
    """Of a small simulated archive."""
    return list(simulate(studies, seed, max_instances=10))


def knows(deployment: Deployment, studies: int) -> bool:
    return deployment.opened.studies.count() >= studies


def alive(pid: int) -> bool:
    """Whether a process still runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- one process, several repositories -----------------------------------------------------------------------------


def test_one_process_follows_every_repository_and_ends_when_all_are_caught_up(deploy: Deploy, tmp_path: Path) -> None:
    first, second = deploy(name="a"), deploy(name="b")
    studies = publish(first, events(5, 1)), publish(second, events(8, 2))
    with consuming(tmp_path, [first, second], "--until-caught-up") as program:
        program.ends(Exit.DONE)
    assert (first.opened.studies.count(), second.opened.studies.count()) == studies
    assert first.opened.repository.watermark().time is not None
    assert second.opened.repository.watermark().time is not None


def test_a_repository_that_is_named_is_followed_alone(deploy: Deploy, tmp_path: Path) -> None:
    first, second = deploy(name="a"), deploy(name="b")
    studies = publish(first, events(5, 1))
    publish(second, events(8, 2))
    with consuming(tmp_path, [first, second], "--until-caught-up", "--repository", first.name) as program:
        program.ends(Exit.DONE)
    assert first.opened.studies.count() == studies
    assert second.opened.studies.count() == 0


def test_sigterm_ends_with_0_in_time_also_while_a_server_does_not_answer(deploy: Deploy, tmp_path: Path) -> None:
    nowhere = f"127.0.0.1:{free_ports(1)[0]}"
    given = {"KAFKA__BOOTSTRAP_SERVERS": nowhere, "KAFKA__TIMEOUT": "60s", "CONSUMER__SHUTDOWN_TIMEOUT": "1s"}
    deployment = deploy()
    with consuming(tmp_path, [deployment], **given) as program:
        keys = deployment.keys
        deployment.redis.delete(keys.settings)
        wait_for(lambda: deployment.redis.exists(keys.settings) == 1, "the state is opened")
        program.sigterm()
        program.ends(Exit.DONE, within=5)


# --- several workers -----------------------------------------------------------------------------------------------


def test_workers_share_the_partitions_of_every_repository_and_end_in_order(deploy: Deploy, tmp_path: Path) -> None:
    first, second = deploy(name="a"), deploy(name="b")
    with consuming(tmp_path, [first, second], "--workers", "2") as program:
        workers = [program.worker(1), program.worker(2)]
        program.wait_until_shared_by(2)
        wait_for(lambda: program.health("--ready").returncode == Exit.DONE, "all are ready")
        studies = publish(first, events(20, 1)), publish(second, events(20, 2))
        wait_for(lambda: knows(first, studies[0]) and knows(second, studies[1]), "all applied")
        program.sigterm()
        program.ends(Exit.DONE)
        assert not any(map(alive, workers))
    assert "Traceback" not in program.log
    assert "killed" not in program.log


def test_a_killed_worker_is_started_again_and_nothing_is_lost(deploy: Deploy, tmp_path: Path) -> None:
    deployment = deploy()
    with consuming(tmp_path, [deployment], "--workers", "2") as program:
        program.wait_until_shared_by(2)
        os.kill(program.worker(2), signal.SIGKILL)
        studies = publish(deployment, events(30, 3))
        assert alive(program.worker(2, start=2))
        wait_for(lambda: knows(deployment, studies), "all applied")
        program.ctrl_c()
        program.ends(Exit.DONE)
    assert "Traceback" not in program.log
    assert "was killed by SIGKILL; it is started again in 0.5 s" in program.log
    counts = deployment.consume_all()
    assert counts["events_store"] == 0


def test_a_worker_that_is_started_again_while_redis_is_away_waits_for_it(
    deploy: Deploy, tmp_path: Path, redis_server: RedisServer
) -> None:
    deployment = deploy(REDIS__TIMEOUT="1s")
    with consuming(tmp_path, [deployment], "--workers", "2") as program:
        program.wait_until_shared_by(2)
        redis_server.kill()
        try:
            os.kill(program.worker(2), signal.SIGKILL)
            wait_for(lambda: "ended with exit code 3; it is started again" in program.log, "word of it")
        finally:
            redis_server.start()
        studies = publish(deployment, events(30, 3))
        wait_for(lambda: knows(deployment, studies), "all applied")
        program.sigterm()
        program.ends(Exit.DONE)
    assert "Traceback" not in program.log


def test_workers_that_nobody_watches_any_more_end_by_themselves(deploy: Deploy, tmp_path: Path) -> None:
    with consuming(tmp_path, [deploy()], "--workers", "2") as program:
        workers = [program.worker(1), program.worker(2)]
        program.wait_until_shared_by(2)
        program.process.kill()
        wait_for(lambda: not any(map(alive, workers)), "the workers have ended")
    assert program.log.count("the program that started this worker is gone; ending") == 2


def test_more_workers_than_partitions_end_when_all_is_applied(deploy: Deploy, tmp_path: Path) -> None:
    deployment = deploy(partitions=2)
    studies = publish(deployment, events(1, 4))  # one study, so one of the partitions stays empty
    with consuming(tmp_path, [deployment], "--workers", "3", "--until-caught-up") as program:
        program.ends(Exit.DONE)
    assert deployment.opened.studies.count() == studies
    assert deployment.opened.repository.watermark().time is not None


def test_a_foreseen_error_of_a_worker_ends_all_with_its_exit_code_and_one_message(
    deploy: Deploy, tmp_path: Path
) -> None:
    given = {"CONSUMER__DLQ_LIMIT": "0.01", "CONSUMER__DLQ_WINDOW": "100", "LOG__LEVEL": "ERROR"}
    deployment = deploy(**given)
    deployment.publish_raw([(b"1.2", b"no event", 0)] * 10)
    with consuming(tmp_path, [deployment], "--workers", "2") as program:
        program.ends(Exit.FAULTS)
    [line] = program.log.splitlines()
    assert line.startswith("stocktake consume: 2 of the latest 100 messages were bad")


def test_workers_that_die_again_and_again_are_given_up(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deaths, "MOST", 2)
    deployment = deploy()
    over = Flag()

    def kill_all() -> None:
        while not over.wait(0.1):
            for child in multiprocessing.active_children():
                child.kill()

    killer = Thread(target=kill_all)
    killer.start()
    try:
        with pytest.raises(CommandError, match="was killed by SIGKILL; it was the 2th death of a worker") as raised:
            run_workers(load(None, deployment.environ), [deployment.name], 1, Flag())
    finally:
        over.set()
        killer.join()
    assert raised.value.code == Exit.FAULTS


def test_a_settings_object_reaches_a_worker_whole(deploy: Deploy) -> None:
    """Run in this process: the state that the workers fill is that of the settings given, not of the environment's."""
    deployment = deploy()
    studies = publish(deployment, events(3, 5))
    stop = Flag()

    def stop_when_known() -> None:
        try:
            wait_for(lambda: knows(deployment, studies), "all applied")
        finally:
            stop.set()

    watcher = Thread(target=stop_when_known)
    watcher.start()
    run_workers(deployment.settings, [deployment.name], 1, stop)
    watcher.join()
    opened = open_repository(deployment.settings, None)
    assert opened.studies.count() == studies
    opened.close()
