"""What clients of Kafka are given, from the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kafka.errors import InvalidReceiveError, TopicAuthorizationFailedError, UnsupportedSaslMechanismError

from consumers.errors import BrokerUnreachable
from consumers.kafka_client import client_options, describe_failure
from consumers.policy import KafkaPolicy
from stocktake.settings import load
from tests.servers.certificates import make_certificates

LOGIN = {"SASL_MECHANISM": "SCRAM-SHA-512", "SASL_USERNAME": "stocktake", "SASL_PASSWORD": "hunter2"}


def policy(**given: str) -> KafkaPolicy:
    return load(None, {f"STOCKTAKE_KAFKA__{name}": value for name, value in given.items()}).kafka


def options(**given: str) -> dict[str, Any]:
    return client_options(policy(**given))


def test_without_security_only_addresses_and_times_are_given() -> None:
    assert options(BOOTSTRAP_SERVERS="a:1,b:2", TIMEOUT="7s") == {
        "bootstrap_servers": ["a:1", "b:2"],
        "bootstrap_timeout_ms": 7000,
        "request_timeout_ms": 7000,
        "reconnect_backoff_max_ms": 5000,
        "security_protocol": "PLAINTEXT",
    }


@pytest.mark.parametrize(("timeout", "request_ms"), [("100ms", 1000), ("2m", 120_000), ("1h", 480_000)])
def test_a_request_has_the_time_that_the_client_can_give_it(timeout: str, request_ms: int) -> None:
    assert options(TIMEOUT=timeout)["request_timeout_ms"] == request_ms


def test_with_tls_names_are_checked_and_files_are_named(tmp_path: Path) -> None:
    made = make_certificates(tmp_path / "certificates")
    files = (str(made.authority), str(made.client.certificate), str(made.client.key))
    names = ("SSL_CA_FILE", "SSL_CERT_FILE", "SSL_KEY_FILE")
    found = options(SECURITY_PROTOCOL="SSL", **dict(zip(names, files, strict=True)))
    assert found["security_protocol"] == "SSL"
    assert found["ssl_check_hostname"] is True
    assert (found["ssl_cafile"], found["ssl_certfile"], found["ssl_keyfile"]) == files
    assert "sasl_mechanism" not in found


@pytest.mark.parametrize("name", ["SSL_CA_FILE", "SSL_CERT_FILE"])
def test_a_file_that_cannot_be_read_is_named_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(BrokerUnreachable, match=f"kafka.{name.lower()} {tmp_path}/missing .*cannot be used"):
        options(SECURITY_PROTOCOL="SSL", **{name: str(tmp_path / "missing")})


@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
def test_with_sasl_the_user_is_given(protocol: str) -> None:
    found = options(SECURITY_PROTOCOL=protocol, **LOGIN)
    assert found["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (found["sasl_plain_username"], found["sasl_plain_password"]) == ("stocktake", "hunter2")
    assert ("ssl_check_hostname" in found) == (protocol == "SASL_SSL")


def test_a_policy_does_not_show_its_password_when_it_is_logged() -> None:
    assert "hunter2" not in repr(policy(SECURITY_PROTOCOL="SASL_SSL", **LOGIN))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UnsupportedSaslMechanismError("PLAIN only"), "does not offer kafka.sasl_mechanism SCRAM-SHA-512"),
        (
            InvalidReceiveError("Invalid frame length: 352518912"),
            "speaks another protocol; check kafka.security_protocol",
        ),
        (TopicAuthorizationFailedError("events"), "does not let this user do that: TOPIC_AUTHORIZATION_FAILED"),
    ],
)
def test_a_refusal_says_what_to_look_at(error: Exception, said: str) -> None:
    text = describe_failure(policy(SECURITY_PROTOCOL="SASL_SSL", **LOGIN), error)
    assert text.startswith(f"Kafka at 127.0.0.1:9092 {said}")
    assert "hunter2" not in text
