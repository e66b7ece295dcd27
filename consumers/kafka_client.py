"""What every Kafka client of this program is given: where the brokers are, how long to wait, how to prove who we are.

The one place that knows kafka-python's names for it. Timeouts of the settings are seconds, those of the client
milliseconds.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final

from kafka.errors import (
    AuthorizationError,
    InvalidReceiveError,
    KafkaConnectionError,
    KafkaTimeoutError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from consumers.errors import BrokerUnreachable
from consumers.policy import KafkaPolicy

_SHORTEST_REQUEST: Final = 1000  # the client wants it above the time that a broker holds an empty fetch back, 500
_LONGEST_REQUEST: Final = 480_000  # and below the time after which it closes an idle connection, 540,000
_WHY_PATIENCE: Final = 2.0  # seconds for one broker, when it is asked why no connection is made
_ENDED: Final = "socket disconnected"  # what the client says of a connection that the other side ended
_LONGEST_PAUSE: Final = 5000  # between two tries to reach a broker; they begin at 50 and double


def client_options(policy: KafkaPolicy) -> dict[str, Any]:
    """Keyword arguments for a consumer, producer or admin client of kafka-python.

    Raises:
        BrokerUnreachable: a certificate file cannot be read, so that no broker can be spoken to.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": list(policy.bootstrap_servers),
        "bootstrap_timeout_ms": round(policy.timeout * 1000),
        "request_timeout_ms": request_milliseconds(policy),
        "reconnect_backoff_max_ms": _LONGEST_PAUSE,
        "security_protocol": policy.security_protocol,
    }
    if policy.uses_tls:
        _require_files(policy)
        # Names are always checked: there is no setting that would switch it off.
        options |= {
            "ssl_check_hostname": True,
            "ssl_cafile": _name(policy.ssl_ca_file),
            "ssl_certfile": _name(policy.ssl_cert_file),
            "ssl_keyfile": _name(policy.ssl_key_file),
        }
    if policy.uses_sasl:
        options |= {
            "sasl_mechanism": policy.sasl_mechanism,
            "sasl_plain_username": policy.sasl_username,
            "sasl_plain_password": policy.sasl_password,
        }
    return options


def _require_files(policy: KafkaPolicy) -> None:
    """The client itself would try in vain until its time is over, and not say which file it is."""
    try:
        context = ssl.create_default_context(cafile=policy.ssl_ca_file)
    except OSError as error:
        raise BrokerUnreachable(f"kafka.ssl_ca_file {policy.ssl_ca_file} cannot be used: {error}") from error
    if policy.ssl_cert_file is not None:
        try:
            context.load_cert_chain(policy.ssl_cert_file, policy.ssl_key_file)
        except OSError as error:
            raise BrokerUnreachable(
                f"kafka.ssl_cert_file {policy.ssl_cert_file} and its key cannot be used: {error}"
            ) from error


def request_milliseconds(policy: KafkaPolicy) -> int:
    """How long a client waits for the answer to a request: ``kafka.timeout``, as far as the client can."""
    return min(max(round(policy.timeout * 1000), _SHORTEST_REQUEST), _LONGEST_REQUEST)


def describe_failure(policy: KafkaPolicy, error: Exception) -> str:
    """What a client's error means, with the brokers' addresses and what to look at; no password is in it.

    A client that met no broker does not say why, so brokers are asked once more, for a moment.
    """
    where = f"Kafka at {','.join(policy.bootstrap_servers)}"
    cause = _ask_why(policy) if isinstance(error, KafkaTimeoutError | KafkaConnectionError) else error
    match cause:
        case SaslAuthenticationFailedError():
            return f"{where} refuses the user or password; see kafka.sasl_username and kafka.sasl_password"
        case KafkaConnectionError() if _ENDED in str(cause):
            # The client drops what a broker says together with the end; it ends after a wrong password.
            login = "the user and password, and " if policy.uses_sasl else ""
            return f"{where} ends the connection; check {login}kafka.security_protocol ({policy.security_protocol})"
        case InvalidReceiveError():
            # What came is no answer of Kafka's protocol, such as the alert of a listener that expects TLS.
            return f"{where} speaks another protocol; check kafka.security_protocol ({policy.security_protocol})"
        case UnsupportedSaslMechanismError():
            return f"{where} does not offer kafka.sasl_mechanism {policy.sasl_mechanism}"
        case AuthorizationError():
            return f"{where} does not let this user do that: {cause.message}; see docs/operations.md"
        case Exception() if "SSL" in str(cause).upper():
            return f"{where}: no connection with TLS: {cause}; are kafka.ssl_ca_file and others right?"
        case Exception():
            return f"{where} cannot be reached: {cause}; is it running, and is kafka.bootstrap_servers right?"
    return f"{where} cannot be reached: {error}; is it running, and is kafka.bootstrap_servers right?"


def _ask_why(policy: KafkaPolicy) -> Exception | None:
    """Why a connection to a broker fails; None if one does not. Of several failures the last, for others are alike."""
    net = NetworkSelector()
    manager = KafkaConnectionManager(net, **client_options(policy))
    milliseconds = round(min(policy.timeout, _WHY_PATIENCE) * 1000)
    failure: Exception | None = None
    try:
        for broker in manager.cluster.bootstrap_brokers():
            made = manager.get_connection(broker.node_id, timeout_ms=milliseconds).init_future
            net.poll(timeout_ms=milliseconds, future=made)
            if made.succeeded():
                return None
            failure = made.exception
            if isinstance(failure, SaslAuthenticationFailedError | UnsupportedSaslMechanismError):
                break
    finally:
        manager.close()
        net.close()
    return failure


def _name(path: Path | None) -> str | None:
    return None if path is None else str(path)
