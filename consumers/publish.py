"""Events onto a topic: the topic made when it is missing, messages keyed by study, delivery confirmed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

import orjson
from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import (
    AuthorizationError,
    InvalidReplicationFactorError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    SaslAuthenticationFailedError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    UnsupportedVersionError,
    for_code,
)

from consumers.kafka_client import client_options, describe_failure, request_milliseconds
from consumers.policy import KafkaPolicy
from state.attributes import PATIENT_ID, STUDY_INSTANCE_UID

PARTITIONS: Final = 4  # of a topic made anew, unless told otherwise
_BROKER_DEFAULT: Final = -1  # replication factor: what the broker is configured for (Kafka 2.4 and later)
_UNCONFIRMED_BYTES: Final = 16 * 1024 * 1024  # the producer itself buffers without limit
_BATCH_BYTES: Final = 128 * 1024
_LINGER_MS: Final = 20
_PROGRESS_INTERVAL: Final = 0.5


class PublishError(Exception):
    """The broker cannot be reached, or did not take what was sent."""


class RefusedAsTooLarge(PublishError):
    """The broker finds one of the messages too large that were sent since the last flush; nobody can tell which."""


class EventTooLarge(Exception):
    """One event is larger than a message may be; others can still be published."""


class NoKey(ValueError):
    """An event that names no study, so that it has no partition."""


def event_key(event: object) -> bytes:
    """The message key of a native event: the Study Instance UID of its dataset, or of its first dataset.

    A patient event's is the Patient ID, so that what is told of one patient stays in order.

    Raises:
        NoKey: there is none, or it is no UID.
    """
    if not isinstance(event, dict):
        raise NoKey("is not a JSON object")
    dataset = event.get("dataset")
    if dataset is None and isinstance(listed := event.get("datasets"), list) and listed:
        dataset = listed[0]
    if event.get("level") == "PATIENT":
        match dataset:
            case {"00100020": {"Value": [str(patient_id), *_]}} if patient_id.strip():
                return patient_id.strip().encode("utf-8", "surrogatepass")
            case _:
                raise NoKey(f"has no Patient ID ({PATIENT_ID}) in its dataset")
    match dataset:
        case {"0020000D": {"Value": [str(uid), *_]}} if uid.strip(" \0"):
            pass
        case _:
            raise NoKey(f"has no Study Instance UID ({STUDY_INSTANCE_UID}) in its dataset")
    if not uid.isascii():
        raise NoKey("its Study Instance UID holds characters that no UID has")
    return uid.strip(" \0").encode("ascii")


def line_key(line: bytes) -> bytes:
    """The message key of a native event that is one line of NDJSON.

    Raises:
        NoKey: the line is not JSON, or :func:`event_key` finds none.
    """
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise NoKey("is not JSON") from None
    return event_key(event)


def ensure_topic(policy: KafkaPolicy, topic: str, partitions: int = PARTITIONS) -> bool:
    """Create the topic when it is missing, with the broker's default replication; True if it was created.

    Raises:
        PublishError: the broker cannot be reached within ``policy.timeout``, or refuses.
    """
    milliseconds = int(policy.timeout * 1000)
    try:
        admin = _connect(KafkaAdminClient, policy)
        try:
            code = admin.describe_topics([topic])[0]["error_code"]
            if code == 0:
                return False
            if code != UnknownTopicOrPartitionError.errno:
                raise _publish_error(policy, topic, for_code(code)())
            _create(admin, topic, partitions, milliseconds)
        finally:
            admin.close()
    except TopicAlreadyExistsError:
        return False  # someone else made it just now
    except KafkaError as error:
        raise _publish_error(policy, topic, error) from error
    return True


def _create(admin: Any, topic: str, partitions: int, milliseconds: int) -> None:
    wanted = {"num_partitions": partitions, "replication_factor": _BROKER_DEFAULT}
    try:
        admin.create_topics({topic: wanted}, timeout_ms=milliseconds)
    except (InvalidReplicationFactorError, UnsupportedVersionError):
        admin.create_topics({topic: wanted | {"replication_factor": 1}}, timeout_ms=milliseconds)
    admin.wait_for_topics([topic], timeout_ms=milliseconds)


class Publisher:
    """Sends messages to one topic; a context manager that confirms all of them when it is left.

    Messages of one key keep their order, and none is written twice (idempotent producer, acknowledged by all
    in-sync replicas). ``progress`` is told the number of messages sent so far, about twice a second.

    Raises:
        PublishError: when made, sending or leaving: the broker cannot be reached, or did not confirm a
            message within ``policy.timeout`` seconds.
    """

    def __init__(self, policy: KafkaPolicy, topic: str, progress: Callable[[int], None] = lambda sent: None) -> None:
        self.sent = 0
        self._policy = policy
        self._topic = topic
        self._progress = progress
        self._reported = monotonic()
        self._unconfirmed = 0
        self._failure: Exception | None = None
        milliseconds = int(policy.timeout * 1000)
        try:
            self._producer = _connect(
                KafkaProducer,
                policy,
                acks="all",
                enable_idempotence=True,
                linger_ms=_LINGER_MS,
                batch_size=_BATCH_BYTES,
                max_block_ms=milliseconds,
                delivery_timeout_ms=request_milliseconds(policy) + _LINGER_MS,
            )
        except KafkaError as error:
            raise _publish_error(policy, topic, error) from error

    def send(
        self,
        key: bytes,
        value: bytes,
        timestamp: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int | None = None,
    ) -> None:
        """Send one message; ``timestamp`` in UTC microseconds is the record's, cut to milliseconds.

        Without ``partition`` the key decides which one it is.

        Raises:
            EventTooLarge: the message is too large and was not sent.
            PublishError: this message cannot be sent, or one before it was not delivered.
        """
        if self._failure is not None:
            raise _publish_error(self._policy, self._topic, self._failure)
        milliseconds = None if timestamp is None else timestamp // 1000
        try:
            future = self._producer.send(
                self._topic, value, key=key, headers=list(headers), partition=partition, timestamp_ms=milliseconds
            )
        except MessageSizeTooLargeError as error:
            raise EventTooLarge(f"is too large for a message ({len(value):,} bytes)") from error
        except (KafkaError, ValueError) as error:
            raise _publish_error(self._policy, self._topic, error) from error
        future.add_errback(self._note_failure)
        self.sent += 1
        self._unconfirmed += len(value)
        if self._unconfirmed > _UNCONFIRMED_BYTES:
            self.flush()
        if monotonic() - self._reported >= _PROGRESS_INTERVAL:
            self._report()

    def partitions(self) -> list[int]:
        """The topic's partitions, as the producer knows them now.

        Raises:
            PublishError: the broker does not say within ``policy.timeout``, or has no such topic.
        """
        try:
            return sorted(self._producer.partitions_for(self._topic))
        except KafkaError as error:
            raise _publish_error(self._policy, self._topic, error) from error

    def flush(self) -> None:
        """Wait until the broker has confirmed everything sent so far.

        Raises:
            PublishError: it did not.
        """
        try:
            # A batch expires at the delivery timeout; the extra second lets its error be the one that is told.
            self._producer.flush(timeout=self._policy.timeout + 1)
        except KafkaError as error:
            raise _publish_error(self._policy, self._topic, self._failure or error) from error
        self._unconfirmed = 0
        if self._failure is not None:
            raise _publish_error(self._policy, self._topic, self._failure)

    def close(self) -> None:
        """Leave at once, for whoever tells again what is not confirmed."""
        self.__exit__(PublishError, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.flush()
                self._report()
        finally:
            # Everything is confirmed or given up by now; closing must not hide why.
            with contextlib.suppress(KafkaError):
                self._producer.close(timeout=0 if self._failure or kind else self._policy.timeout)

    def _note_failure(self, error: Exception) -> None:
        self._failure = self._failure or error

    def _report(self) -> None:
        self._reported = monotonic()
        self._progress(self.sent)


def _connect(kind: Any, policy: KafkaPolicy, **configs: Any) -> Any:
    """A client of that kind that has met a broker within ``policy.timeout``.

    One that meets none would keep a thread that goes on trying: it is closed here.
    """
    made: list[Any] = []

    def make(**settings: Any) -> Any:
        made.append(kind.DEFAULT_CONFIG["kafka_client"](**settings))
        return made[-1]

    try:
        return kind(**client_options(policy), kafka_client=make, **configs)
    except BaseException:
        for client in made:
            client.close()
        raise


def _publish_error(policy: KafkaPolicy, topic: str, error: Exception) -> PublishError:
    if isinstance(error, KafkaTimeoutError | KafkaConnectionError | SaslAuthenticationFailedError | AuthorizationError):
        return PublishError(f"topic {topic!r}: {describe_failure(policy, error)}")
    servers = ",".join(policy.bootstrap_servers)
    if isinstance(error, MessageSizeTooLargeError):
        return RefusedAsTooLarge(
            f"topic {topic!r}: Kafka at {servers} finds a message too large; raise the topic's max.message.bytes"
        )
    return PublishError(f"topic {topic!r}: Kafka at {servers} did not take it: {type(error).__name__}")
