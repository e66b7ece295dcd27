"""`stocktake doctor` on real servers: it is content with what is well, and names what really is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from kafka import TopicPartition
from redis import Redis

from state.chain import Chain, Lease
from stocktake.cli import main
from stocktake.doctor.areas import AREAS
from stocktake.doctor.finding import Examined, Finding, Judged, Limits
from stocktake.doctor.rights import ROLES, probes
from stocktake.embedded import free_ports
from stocktake.exits import Exit
from stocktake.settings import load
from tests.feed import Feed, broker_admin, ct
from tests.harness import Deployment, wait_for
from tests.servers.kafka_broker import KafkaBroker
from tests.servers.processes import running
from tests.servers.redis_server import node_process

NOWHERE: Final = "127.0.0.1:1"


def examined(environ: dict[str, str], **given: Any) -> Examined:
    settings = load(None, environ)
    return Examined(settings, tuple(settings.names(None)), None, environ, **given)


def look(area: str, what: Examined) -> dict[str, Finding]:
    """What an area's checks find, by name."""
    return {one.name: one for one in AREAS[area](what)}


def faults(found: dict[str, Finding]) -> dict[str, str]:
    """What is not well."""
    return {name: f"{one.text}; {one.advice}" for name, one in found.items() if one.judged in ("warn", "FAIL")}


@pytest.fixture
def well(deploy: Callable[..., Deployment]) -> Iterator[Deployment]:
    """A deployment at work: a consumer, a writer's lease, a baseline."""
    deployment = deploy()
    deployment.settings.inventory.dir.mkdir(exist_ok=True)
    deployment.clock.now = time.time_ns() // 1000
    deployment.publish([(ct(study, 1, 1), deployment.clock.now) for study in range(5)])
    with deployment.consuming():
        wait_for(lambda: deployment.opened.studies.count() == 5 and deployment.caught_up(), "the events")
        deployment.produce()
        lease = Lease(deployment.opened.connection, deployment.name, 60.0)
        assert lease.take()
        yield deployment


def test_what_is_well_is_told_so_for_people_and_for_programs(
    well: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in well.environ.items():
        monkeypatch.setenv(name, value)
    before = well.dump_shards(), sorted(well.redis.keys("*"))
    assert main(["doctor", "--json"]) == Exit.DONE
    told = orjson.loads(capsys.readouterr().out)
    assert told["counts"]["fail"] == 0
    found = {f"{one['area']}.{one['check']}": one["result"] for one in told["findings"]}
    topic, name = well.topic, well.name
    group = f"stocktake.{name}"
    for check in (
        "settings.origin versions.python versions.libraries clock.redis kafka.reach kafka.version redis.reach "
        f"redis.version redis.mode redis.eviction redis.persistence redis.replication redis.scripts redis.rights "
        f"kafka.{topic} kafka.{topic}.cleanup kafka.{topic}.dlq kafka.{topic}.read kafka.{group}.group "
        f"kafka.{group}.commit kafka.{group}.lag "
        f"state.{name} state.{name}.watermark state.{name}.writer state.{name}.debt state.{name}.topics "
        f"folder.dir folder.{name}.head folder.{name}.files folder.{name}.room http.tokens"
    ).split():
        assert found[check] == "ok", [one for one in told["findings"] if f"{one['area']}.{one['check']}" == check]
    assert (well.dump_shards(), sorted(well.redis.keys("*"))) == before, "nothing is left behind"
    assert main(["doctor", "--only", "redis,clock"]) == Exit.DONE
    lines = capsys.readouterr().out.splitlines()
    assert all(line.split()[1].startswith(("redis.", "clock.")) for line in lines[:-1])
    assert lines[-1].endswith("0 FAIL, 0 skip")
    assert main(["doctor", "--without", "weather"]) == Exit.USAGE


def test_servers_that_are_away_are_told_so_in_time_and_all_else_is_looked_at(tmp_path: Path) -> None:
    environ = {
        "STOCKTAKE_KAFKA__BOOTSTRAP_SERVERS": NOWHERE,
        "STOCKTAKE_KAFKA__TIMEOUT": "1s",
        "STOCKTAKE_REDIS__URL": f"redis://{NOWHERE}/0",
        "STOCKTAKE_REDIS__TIMEOUT": "1s",
        "STOCKTAKE_INVENTORY__DIR": str(tmp_path),
    }
    # In a process of its own: the client of Kafka leaves sockets open where nobody answers.
    command = [sys.executable, "-m", "stocktake", "doctor"]
    begun = time.monotonic()
    answer = subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, timeout=60)
    assert answer.returncode == Exit.FAULTS, answer.stderr
    assert time.monotonic() - begun < 25
    lines = answer.stdout.splitlines()
    told = {line.split()[1].rstrip(":"): line.split()[0] for line in lines}
    assert told["kafka.reach"] == told["redis.reach"] == "FAIL"
    assert told["clock.redis"] == told["state.main"] == told["folder.main.head"] == "skip"
    assert told["folder.dir"] == told["folder.main.room"] == "ok"


def test_a_topic_that_is_missing_compacted_or_without_readers_is_named(
    deploy: Callable[..., Deployment], kafka_broker: KafkaBroker, make_topic: Callable[..., str]
) -> None:
    deployment = deploy()
    compacted = make_topic(2, **{"cleanup.policy": "compact"})
    topics = f"STOCKTAKE_REPOSITORIES__{deployment.name.upper()}__TOPICS"
    found = look("kafka", examined(deployment.environ | {topics: f"{compacted},nowhere"}))
    wrong = faults(found)
    assert wrong["nowhere"].startswith("no topic nowhere; create it")
    if not kafka_broker.description.startswith("Apache"):
        return  # the embedded broker does not tell of the rest
    assert "cleanup.policy=compact: of a study's events only the latest are kept" in wrong[f"{compacted}.cleanup"]
    assert "has no members; start `stocktake consume`" in wrong[f"stocktake.{deployment.name}.group"]


@pytest.fixture
def bad_redis(tmp_path: Path) -> Iterator[str]:
    """A server that evicts, keeps nothing, and lets the user ``half`` do little."""
    [port] = free_ports(1)
    options = ("--maxmemory-policy", "allkeys-lru", "--maxmemory", "64mb", "--appendonly", "no")
    with running(node_process(tmp_path / "redis", port, *options)):
        with Redis(port=port) as client:
            rules = f"on >secret resetchannels ~st:* -@all +{' +'.join(sorted(ROLES['enricher']))} +hello +auth +select"
            client.execute_command("ACL", "SETUSER", "half", *rules.split())
            client.execute_command("ACL", "SETUSER", "none", "on", ">secret", "-@all", "+info", "+hello", "+auth")
        yield f"127.0.0.1:{port}/0"


def test_a_server_that_would_lose_the_state_and_a_user_without_a_command_are_named(bad_redis: str) -> None:
    wrong = faults(look("redis", examined({"STOCKTAKE_REDIS__URL": f"redis://{bad_redis}"})))
    assert "has maxmemory-policy allkeys-lru" in wrong.pop("eviction")
    assert "a restart loses what came since the last snapshot" in wrong.pop("persistence")
    assert wrong == {}
    half = look("redis", examined({"STOCKTAKE_REDIS__URL": f"redis://half:secret@{bad_redis}"}))
    assert half["rights"].judged == Judged.OK
    assert "enough for enricher (consumer lacks exists, get, hdel, hexists" in half["rights"].text
    none = faults(look("redis", examined({"STOCKTAKE_REDIS__URL": f"redis://none:secret@{bad_redis}"})))
    assert "the user may not do what any role has to: consumer lacks evalsha, exists" in none["rights"]
    assert "does not let this user do that" in none["scripts"]
    stranger = look("redis", examined({"STOCKTAKE_REDIS__URL": f"redis://none:wrong@{bad_redis}"}))
    assert list(stranger) == ["login"]
    assert "wrong" not in stranger["login"].text.replace("WRONGPASS", "")


def test_every_command_that_a_role_uses_is_tried() -> None:
    assert set().union(*ROLES.values()) == probes("main").keys()


@pytest.fixture
def deployment(tmp_path: Path, redis_url: str, repository: str, kafka_broker: KafkaBroker) -> Iterator[Deployment]:
    """A state and a baseline; Kafka has no such topic."""
    with closing(Deployment(tmp_path, redis_url, repository, kafka_broker.bootstrap_servers)) as made:
        made.clock.now = time.time_ns() // 1000
        made.apply([(ct(study, 1, 1), made.clock.now) for study in range(5)])
        made.produce()
        yield made


def test_a_state_of_another_schema_or_made_with_other_settings_is_named(deployment: Deployment) -> None:
    for setting, value, told in (
        ("STATE__SHARDS", "16", "made with state.shards 8, the settings say 16; change the setting back"),
        ("INVENTORY__LEVEL", "STUDY", "made with inventory.level INSTANCE, the settings say STUDY"),
    ):
        wrong = faults(look("state", examined(deployment.environ | {f"STOCKTAKE_{setting}": value})))
        assert told in wrong[deployment.name]
    deployment.redis.hset(deployment.keys.settings, "schema", "1")
    assert "run `stocktake migrate`" in faults(look("state", examined(deployment.environ)))[deployment.name]


def test_consumers_that_are_stopped_or_silent_and_a_writer_that_is_not_there_are_named(deployment: Deployment) -> None:
    deployment.opened.repository.stop_for_dead_letters("9 of the latest 10 messages were bad")
    deployment.clock.now -= 3_600_000_000
    deployment.redis.delete(deployment.keys.watermarks)
    deployment.apply([(ct(9, 1, 1), deployment.clock.now)], 5)
    wrong = faults(look("state", examined(deployment.environ)))
    name = deployment.name
    assert "9 of the latest 10 messages were bad; look at the dead letters" in wrong[f"{name}.stopped"]
    assert "no consumer has spoken of partition by-hand:0 for 36" in wrong[f"{name}.watermark"]
    assert "no writer leads" in wrong[f"{name}.writer"]
    deployment.redis.delete(deployment.keys.watermarks)
    assert "none: by-hand:0" in faults(look("state", examined(deployment.environ)))[f"{name}.watermark"]


def test_a_state_or_a_shard_that_has_forgotten_the_chain_is_named(deployment: Deployment) -> None:
    head = deployment.produce()
    name = f"{deployment.name}.chain"
    assert look("state", examined(deployment.environ))[name].judged == Judged.OK
    deployment.redis.delete(deployment.shard_keys[3].generation)
    assert "1 of 8 shards know nothing of the chain" in faults(look("state", examined(deployment.environ)))[name]
    Chain(deployment.opened.connection, deployment.name).set_imported(head.sop_instance_uid)
    assert name not in faults(look("state", examined(deployment.environ)))
    for key in deployment.redis.keys(f"st:*{deployment.name}*"):
        deployment.redis.delete(key)
    assert "8 of 8 shards know nothing of the chain" in faults(look("state", examined(deployment.environ)))[name]


def test_events_that_a_restored_state_wants_and_kafka_has_removed_are_named(deploy: Callable[..., Deployment]) -> None:
    feed = Feed(deployment := deploy(1))
    feed.publish([ct(number, 1, 1) for number in range(50)])
    for keys in deployment.shard_keys:
        deployment.redis.hset(keys.offsets, f"{feed.topic_id}:0", 44)
    lag = f"stocktake.{deployment.name}.lag"
    assert look("kafka", examined(deployment.environ))[lag].text == "5 messages are unread"
    with broker_admin(deployment) as admin:
        admin.delete_records({TopicPartition(deployment.topic, 0): 30})
    deployment.redis.hset(deployment.shard_keys[2].offsets, f"{feed.topic_id}:0", 20)
    found = look("kafka", examined(deployment.environ))[lag]
    assert found.judged == Judged.FAIL
    assert "offset 21 is wanted, Kafka holds 30 and later" in found.text
    nowhere = {"STOCKTAKE_REDIS__URL": f"redis://{NOWHERE}/0", "STOCKTAKE_REDIS__TIMEOUT": "1s"}
    assert look("kafka", examined(deployment.environ | nowhere))[lag].judged == Judged.SKIP


def test_a_clock_that_goes_wrong_is_named(deployment: Deployment) -> None:
    assert faults(look("clock", examined(deployment.environ))) == {}
    for ahead, judged in ((2.0, Judged.WARN), (-2.0, Judged.WARN), (60.0, Judged.FAIL)):
        found = look("clock", examined(deployment.environ, now=lambda ahead=ahead: time.time() + ahead))
        assert found["redis"].judged == judged
        assert ("ahead of" if ahead > 0 else "behind") in found["redis"].text


def test_a_folder_that_is_missing_full_or_cannot_be_written_is_named(deployment: Deployment, tmp_path: Path) -> None:
    environ = deployment.environ
    name = deployment.name
    assert faults(look("folder", examined(environ))) == {}
    missing = look("folder", examined(environ | {"STOCKTAKE_INVENTORY__DIR": str(tmp_path / "none")}))
    assert missing["dir"].judged == Judged.FAIL
    # Nobody may write here, not even root.
    locked = look("folder", examined(environ | {"STOCKTAKE_INVENTORY__DIR": "/proc/self"}))
    assert "cannot be written" in locked["dir"].text
    full = faults(look("folder", examined(environ, limits=replace(Limits(), room=1e12))))
    assert "make the volume larger" in full[f"{name}.room"]


def test_a_head_that_is_damaged_or_not_the_states_is_named(deployment: Deployment) -> None:
    name = deployment.name
    head = deployment.produce()
    path = deployment.path(head)
    whole = path.read_bytes()
    path.write_bytes(whole[:-2] + b"xx")
    assert "its SHA-256 is another" in faults(look("folder", examined(deployment.environ)))[f"{name}.files"]
    path.write_bytes(whole[:-2])
    assert f"has {len(whole) - 2:,} bytes" in faults(look("folder", examined(deployment.environ)))[f"{name}.files"]
    path.write_bytes(whole)
    first = deployment.path(replace(head, file=head.members[0].file))
    first.rename(first.with_suffix(".away"))
    assert (
        "1 files that the head reaches are missing"
        in faults(look("folder", examined(deployment.environ)))[f"{name}.files"]
    )
    first.with_suffix(".away").rename(first)
    deployment.redis.delete(deployment.keys.chain)
    assert (
        "head.json has sequence 2, Redis none" in faults(look("folder", examined(deployment.environ)))[f"{name}.head"]
    )
