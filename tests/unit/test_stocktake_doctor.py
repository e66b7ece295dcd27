"""What the checks of `stocktake doctor` make of what they find, and what runs them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

import pytest
from kafka import TopicPartition

from monitor.partitions import Patience
from state.errors import StateUnreachable
from state.memory import Memory
from state.repository import Progress, Repository, Watermark
from state.times import MICROSECONDS
from stocktake.doctor import brokers, certificates, clocks, folders, origins, servers, states, versions
from stocktake.doctor.areas import AREAS, chosen
from stocktake.doctor.finding import Examined, Finding, Judged, Limits, Reporter
from stocktake.doctor.rights import ROLES
from stocktake.doctor.running import examine
from stocktake.settings import load
from tests.servers.certificates import make_certificates
from writers.files import InventoryFolder
from writers.manifest import Manifest

LIMITS: Final = Limits()
ROOT: Final = Path(__file__).parents[2]
DAY: Final = 86_400.0


def examined(**given: str) -> Examined:
    environ = {f"STOCKTAKE_{name}": value for name, value in given.items()}
    settings = load(None, environ)
    return Examined(settings, tuple(settings.names(None)), None, environ)


# --- running ---------------------------------------------------------------------------------------------------


def test_a_check_that_hangs_or_fails_is_told_and_the_others_are_too() -> None:
    release = threading.Event()
    report = Reporter("x")

    def hangs(what: Examined) -> Iterator[Finding]:
        yield report.ok("before", "it went well so far")
        release.wait(30)
        yield report.ok("after", "too late")

    def refuses(what: Examined) -> Iterator[Finding]:
        yield from ()
        raise StateUnreachable("Redis at nowhere cannot be reached")

    def breaks(what: Examined) -> Iterator[Finding]:
        yield from ()
        raise ValueError("Doe^Jane")

    def works(what: Examined) -> Iterator[Finding]:
        yield report.ok("it", "works")

    areas = {"hangs": hangs, "refuses": refuses, "breaks": breaks, "works": works}
    found = list(examine(areas, examined(), patience=0.3))
    release.set()
    assert [(one.name, one.judged) for one in found] == [
        ("before", Judged.OK),
        ("time", Judged.FAIL),
        ("reach", Judged.FAIL),
        ("check", Judged.FAIL),
        ("it", Judged.OK),
    ]
    assert not any("Doe" in one.line() for one in found), "what an error of ours holds may be a patient's"


def test_areas_are_chosen_by_name() -> None:
    assert list(chosen((), ())) == list(AREAS)
    assert list(chosen(("redis", "kafka"), ())) == ["kafka", "redis"]
    assert "folder" not in chosen((), ("folder",))
    with pytest.raises(ValueError, match="no area is called weather; there are settings, versions"):
        chosen((), ("weather",))


def test_a_line_says_how_it_is_what_it_is_and_what_to_do() -> None:
    report = Reporter("redis")
    assert report.ok("mode", "redis.mode single").line() == "ok    redis.mode: redis.mode single"
    assert report.fail("memory", "full", "more").line() == "FAIL  redis.memory: full; more"


def test_no_server_is_waited_for_longer_than_the_checks_may() -> None:
    what = examined(REDIS__TIMEOUT="60s", KAFKA__TIMEOUT="1s")
    assert (what.redis.timeout, what.kafka.timeout) == (LIMITS.servers, 1.0)


# --- settings, versions, clock ---------------------------------------------------------------------------------


def test_variables_are_named_and_none_of_their_values_is_shown() -> None:
    what = examined(
        REDIS__URL="rediss://:hush@far:6379/0",
        SINKS__VNA__URL="https://vna/dicom",
        SINKS__VNA__TOKEN="hush",  # noqa: S106
    )
    lines = [one.line() for one in origins.check(what)]
    assert "3 variables: STOCKTAKE_REDIS__URL, STOCKTAKE_SINKS__VNA__TOKEN, STOCKTAKE_SINKS__VNA__URL" in lines[0]
    assert not any("hush" in line for line in lines)


def test_what_crosses_the_network_in_clear_is_told() -> None:
    told = {
        one.name for one in origins.check(examined(KAFKA__BOOTSTRAP_SERVERS="kafka:9092", REDIS__URL="redis://r:6379"))
    }
    assert {"kafka", "redis"} <= told
    told = {one.name for one in origins.check(examined())}
    assert not {"kafka", "redis"} & told, "on this machine it crosses none"


@pytest.mark.parametrize(
    ("version", "specifier", "fit"),
    [
        ("7.1", ">=7,<9", True),
        ("9.0.0", ">=7,<9", False),
        ("6.9", "(>=7)", False),
        ("3.0.12", "<4,>=3.0.12", True),
        ("9.1.2.post2", "==9.1.2", True),
        ("2", "!=2.0", False),
        ("1", "~=1.0", True),
    ],
)
def test_a_version_is_held_to_what_is_required(version: str, specifier: str, fit: bool) -> None:
    assert versions.fits(version, specifier) is fit


def test_a_library_that_is_missing_or_too_old_is_named_and_those_of_extras_are_not() -> None:
    [found] = versions.libraries(["orjson>=99", "no-such-thing>=1", 'other>=1; extra == "dev"', "redis>=7,<99"])
    assert found.judged == Judged.FAIL
    assert "orjson is 3" in found.text
    assert "no-such-thing is missing" in found.text
    assert "other" not in found.text


@pytest.mark.parametrize(
    ("ahead", "unsure", "judged"),
    [
        (0.4, 0.0, Judged.OK),
        (-1.5, 0.0, Judged.WARN),
        (1.5, 0.6, Judged.OK),
        (5.5, 0.1, Judged.FAIL),
        (-9.0, 0.1, Judged.FAIL),
    ],
)
def test_a_clock_may_differ_by_less_than_events_may_be_late(ahead: float, unsure: float, judged: Judged) -> None:
    assert clocks.judge(ahead, unsure, 5.0, LIMITS).judged == judged


# --- Kafka -----------------------------------------------------------------------------------------------------


def described(**given: Any) -> dict[str, Any]:
    return {
        "name": "t",
        "error_code": 0,
        "partitions": [{"partition_index": number, "leader_id": 1} for number in range(2)],
        "authorized_operations": ["READ", "DESCRIBE"],
    } | given


def test_a_topic_that_is_missing_forbidden_or_without_leader_is_told_apart() -> None:
    assert brokers.topic("t", described()).text == "topic t has 2 partitions"
    assert brokers.topic("t", None).text == "no topic t"
    assert brokers.topic("t", described(error_code=3)).text == "no topic t"
    assert brokers.topic("t", described(error_code=29)).text == "the user may not describe topic t"
    leaderless = described(partitions=[{"partition_index": 7, "leader_id": -1}])
    assert brokers.topic("t", leaderless).text == "partitions 7 of t have no leader"


def test_a_right_is_there_missing_or_not_told() -> None:
    assert brokers.may("x", "read t", described(), "READ").judged == Judged.OK
    assert brokers.may("x", "write t", described(), "WRITE").judged == Judged.FAIL
    assert brokers.may("x", "write t", described(authorized_operations=[]), "WRITE").judged == Judged.SKIP


def test_a_dead_letter_topic_may_be_missing_but_not_closed() -> None:
    for operations, judged in ((["CREATE", "DESCRIBE"], Judged.OK), (["DESCRIBE"], Judged.SKIP), (None, Judged.SKIP)):
        cluster = {"authorized_operations": operations}
        assert brokers.dead_letters("t.dlq", None, cluster).judged == judged
        assert brokers.dead_letters("t.dlq", described(error_code=29), cluster).judged == Judged.FAIL
        assert brokers.dead_letters("t.dlq", described(), cluster).text == "the user may not write t.dlq"


def test_a_version_of_the_broker_without_topic_ids_is_refused() -> None:
    assert brokers.version((2, 7)).judged == Judged.FAIL
    assert brokers.version((2, 8, 1)).judged == Judged.OK
    assert brokers.version((4, 1)).judged == Judged.OK


def test_a_group_wants_a_member_and_no_more_than_there_are_partitions() -> None:
    assert brokers.members("g", "Empty", 0, 4).judged == Judged.WARN
    assert brokers.members("g", "Stable", 4, 4).judged == Judged.OK
    assert "2 have nothing to read" in brokers.members("g", "Stable", 6, 4).text


@pytest.mark.parametrize(
    ("unread", "judged", "told"),
    [
        (brokers.Unread(10, 0, 10, None), Judged.OK, "0 messages are unread"),
        (brokers.Unread(10, 0, 30, 5), Judged.OK, "20 messages are unread"),
        (brokers.Unread(10, 0, 30, 20), Judged.WARN, "for more than 50% of their retention (7 days)"),
        (brokers.Unread(10, 0, 30, None), Judged.WARN, "for more than 50%"),
        (brokers.Unread(10, 12, 30, 20), Judged.FAIL, "offset 10 is wanted, Kafka holds 12 and later"),
        (brokers.Unread(10, 0, 8, None), Judged.FAIL, "offset 10 is wanted, Kafka ends at 8"),
    ],
)
def test_unread_messages_are_held_to_the_retention(unread: brokers.Unread, judged: Judged, told: str) -> None:
    [found] = brokers.unread("g", {TopicPartition("t", 0): unread}, {"t": 7 * 86_400_000}, LIMITS)
    assert found.judged == judged
    assert told in found.text


def test_a_topic_without_end_of_retention_keeps_what_is_unread() -> None:
    [found] = brokers.unread("g", {TopicPartition("t", 0): brokers.Unread(10, 0, 30, None)}, {"t": None}, LIMITS)
    assert found.judged == Judged.OK


def test_compaction_is_refused() -> None:
    assert brokers.cleanup("t", {"cleanup.policy": "compact,delete"}).judged == Judged.FAIL
    assert "retention 7 days" in brokers.cleanup("t", {"cleanup.policy": "delete", "retention.ms": "604800000"}).text
    assert "retention without end" in brokers.cleanup("t", {"cleanup.policy": "delete", "retention.ms": "-1"}).text
    assert brokers.cleanup("t", None).judged == Judged.SKIP


# --- Redis and the state ---------------------------------------------------------------------------------------


def test_redis_is_judged_by_version_mode_memory_persistence_and_part() -> None:
    assert servers.version({"redis_version": "6.2.14"}).judged == Judged.FAIL
    assert servers.version({"redis_version": "7.0.0"}).judged == Judged.OK
    assert servers.version({"redis_version": "7.2.4", "valkey_version": "9.1.2"}).text == "Valkey 9.1.2"
    assert servers.mode({"redis_mode": "cluster"}, "single").judged == Judged.FAIL
    assert servers.mode({"server_mode": "standalone"}, "cluster").judged == Judged.FAIL
    assert servers.mode({"server_mode": "standalone"}, "sentinel").judged == Judged.OK
    assert servers.mode({}, "single").judged == Judged.SKIP
    assert servers.memory(Memory(50, None), LIMITS).judged == Judged.WARN
    assert servers.memory(Memory(50, 100), LIMITS).judged == Judged.OK
    assert servers.memory(Memory(85, 100), LIMITS).judged == Judged.WARN
    assert servers.memory(Memory(100, 100), LIMITS).judged == Judged.FAIL
    assert servers.persistence({"aof_enabled": "1", "aof_last_write_status": "ok"}).judged == Judged.OK
    assert servers.persistence({"aof_enabled": "1", "aof_last_write_status": "err"}).judged == Judged.FAIL
    assert servers.persistence({"aof_enabled": "0", "rdb_last_bgsave_status": "err"}).judged == Judged.FAIL
    assert servers.persistence({"aof_enabled": "0"}).judged == Judged.WARN
    assert servers.replication({"role": "slave"}).judged == Judged.FAIL
    assert servers.replication({"role": "master", "connected_slaves": "2"}).text == "a primary with 2 replicas"


def test_rights_are_told_by_role() -> None:
    assert servers.rights(set()).text == "the user may use every command of every role"
    assert (
        "enough for service, enricher, bridge, crawler (consumer lacks zrem; writer lacks incr, zrem)"
        in servers.rights({"incr", "zrem"}).text
    )
    assert servers.rights({"evalsha"}).judged == Judged.FAIL


def test_the_commands_of_each_role_are_those_that_the_page_on_security_grants() -> None:
    lines = re.findall(
        r"^ACL SETUSER stocktake-(\w+) on .*? -@all (.+)$", (ROOT / "docs" / "security.md").read_text("utf-8"), re.M
    )
    opening = {"hello", "auth", "client|setinfo", "select"}
    granted = {role: {word[1:] for word in rules.split()} - opening for role, rules in lines}
    assert {role: set(commands) for role, commands in ROLES.items()} == {role: granted[role] for role in ROLES}


def test_topics_that_are_not_as_consumers_saw_them_are_told() -> None:
    assert states.topics("main", {}, {"t": ("a", 4)}).judged == Judged.OK
    assert states.topics("main", {"t": ("a", 4)}, {"t": ("a", 4)}).judged == Judged.OK
    assert "has 8 partitions, consumers saw 4" in states.topics("main", {"t": ("a", 4)}, {"t": ("a", 8)}).text
    assert "made anew" in states.topics("main", {"t": ("a", 4)}, {"t": ("b", 4)}).text
    assert "no consumer has followed u" in states.topics("main", {"t": ("a", 4)}, {"u": ("b", 4)}).text


@pytest.mark.parametrize(("forgotten", "judged"), [(0, Judged.OK), (1, Judged.FAIL), (4, Judged.FAIL)])
def test_a_state_that_has_forgotten_the_chain_is_told(forgotten: int, judged: Judged) -> None:
    found = states.remembers(head(), 4, forgotten)
    assert found.judged == judged
    assert (judged == Judged.OK) or (f"{forgotten} of 4 shards" in found.text and "stocktake import" in found.advice)


@pytest.mark.parametrize(
    ("status", "behind", "age", "told"),
    [
        ("COMPLETE", 5, 10, "10 s old, before that of the head: no inventory is written"),
        ("COMPLETE", -5, 10, "10 s old"),
        ("PARTIAL", 5, 10, "10 s old"),
        (
            "COMPLETE",
            5,
            100,
            "before that of the head: no inventory is written until it has passed that: partition t:0",
        ),
    ],
)
def test_a_watermark_before_that_of_a_whole_head_is_told(status: str, behind: int, age: int, told: str) -> None:
    class TheRepository:
        def watermark(self) -> Watermark:
            return Watermark(1_000_000_000, {}, ())

        def progress(self) -> dict[str, Progress]:
            return {"t:0": Progress(1_000_000_000, 9, 1_000_000_000 + age * MICROSECONDS)}

    found = states.watermark(
        "main",
        cast("Repository", TheRepository()),
        1_000_000_000 + age * MICROSECONDS,
        Patience(20.0, 30.0),
        replace(head(), status=status, watermark=1_000_000_000 + behind * MICROSECONDS),
    )
    assert told in found.text
    assert found.judged == (Judged.WARN if status == "COMPLETE" and behind > 0 else Judged.OK)
    assert (found.text == told) is (found.judged == Judged.OK)


def test_a_debt_of_several_cuts_is_told() -> None:
    assert [states.debt("main", cuts).judged for cuts in (None, 0, 1, 2)] == ["ok", "ok", "ok", "warn"]


# --- folder and files ------------------------------------------------------------------------------------------


def head(sequence: int = 3) -> Manifest:
    nothing = dict.fromkeys(("cut", "slice_from", "watermark", "scope_end", "last_item_time", "own_records"), 0)
    return Manifest(
        **nothing,
        sop_instance_uid="2.25.3",
        repository="main",
        sequence=sequence,
        kind="delta",
        tier=0,
        level="STUDY",
        status="COMPLETE",
        scope_begin=None,
        total_records=0,
        counts={},
        incorporated=(),
        members=(),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        file="2.25.3.dcm",
        bytes=0,
        sha256="",
        software="",
    )


def test_heads_are_compared_by_sequence_and_uid() -> None:
    one = head()
    later = replace(one, sequence=one.sequence + 1)
    assert folders.agrees("main", None, None).text == "no inventory yet"
    assert folders.agrees("main", one, one).judged == Judged.OK
    assert folders.agrees("main", one, later).judged == Judged.WARN
    assert folders.agrees("main", None, one).judged == Judged.WARN
    assert folders.agrees("main", one, replace(one, sop_instance_uid="2.25.9")).judged == Judged.FAIL


@pytest.mark.parametrize(
    ("free", "baseline", "delta", "judged"),
    [
        (2.1e9, 1_000_000_000, 2_000_000, Judged.OK),
        (1.9e9, 1_000_000_000, 2_000_000, Judged.WARN),
        (3e9, 1_000_000_000, 2_000_000_000, Judged.FAIL),
        (2e7, 1_000_000_000, None, Judged.WARN),
        (5e6, None, None, Judged.FAIL),
        (2e8, None, None, Judged.OK),
    ],
)
def test_without_room_for_a_delta_it_fails_and_a_baseline_is_not_due_yet(
    free: float, baseline: int | None, delta: int | None, judged: Judged
) -> None:
    assert folders.room("main", int(free), baseline, delta, LIMITS).judged == judged


def test_a_head_that_cannot_be_read_in_time_is_compared_by_its_size(tmp_path: Path) -> None:
    folder = InventoryFolder(tmp_path, "main")
    folder.path.mkdir()
    one = replace(head(), bytes=4)
    (folder.path / one.file).write_bytes(b"abcd")
    found = folders.whole("main", folder, one, time.monotonic() - 1)
    assert found.judged == Judged.OK
    assert "it takes too long to be read here" in found.text
    assert "SHA-256" in folders.whole("main", folder, one, time.monotonic() + 60).text
    assert folders.whole("main", folder, replace(one, bytes=5), time.monotonic() - 1).judged == Judged.FAIL


def test_certificates_are_read_and_judged_by_their_end(tmp_path: Path) -> None:
    made = make_certificates(tmp_path / "certificates")
    text = made.authority.read_text() + made.server.certificate.read_text()
    ends = certificates.expiries(text)
    assert len(ends) == 2
    now = datetime.now(UTC).timestamp()
    assert all(now < end < now + 3 * DAY for end in ends), "they are made for a short while"
    assert certificates.expiries("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----") == []
    path = made.authority
    judged = [certificates.judge("x", path, ends[0], now, LIMITS).judged for now in (ends[0] - 31 * DAY, now, ends[0])]
    assert judged == [Judged.OK, Judged.WARN, Judged.FAIL]


@pytest.mark.parametrize(
    ("ends", "of_authorities", "of_a_chain"),
    [
        ((90, 60), Judged.OK, Judged.OK),
        ((90, 10), Judged.WARN, Judged.WARN),
        ((90, -1), Judged.WARN, Judged.WARN),
        ((-1, 90), Judged.WARN, Judged.FAIL),
        ((-1, -9), Judged.FAIL, Judged.FAIL),
        ((10,), Judged.WARN, Judged.WARN),
    ],
)
def test_of_authorities_one_is_enough_and_of_a_chain_the_first_counts(
    ends: tuple[int, ...], of_authorities: Judged, of_a_chain: Judged
) -> None:
    now = 1_800_000_000.0
    given = ("x", Path("x.pem"), [now + days * DAY for days in ends], now, LIMITS)
    assert certificates.authorities(*given).judged == of_authorities
    assert certificates.presented(*given).judged == of_a_chain


def test_every_file_for_tls_is_looked_at(tmp_path: Path) -> None:
    made = make_certificates(tmp_path / "certificates")
    what = examined(
        HTTP__TLS_CERT_FILE=str(made.server.certificate),
        HTTP__TLS_KEY_FILE=str(made.server.key),
        REDIS__URL="rediss://r:6379",
        REDIS__TLS_CA_FILE=str(tmp_path / "none"),
    )
    found = {one.name: one for one in certificates.check(what)}
    assert found["redis.tls_ca_file"].judged == Judged.FAIL
    assert found["http.tls_cert_file"].judged == Judged.WARN, "it ends soon"
    assert found["http.tls_key_file"].judged == Judged.OK
    assert "BEGIN" not in str(found)
