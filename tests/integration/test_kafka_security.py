"""Kafka that asks who comes: every protocol and mechanism, the documented rights, and what is said when it refuses."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final
from uuid import uuid4

import orjson
import pytest
from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

from consumers.publish import Publisher
from state.attributes import Level
from state.times import MICROSECONDS
from stocktake.exits import Exit
from tests.feed import stocktake_consume
from tests.harness import Deployment, wait_for
from tests.integration.test_command_line import CommandLine
from tests.oracle.adversary import BEGIN, Universe, random_events
from tests.oracle.events import Json, moment
from tests.oracle.journal import Journal
from tests.servers.certificates import Certificates, make_certificates
from tests.servers.kafka_broker import SecureKafka, run_secure_kafka

PASSWORD: Final = "correct-horse"  # noqa: S105 -- of a broker that lives as long as this module's tests
WRONG: Final = "hunter2"
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates") / "ours")


@pytest.fixture(scope="module")
def other_certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates") / "others")


@pytest.fixture(scope="module")
def running_kafka(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[SecureKafka]:
    with run_secure_kafka(tmp_path_factory.mktemp("kafka"), certificates, PASSWORD) as broker:
        yield broker


@pytest.fixture
def kafka(running_kafka: SecureKafka) -> SecureKafka:
    running_kafka.start()  # a test before this one may have stopped it and failed
    return running_kafka


@pytest.fixture
def secret_topic(kafka: SecureKafka) -> str:
    """A new topic of two partitions, of which nobody has been told."""
    name = f"stocktake-test-{uuid4().hex}"
    kafka.create_topic(name, 2, {})
    return name


def sasl(kafka: SecureKafka, authority: Path, **changes: str) -> dict[str, str]:
    """Settings of kafka.* for SASL_SSL, changed."""
    return {
        "KAFKA__BOOTSTRAP_SERVERS": kafka.sasl_ssl,
        "KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA__SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA__SASL_USERNAME": "stocktake",
        "KAFKA__SASL_PASSWORD": PASSWORD,
        "KAFKA__SSL_CA_FILE": str(authority),
    } | {f"KAFKA__{name}": value for name, value in changes.items()}


class Followed:
    """A repository whose events are published and consumed with the same settings."""

    def __init__(self, folder: Path, redis_url: str, repository: str, topic: str, **given: str) -> None:
        self.deployment = Deployment(folder, redis_url, repository, topic=topic, **given)
        self.journal = Journal(Level.INSTANCE)
        self.published = 0
        self._events = random_events(Random(1), Universe(studies=6))

    def publish(self, count: int = 30) -> None:
        """So many more events, all to one partition, and note them."""
        timestamp = BEGIN + 10_000 * MICROSECONDS
        events: list[Json] = list(islice(self._events, count))
        self.deployment.clock.now = max(moment(event["time"]) for event in events)
        with Publisher(self.deployment.settings.kafka, self.deployment.topic) as publisher:
            for event in events:
                self.journal.add(event, timestamp)
                self.published += 1
                publisher.send(b"one partition", orjson.dumps(event), timestamp)

    def applied(self) -> bool:
        """Whether a consumer has told that all of them are applied."""
        offsets = self.deployment.opened.repository.watermark().offsets
        return max(offsets.values(), default=-1) == self.published - 1

    def check(self) -> None:
        """An inventory shows what was published."""
        manifest = self.deployment.produce()
        self.journal.start = manifest.scope_begin
        self.journal.check_present(self.deployment.path(manifest))


Follow = Callable[..., contextlib.AbstractContextManager[Followed]]


@pytest.fixture
def follow(tmp_path: Path, redis_url: str, repository: str, secret_topic: str) -> Follow:
    """Makes the test's repository, with these settings, for the time of a block."""

    @contextlib.contextmanager
    def made(**given: str) -> Iterator[Followed]:
        found = Followed(tmp_path, redis_url, repository, secret_topic, **given)
        with contextlib.closing(found.deployment):
            yield found

    return made


# --- what works ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
def test_events_go_through_with_each_mechanism(
    kafka: SecureKafka, certificates: Certificates, protocol: str, mechanism: str, follow: Follow
) -> None:
    given = sasl(kafka, certificates.authority, SASL_MECHANISM=mechanism)
    if protocol == "SASL_PLAINTEXT":
        del given["KAFKA__SSL_CA_FILE"]
        given |= {"KAFKA__SECURITY_PROTOCOL": protocol, "KAFKA__BOOTSTRAP_SERVERS": kafka.sasl_plaintext}
    with follow(**given) as repo:
        repo.publish()
        repo.deployment.consume_all()
        repo.check()


def test_events_go_through_with_certificates_on_both_sides(
    kafka: SecureKafka, certificates: Certificates, follow: Follow
) -> None:
    given = {
        "KAFKA__BOOTSTRAP_SERVERS": kafka.ssl,
        "KAFKA__SECURITY_PROTOCOL": "SSL",
        "KAFKA__SSL_CA_FILE": str(certificates.authority),
        "KAFKA__SSL_CERT_FILE": str(certificates.client.certificate),
        "KAFKA__SSL_KEY_FILE": str(certificates.client.key),
    }
    with follow(**given) as repo:
        repo.publish()
        repo.deployment.consume_all()
        repo.check()


def test_dead_letters_are_written_with_the_same_user(
    kafka: SecureKafka, certificates: Certificates, secret_topic: str, follow: Follow
) -> None:
    given = sasl(kafka, certificates.authority)
    with follow(**given) as repo:
        with Publisher(repo.deployment.settings.kafka, secret_topic) as publisher:
            publisher.send(b"key", b"no event", BEGIN)
        assert repo.deployment.consume_all()["dead_letters"] == 1


def test_the_documented_rights_are_enough(
    kafka: SecureKafka, certificates: Certificates, repository: str, secret_topic: str, follow: Follow
) -> None:
    consumer = (
        (ResourceType.TOPIC, secret_topic, ACLOperation.READ),
        (ResourceType.TOPIC, secret_topic, ACLOperation.DESCRIBE_CONFIGS),
        (ResourceType.GROUP, f"stocktake.{repository}", ACLOperation.READ),
        (ResourceType.TOPIC, f"{secret_topic}.dlq", ACLOperation.CREATE),
        (ResourceType.TOPIC, f"{secret_topic}.dlq", ACLOperation.WRITE),
    )
    publisher = (ResourceType.TOPIC, secret_topic, ACLOperation.WRITE)
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)) as admin:
        admin.create_acls(
            [
                ACL("User:guest", "*", operation, ACLPermissionType.ALLOW, ResourcePattern(kind, name))
                for kind, name, operation in (*consumer, publisher)
            ]
        )
    given = sasl(kafka, certificates.authority, SASL_USERNAME="guest")
    with follow(**given) as repo:
        repo.publish()
        with Publisher(repo.deployment.settings.kafka, secret_topic) as sender:
            sender.send(b"one partition", b"no event", BEGIN)
        assert repo.deployment.consume_all()["dead_letters"] == 1
        repo.check()


def test_a_consumer_outlasts_the_broker_and_says_so_once(
    kafka: SecureKafka, certificates: Certificates, follow: Follow
) -> None:
    given = sasl(kafka, certificates.authority, TIMEOUT="2s")
    with follow(**given) as repo:
        repo.publish()
        # kafka-python leaves sockets of failed connections open: not in this process.
        with stocktake_consume(repo.deployment) as program:
            wait_for(repo.applied, "the first events")
            kafka.stop()
            program.logs("waiting for it")
            kafka.start()
            program.logs("the servers answer again")
            repo.publish()
            wait_for(repo.applied, "the other events")
        repo.check()
    assert program.log.count("waiting for it") == 1
    assert "cannot be reached" in program.log
    assert PASSWORD not in program.log


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.fixture
def command_line(tmp_path: Path, redis_url: str, repository: str, secret_topic: str) -> CommandLine:
    (tmp_path / "events.ndjson").write_bytes(orjson.dumps({"dataset": {"0020000D": {"vr": "UI", "Value": ["1.2"]}}}))
    return CommandLine(
        tmp_path,
        REDIS__URL=redis_url,
        KAFKA__TIMEOUT="2s",
        INVENTORY__DIR=str(tmp_path / "inventories"),
        **{f"REPOSITORIES__{repository.upper()}__TOPICS": secret_topic},
    )


COMMANDS: Final = (("consume", "--until-caught-up"), ("publish", "events.ndjson"))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_wrong_password_is_one_line_without_it(
    kafka: SecureKafka, certificates: Certificates, command_line: CommandLine, command: tuple[str, ...], mechanism: str
) -> None:
    given = sasl(kafka, certificates.authority, SASL_MECHANISM=mechanism, SASL_PASSWORD=WRONG)
    error = command_line.fails(*command, code=Exit.UNREACHABLE, **given)
    assert f"Kafka at {kafka.sasl_ssl} " in error
    assert "the user and password" in error or "refuses the user or password" in error
    assert WRONG not in error


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_user_without_rights_is_told(
    kafka: SecureKafka, certificates: Certificates, command_line: CommandLine, command: tuple[str, ...]
) -> None:
    given = sasl(kafka, certificates.authority, SASL_USERNAME="guest")
    error = command_line.fails(*command, code=Exit.UNREACHABLE, **given)
    assert f"Kafka at {kafka.sasl_ssl} does not let this user do that: TOPIC_AUTHORIZATION_FAILED" in error
    assert PASSWORD not in error


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_unknown_authority_is_told(
    kafka: SecureKafka, other_certificates: Certificates, command_line: CommandLine, command: tuple[str, ...]
) -> None:
    given = sasl(kafka, other_certificates.authority)
    error = command_line.fails(*command, code=Exit.UNREACHABLE, **given)
    assert f"Kafka at {kafka.sasl_ssl}: no connection with TLS" in error
    assert "CERTIFICATE_VERIFY_FAILED" in error
    assert "kafka.ssl_ca_file" in error


def test_a_missing_file_is_told_at_once(kafka: SecureKafka, command_line: CommandLine, tmp_path: Path) -> None:
    given = sasl(kafka, tmp_path / "missing.crt")
    error = command_line.fails("consume", "--until-caught-up", code=Exit.UNREACHABLE, **given)
    assert str(tmp_path / "missing.crt") in error


def test_a_missing_certificate_of_ours_is_told(
    kafka: SecureKafka, certificates: Certificates, command_line: CommandLine
) -> None:
    error = command_line.fails(
        "consume",
        "--until-caught-up",
        code=Exit.UNREACHABLE,
        KAFKA__BOOTSTRAP_SERVERS=kafka.ssl,
        KAFKA__SECURITY_PROTOCOL="SSL",
        KAFKA__SSL_CA_FILE=str(certificates.authority),
    )
    assert f"Kafka at {kafka.ssl}: no connection with TLS" in error


def test_a_listener_with_another_protocol_is_told(kafka: SecureKafka, command_line: CommandLine) -> None:
    error = command_line.fails(
        "consume", "--until-caught-up", code=Exit.UNREACHABLE, KAFKA__BOOTSTRAP_SERVERS=kafka.sasl_ssl
    )
    assert "kafka.security_protocol (PLAINTEXT)" in error
