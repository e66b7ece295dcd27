"""How events are consumed: what an operator may decide, as frozen values. Durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

FORMATS: Final = ("auto", "native", "cloudevents", "azure", "google", "healthimaging", "orthanc")
SECURITY_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SASL_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True, slots=True)
class KafkaPolicy:
    """Where the broker is, how it is spoken to, and how this process joins its consumer group.

    ``instance_id`` is empty without static membership; empty texts and None stand for what is not used.
    """

    bootstrap_servers: tuple[str, ...]
    group_id: str
    instance_id: str
    session_timeout: float
    max_poll_records: int
    timeout: float
    security_protocol: str
    sasl_mechanism: str
    sasl_username: str
    sasl_password: str = field(repr=False)
    ssl_ca_file: Path | None
    ssl_cert_file: Path | None
    ssl_key_file: Path | None

    @property
    def uses_tls(self) -> bool:
        return self.security_protocol in {"SSL", "SASL_SSL"}

    @property
    def uses_sasl(self) -> bool:
        return self.security_protocol in {"SASL_PLAINTEXT", "SASL_SSL"}


@dataclass(frozen=True, slots=True)
class ConsumerPolicy:
    """What is believed of an event's time, how many bad messages are too many, how often progress is published.

    ``lost_offsets`` is ``stop`` or ``earliest``: what to do when Kafka no longer holds the wanted offset.
    """

    max_clock_skew: float
    max_out_of_order: float
    dlq_limit: float
    dlq_window: int
    watermark_interval: float
    shutdown_timeout: float
    lost_offsets: str


@dataclass(frozen=True, slots=True)
class RepositoryPolicy:
    """One archive that is followed. ``timezone`` is an IANA name, for its times that carry no offset.

    ``heartbeats``: a bridge sends them, and the watermark goes no further than the latest.
    """

    name: str
    topics: tuple[str, ...]
    format: str
    timezone: str
    heartbeats: bool = False


ARCHIVE_KINDS: Final = ("dicomweb", "orthanc")


@dataclass(frozen=True, slots=True)
class ArchivePolicy:
    """Where the archive of the repository ``name`` is asked for what its events do not say. Durations are seconds.

    A study that is owed a look is looked at when nothing has happened to it for ``quiet``. ``absent`` is ``keep`` or
    ``remove``: what becomes of what the archive does not list.
    """

    name: str
    kind: str
    url: str
    username: str
    password: str = field(repr=False)
    token: str = field(repr=False)
    tls_ca_file: Path | None
    tls_cert_file: Path | None
    tls_key_file: Path | None
    timeout: float
    requests_per_second: float
    connections: int
    quiet: float
    retry_interval: float
    tries: int
    absent: str
